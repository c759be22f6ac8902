"""Fetch and unpack the kernel source packages that tests/kernel needs, on Debian.

    python -m tests.kernel.fetch FOLDER [5.10 6.1 6.12 7.2]
    KDUMPBUILD_KERNELS=FOLDER pytest -m kernel

Needs no root and leaves the system's package lists alone: the lists go below FOLDER/.apt. Each tree takes about
1.5 GB. A tree that is there already is left as it is.
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

from kdumpbuild.build import debian
from kdumpbuild.run import run

SUITES = {"5.10": "bullseye", "6.1": "bookworm-security", "6.12": "trixie", "7.2": "sid"}
"""Where Debian has the package linux-source-<version>."""


def fetch(folder: Path, versions: list[str]) -> None:
    """Bring the trees into the folder, as linux-source-<version>."""
    missing = [version for version in versions if not (folder / f"linux-source-{version}").is_dir()]
    if not missing:
        return
    apt = folder.resolve() / ".apt"
    for sub in ("lists/partial", "cache/archives/partial"):
        (apt / sub).mkdir(parents=True, exist_ok=True)
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    signed = f"signed-by={keyring}" if keyring.exists() else "trusted=no"
    main, security = debian.mirrors(debian.release())
    if not main or not security:
        sys.exit("this machine's apt names no Debian mirrors: unpack the kernel sources into the folder yourself")
    (apt / "sources.list").write_text(
        "".join(
            f"deb [{signed}] {(security if suite.endswith('-security') else main)[0]} {suite} main\n"
            for suite in SUITES.values()
        )
    )
    options = [
        f"Dir::Etc::sourcelist={apt}/sources.list", "Dir::Etc::sourceparts=-", f"Dir::State::lists={apt}/lists",
        f"Dir::Cache={apt}/cache", "APT::Sandbox::User=", "Acquire::Languages=none",
    ]  # fmt: skip
    arguments = [word for option in options for word in ("-o", option)]
    run(["apt-get", *arguments, "update"], what="read Debian's package lists")
    for version in missing:
        package = f"linux-source-{version}"
        run(["apt-get", *arguments, "download", package], what=f"download {package}", cwd=apt)
        (archive,) = apt.glob(f"{package}_*.deb")
        unpacked = apt / "unpacked"
        run(["dpkg-deb", "-x", archive, unpacked], what=f"unpack {archive.name}")
        (tarball,) = (unpacked / "usr/src").glob(f"{package}.tar.*")
        with tarfile.open(tarball) as tar:
            tar.extractall(folder, filter="tar")
        for done in (tarball, archive):
            done.unlink()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    fetch(Path(sys.argv[1]), sys.argv[2:] or list(SUITES))
