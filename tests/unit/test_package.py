"""The wheel: everything that is needed at run time is in it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_wheel_holds_templates_boards_and_fragments(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(REPOSITORY)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    data = [
        path
        for folder in ("templates", *(f"kdumpbuild/{name}" for name in ("boards", "fragments", "patches", "checks")))
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert len(data) > 10
    for path in data:
        relative = path.relative_to(REPOSITORY).as_posix()
        assert f"kdumpbuild/{relative.removeprefix('kdumpbuild/')}" in names, f"{relative} is not in the wheel"
    code = (
        "from kdumpbuild import resources; from kdumpbuild.board.loader import find_boards, load_board;"
        "from kdumpbuild.build import scripts;"
        "print(sorted(find_boards()), resources.TEMPLATES.is_dir());"
        "from kdumpbuild.board.memory import CrashKernel; board = load_board(find_boards()['arm-virt']);"
        "print(scripts.boot_snippets(board, CrashKernel(16 << 20), (6, 12), {}))"
    )
    unpacked = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(unpacked)
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(unpacked)}, cwd=tmp_path, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert "arm-virt" in done.stdout
    assert "crashkernel=" in done.stdout
    assert str(REPOSITORY) not in done.stdout
