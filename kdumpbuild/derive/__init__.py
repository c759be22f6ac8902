"""From a board's device tree to the kernel options without which its capture kernel would not find its disk.

::

    board file [drivers], dtb        kernel tree
          |                              |
          v                              v
    DeviceNodes (nodes, phandles)    TreeIndex (compatible -> source -> Makefile -> symbol), kept in the cache
          |                              |
          v                              |
    walk: start nodes, parents,          |
    references (table of data)           |
          |                              |
          +------------> match <---------+      compatible of each needed node -> symbols, or "not mapped"
                           |
                           v
                 depend: what the symbols need, by search over Kconfig
                           |
                           v
                 Derived: a Fragment with reasons, what could not be mapped, what should be off
"""
