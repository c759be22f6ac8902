"""The compiler that a config is for: what Kbuild is told about it, and what Kconfig finds out about it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from kdumpbuild.errors import user_error
from kdumpbuild.run import run, which

_MACHINE = {"arm": "arm", "arm64": "aarch64"}
"""First part of the compiler's ``-dumpmachine``, by ``ARCH=``."""


@dataclass(frozen=True)
class Toolchain:
    """What Kbuild is told about the compiler: the variables of its command line."""

    arch: str
    """``ARCH=``"""
    cross_compile: str
    """``CROSS_COMPILE=``"""
    cc: str = ""
    """``CC=``, when it is not ``$(CROSS_COMPILE)gcc``: for example ``ccache arm-linux-gnueabihf-gcc``."""
    ld: str = ""
    """``LD=``, when it is not ``$(CROSS_COMPILE)ld``."""
    host_cc: str = ""
    """``HOSTCC=``, when it is not ``gcc``."""

    @property
    def compiler(self) -> str:
        """The command that compiles."""
        return self.cc or f"{self.cross_compile}gcc"

    def make_variables(self) -> list[str]:
        """Return the arguments for ``make`` that say the same."""
        given = {
            "ARCH": self.arch, "CROSS_COMPILE": self.cross_compile, "CC": self.cc, "LD": self.ld,
            "HOSTCC": self.host_cc,
        }  # fmt: skip
        return [f"{name}={value}" for name, value in given.items() if value]

    def check(self) -> str:
        """Return the first line of the compiler's ``--version``.

        Raises UserError when the compiler is missing or compiles for another architecture.
        """
        words = self.compiler.split()
        program = next((word for word in words if Path(word).name not in ("ccache", "distcc", "sccache")), "gcc")
        hint = "set CROSS_COMPILE to the prefix of a cross compiler for this architecture"
        which(program, needed_for=f"to compile for {self.arch}")
        if "clang" not in Path(program).name:
            machine = run([program, "-dumpmachine"], what=f"ask {program} what it compiles for", hint=hint).strip()
            if self.arch in _MACHINE and not machine.startswith(_MACHINE[self.arch]):
                raise user_error(
                    f"{program} compiles for {machine}, not for {self.arch}",
                    where=f"CROSS_COMPILE={self.cross_compile}", hint=hint,
                )  # fmt: skip
        return run([program, "--version"], what=f"ask {program} for its version", hint=hint).splitlines()[0]

    def fingerprint(self) -> list[str]:
        """Return what changes when Kconfig's questions to the machine may get other answers.

        Besides the compiler's version: whether it can link (CC_CAN_LINK wants a C library), pahole and rustc.
        """
        links = [
            run([*self.compiler.split(), f"-print-file-name={file}"], what="ask the compiler for its C library").strip()
            for file in ("libc.so", "libc.a")
        ]
        return [self.check(), *links, *(shutil.which(program) or "" for program in ("pahole", "rustc", "bindgen"))]
