"""The cross compiler that a board's kernels are built with."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from kdumpbuild import run
from kdumpbuild.kconfig.toolchain import Toolchain

if TYPE_CHECKING:
    from kdumpbuild.board.arch import Arch
    from kdumpbuild.settings import Settings


def find(arch: Arch, settings: Settings) -> Toolchain:
    """Return the compiler that ``KERNEL_CC`` or ``CROSS_COMPILE`` names, or Debian's for ``arch``.

    One that is found by its prefix is called through ccache where there is one. Raises UserError when there is none or
    when it compiles for another architecture.
    """
    prefix = arch.cross_compile if settings.cross_compile is None else settings.cross_compile
    cc = settings.kernel_cc
    if not cc:
        run.which(
            f"{prefix}gcc",
            needed_for=f"to compile the kernel of a board with arch = {arch.name!r}",
            hint="" if settings.cross_compile is None else f"CROSS_COMPILE={prefix} is put before gcc; is it on PATH?",
        )
        cc = f"ccache {prefix}gcc" if shutil.which("ccache") else ""
    toolchain = Toolchain(arch=arch.name, cross_compile=prefix, cc=cc, ld=settings.kernel_ld, host_cc=settings.hostcc)
    toolchain.check()
    return toolchain
