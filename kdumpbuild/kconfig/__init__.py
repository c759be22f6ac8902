"""Kernel configs: reading Kconfig, composing a .config from fragments, proving that every line took effect.

::

    KERNEL_SRC            board file            kdumpbuild/fragments/*.config, own ones
        |                     |                              |
        v                     v                              v
    KernelTree.open(path)  Toolchain(arch, cross_compile)  read_fragment(path) -> Fragment
        |                     |                              |   .lines: Line(symbol, value, file, number, reason)
        +----------+----------+                              |   .active(version, arch)
                   v                                         |
    KernelKconfig(tree, toolchain)        one parse, 2 to 3 s, serves all configs of one architecture
                   |                                         |
                   +-----------------------+-----------------+
                                           v
    resolve(kconfig, base, fragments, waivers) -> Resolution
        .config_text   the whole .config: make olddefconfig changes nothing in it
        .values        {"SMP": "y", ...} for every symbol the tree defines
        .unmet .waived .overridden .requested
        .check()       UserError with a fault for every line that did not take effect

``base`` is ``allnoconfig``, the name of a defconfig or the path of a .config.
"""

from __future__ import annotations

from kdumpbuild.kconfig.adapter import KernelKconfig, Toolchain
from kdumpbuild.kconfig.fragment import Fragment, Line, parse_fragment, read_fragment
from kdumpbuild.kconfig.resolve import Resolution, Unmet, Waived, load_config, resolve
from kdumpbuild.kconfig.tree import KernelTree

__all__ = [
    "Fragment",
    "KernelKconfig",
    "KernelTree",
    "Line",
    "Resolution",
    "Toolchain",
    "Unmet",
    "Waived",
    "load_config",
    "parse_fragment",
    "read_fragment",
    "resolve",
]
