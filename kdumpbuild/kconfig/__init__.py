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
    open_kconfig(tree, toolchain, folder) the same, kept in a cache folder; never out of date
                   |                                         |
                   +-----------------------+-----------------+
                                           v
    resolve(kconfig, base, fragments, waivers) -> Resolution
        .config_text   the whole .config: make olddefconfig changes nothing in it
        .values        {"SMP": "y", ...} for every symbol the tree defines
        .unmet .waived .overridden .requested
        .check()       UserError with a fault for every line that did not take effect

    minimal(kconfig, base, fragments, waivers) -> Minimal     .text: the smallest fragment for a product's .config
    explain(kconfig, symbol) -> str       a page about a symbol in the present configuration; load_config() or
                                          resolve() bring the configuration into that state

``base`` is ``allnoconfig``, the name of a defconfig or the path of a .config.
"""

from __future__ import annotations

from kdumpbuild.kconfig.adapter import KernelKconfig
from kdumpbuild.kconfig.cache import open_kconfig
from kdumpbuild.kconfig.explain import explain
from kdumpbuild.kconfig.fragment import Fragment, Line, parse_fragment, read_fragment
from kdumpbuild.kconfig.minimal import Minimal, minimal
from kdumpbuild.kconfig.resolve import Resolution, Unmet, Waived, load_config, resolve
from kdumpbuild.kconfig.toolchain import Toolchain
from kdumpbuild.kconfig.tree import KernelTree

__all__ = [
    "Fragment",
    "KernelKconfig",
    "KernelTree",
    "Line",
    "Minimal",
    "Resolution",
    "Toolchain",
    "Unmet",
    "Waived",
    "explain",
    "load_config",
    "minimal",
    "open_kconfig",
    "parse_fragment",
    "read_fragment",
    "resolve",
]
