"""Where the data files lie that come with the package. The only module that knows.

Templates stand at the top of the repository; ``kdumpbuild/templates`` is a link to them, which a wheel holds as
a folder.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent

BOARDS = _PACKAGE / "boards"
FRAGMENTS = _PACKAGE / "fragments"
PATCHES = _PACKAGE / "patches"
STUCK_CPU_PATCH = "arm-kexec-stuck-cpu"
"""The patch with which 32-bit ARM starts the capture kernel although a CPU has not stopped."""
TEMPLATES = _PACKAGE / "templates"
DEBIAN_PACKAGES = _PACKAGE / "debian-packages.txt"
