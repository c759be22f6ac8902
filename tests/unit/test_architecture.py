"""The package's shape: dependencies go one way, and each outside interface has one importer."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "kdumpbuild"

# Lowest first. A module may import from its own layer's folder and from layers below.
LAYERS = [
    {"__init__", "errors"},
    {"resources"},
    {"run", "files", "render", "settings"},
    {"formats", "board"},
    {"kconfig"},
    {"derive"},
    {"checks"},
    {"build"},
    {"newboard"},
    {"analysis", "ci"},
    {"crashtest"},
    {"steps"},
    {"steps_crash"},
    {"state"},
    {"tasks"},
    {"cli_check", "cli_board", "cli_ci", "cli_explain"},
    {"cli"},
    {"__main__"},
]

# An outside interface, and the only modules that may import it.
IMPORTERS = {
    "subprocess": {"run"},
    "jinja2": {"render"},
    "kconfiglib": {"kconfig.adapter"},
    "doit": {"state", "tasks", "cli"},
    "drgn": {"analysis"},
    "argparse": {"cli", "cli_board", "cli_check", "cli_ci", "cli_explain"},
}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer(name: str) -> int:
    top = name.split(".", maxsplit=1)[0]
    return next(number for number, names in enumerate(LAYERS) if top in names)


MODULES = modules()


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name: str) -> None:
    for imported in imports(MODULES[name]):
        package, _, rest = imported.partition(".")
        if package != "kdumpbuild" or not rest or rest.startswith("__version__"):
            continue
        top = rest.split(".")[0]
        if top == name.split(".", maxsplit=1)[0]:
            continue
        assert layer(rest) < layer(name), f"{name} imports {imported}, which is not below it"


@pytest.mark.parametrize("interface", IMPORTERS)
def test_each_outside_interface_has_one_importer(interface: str) -> None:
    allowed = IMPORTERS[interface]
    users = {
        name
        for name, tree in MODULES.items()
        if any(i.split(".")[0] == interface for i in imports(tree))
        and name not in allowed
        and name.split(".")[0] not in allowed
    }
    assert users == set()


def test_no_module_is_too_long_to_read() -> None:
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    assert max(lengths.values()) <= 500, sorted(lengths.items(), key=lambda item: -item[1])[:3]
