"""The cross compiler that a board's kernels are built with."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from kdumpbuild import run
from kdumpbuild.kconfig.adapter import Toolchain

if TYPE_CHECKING:
    from kdumpbuild.board.arch import Arch


def find(arch: Arch, cross_compile: str | None) -> Toolchain:
    """Return the compiler that ``CROSS_COMPILE`` names, or Debian's for ``arch``; through ccache where there is one.

    Raises UserError when there is none or when it compiles for another architecture.
    """
    prefix = arch.cross_compile if cross_compile is None else cross_compile
    run.which(
        f"{prefix}gcc",
        needed_for=f"to compile the kernel of a board with arch = {arch.name!r}",
        hint="" if cross_compile is None else f"CROSS_COMPILE={prefix} is put before gcc; is it on PATH?",
    )
    cc = f"ccache {prefix}gcc" if shutil.which("ccache") else ""
    toolchain = Toolchain(arch=arch.name, cross_compile=prefix, cc=cc)
    toolchain.check()
    return toolchain
