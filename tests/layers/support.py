"""What the tests of the layers share: reading classes and recipes, and running their shell without BitBake."""

from __future__ import annotations

import atexit
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.build import imageset

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY = Path(__file__).resolve().parents[2]
META = REPOSITORY / "layers" / "meta-kdumpbuild"
# What runs on the target, of the image set's files, and what it reads; the kernel is beside it.
INSTALLED = {
    *(name for name in imageset.SCRIPTS if not name.endswith(".service") and not name.startswith("S1")),
    *imageset.SHARED, "kdump-load.conf", "kdump-collect.conf", "initramfs.cpio.gz", "SHA256SUMS", "manifest.json",
}  # fmt: skip


def _for_make() -> Path:
    """Return the checkout, or a link to it: it may be in a path with a space, which no makefile can name."""
    if not re.search(r"\s", str(REPOSITORY)):
        return REPOSITORY
    folder = tempfile.mkdtemp(prefix="kdumpbuild-layers-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    link = Path(folder) / "checkout"
    link.symlink_to(REPOSITORY)
    return link


EXTERNAL = _for_make() / "layers" / "buildroot"
_FUNCTION = re.compile(r"^(?P<name>[\w:]+)\(\) \{\n(?P<body>.*?)^\}$", re.MULTILINE | re.DOTALL)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][\w-]*|@.*?\)|@.*?)\}")


def shell_functions(*names: str) -> dict[str, str]:
    """Return the shell functions of classes, by name."""
    found = {}
    for name in names:
        (path,) = META.glob(f"classes-*/{name}.bbclass")
        for match in _FUNCTION.finditer(path.read_text(encoding="utf-8")):
            found[match["name"]] = match["body"]
    return found


def expand(text: str, values: Mapping[str, str]) -> str:
    """Put values in the place of BitBake's variables, as BitBake does. One that is not given is an error."""
    return _VARIABLE.sub(lambda match: values[match[1]], text)


def run_dash(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script as BitBake does: in dash where /bin/sh is it, and to the first failure."""
    prelude = "set -e\nbbfatal() { echo \"FATAL: $*\" >&2; exit 1; }\nbbfatal_log() { bbfatal \"$@\"; }\n"
    return subprocess.run(
        ["dash", "-c", prelude + script],
        env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip
