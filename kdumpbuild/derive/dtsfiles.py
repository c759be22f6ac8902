"""The device tree sources of a kernel: where one lies, under which symbol it is built, and compiling it."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild import run
from kdumpbuild.errors import nearest, user_error

if TYPE_CHECKING:
    from kdumpbuild.kconfig.tree import KernelTree

_DTB_RULE = re.compile(r"^dtb-\$\(CONFIG_(\w+)\)\s*[+:]?=\s*(.*)$", re.MULTILINE)
_ROOT_NAMES = re.compile(r"^(?:\t| {1,8})compatible\s*=\s*([^;]+);", re.MULTILINE)


def symbols(top: Path, arch: str) -> dict[str, str]:
    """Return, for each device tree's name without ending, the symbol in the rule that builds it."""
    found: dict[str, str] = {}
    for makefile in sorted((top / "arch" / arch / "boot/dts").rglob("Makefile")):
        text = re.sub(r"\\\n", " ", makefile.read_text(encoding="utf-8", errors="replace"))
        for symbol, words in _DTB_RULE.findall(text):
            for word in words.split():
                if word.endswith(".dtb"):
                    found.setdefault(word.rpartition("/")[2].removesuffix(".dtb"), symbol)
    return found


def machines(top: Path, arch: str, built: dict[str, str]) -> dict[str, list[str]]:
    """Return, for each name in a root's ``compatible``, the symbols under which such trees are built."""
    counted: dict[str, Counter[str]] = {}
    for source in sorted((top / "arch" / arch / "boot/dts").rglob("*.dts")):
        symbol = built.get(source.stem)
        if symbol is None:
            continue
        first = _ROOT_NAMES.search(source.read_text(encoding="utf-8", errors="replace"))
        for name in re.findall(r'"([^"]+)"', first[1]) if first else []:
            counted.setdefault(name, Counter())[symbol] += 1
    return {name: [symbol for symbol, _ in counter.most_common()] for name, counter in counted.items()}


def find(tree: KernelTree, arch: str, name: str, where: str) -> Path:
    """Return the source of a device tree by its name in the kernel's build, in whatever folder this version has it.

    The arm sources moved into folders by vendor in v6.5. Raises UserError when there is none, or more than one.
    """
    top = tree.path / "arch" / arch / "boot/dts"
    stem = name.rpartition("/")[2].removesuffix(".dtb")
    exact = top / f"{name.removesuffix('.dtb')}.dts"
    if exact.is_file():
        return exact
    found = sorted(top.rglob(f"{stem}.dts"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(path.relative_to(top)) for path in found)
        raise user_error(f"{tree.name} has more than one {stem}.dts", where=where, why=names,
                         hint="write its folder too")  # fmt: skip
    known = [path.stem for path in top.rglob("*.dts")]
    raise user_error(
        f"{tree.name} has no {arch} device tree named {stem}", where=where, why=nearest(stem, known),
        hint="the name of a .dtb in the kernel's build, or the path of a blob of your own: ./product.dtb",
    )  # fmt: skip


def compile_source(tree: KernelTree, source: Path, target: Path, *, labels: bool) -> None:
    """Compile a device tree the way Kbuild does (Linux, scripts/Makefile.dtbs), or with its labels kept in it.

    Nothing is written to the tree.
    """
    prefixes = tree.path / "scripts/dtc/include-prefixes"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kdumpbuild-dts-") as scratch:
        plain = Path(scratch) / source.name
        run.run(
            ["gcc", "-E", "-nostdinc", "-I", prefixes, "-undef", "-D__DTS__", "-x", "assembler-with-cpp",
             "-o", plain, source],
            what=f"preprocess {source.name}", hint="is the kernel tree whole?",
        )  # fmt: skip
        made = Path(scratch) / target.name
        run.run(
            ["dtc", "-q", "-q", *(["-@"] if labels else []), "-I", "dts", "-O", "dtb", "-b", "0",
             "-i", source.parent, "-i", prefixes, "-o", made, plain],
            what=f"compile {source.name}", hint="is the kernel tree whole?",
        )  # fmt: skip
        beside = target.with_suffix(".new")
        beside.write_bytes(made.read_bytes())
        beside.replace(target)
