"""What this machine's Debian says of itself: its release, and the mirrors that its apt is set to use."""

from __future__ import annotations

import shutil
from pathlib import Path

from kdumpbuild import run


def release() -> str:
    """Return the code name of the machine's Debian release; empty on another system."""
    path = Path("/etc/os-release")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    return values.get("VERSION_CODENAME", "").strip('"')


def mirrors(codename: str) -> tuple[list[str], list[str]]:
    """Return the mirrors that apt uses for the release ``codename``, and those for its security updates.

    Both are empty where there is no apt.
    """
    if not codename or shutil.which("apt-get") is None:
        return [], []
    listed = run.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"],
        what="read which mirrors apt uses",
    )
    rows = [row for line in listed.splitlines() if len(row := line.split()) == 3 and row[2] == "main"]
    main = [uri for uri, name, _ in rows if name == codename]
    security = [uri for uri, name, _ in rows if name == f"{codename}-security"]
    return list(dict.fromkeys(main)), list(dict.fromkeys(security))
