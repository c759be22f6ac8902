"""Where the data files lie that come with the package. The only module that knows.

Fragments and boards are inside the package. Templates stand at the top of the repository and are put into
the package when a wheel is built.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent

BOARDS = _PACKAGE / "boards"
FRAGMENTS = _PACKAGE / "fragments"


def _beside_or_inside(name: str) -> Path:
    inside = _PACKAGE / name
    return inside if inside.exists() else _PACKAGE.parent / name


TEMPLATES = _beside_or_inside("templates")
DODO = _beside_or_inside("dodo.py")
