"""A first board file for a new board, from its device tree or from what a running board tells.

    product.dtb ──────────────► tree ──┐
    kdump-probe.tar ──► probe ──────────┼──► draft ──► write ──► NAME.toml, and what it refers to
    options (answers) ──────────────────┘      │
                                               └──► questions, in the file and on the terminal

Nothing is written unless all of it can be.
"""
