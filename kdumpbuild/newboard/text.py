"""The text of a new board file. Every value has its comment beside it, every question stands above its value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kdumpbuild.newboard.draft import Draft, Value

_DUMP = """\
# directory = "kdump"           # below the file system's root
# level = 31                    # makedumpfile: 31 leaves out free, zero, cache and user pages
# deadline = 300                # seconds after which the capture system reboots, whatever it has saved
"""
_NO_CONFIG = """\
# base = "./our.config"         # the product's kernel config; KERNEL_CONFIG= gives it to a single build
"""
_NO_WATCHDOG = """\
# [watchdog]                    # where the product has one running
# device = "/dev/watchdog"
# timeout = 30
"""


def board_text(draft: Draft, *, dtb: str, base: str) -> str:
    """Return a board file; ``dtb`` and ``base`` as the file names them, ``base`` empty for none."""
    storages = [] if draft.storage.question else ["Storage in this tree:", *(f"  {line}" for line in draft.storages)]
    parts = [
        _comments([draft.description, *draft.about]),
        _comments(['Written by kdumpbuild board new. A "?" waits for an answer; docs/board-file.md has all keys.']),
        "format = 1\n",
        _key("description", draft.description),
        _key("arch", draft.arch),
        _key("soc", draft.soc),
        _key("dtb", dtb, "the capture kernel's drivers are derived from it"),
        "\n[memory]\n",
        _asked("ram", draft.ram),
        _comments(draft.memory_notes),
        '# crashkernel = "24M"           # computed from the built set when it is not given\n',
        "\n[production]\n",
        _key("base", base, "of the running kernel")
        if base
        else _NO_CONFIG,
        "\n[capture]\n",
        _asked("console", draft.console),
        "\n[drivers]\n",
        _comments(["What the capture kernel has drivers for; all that these hang on is found in the tree."]),
        _comments(storages),
        _asked("storage", draft.storage),
        _key("console", draft.console_node) if draft.console_node else "",
        _asked("watchdog", draft.watchdog) if draft.watchdog else "",
        "\n[dump]\n",
        _asked("device", draft.device),
        _asked("filesystem", draft.filesystem),
        _DUMP,
        "\n",
        _comments(draft.watchdog_notes),
        f"[watchdog]\ndevice = {_toml(draft.watchdog_device)}\ntimeout = {draft.watchdog_timeout}\n"
        if draft.watchdog
        else _NO_WATCHDOG,
    ]
    return "".join(parts)


def _asked(name: str, value: Value) -> str:
    """Return a key, with its question above it when it has no answer yet."""
    question = [f"Question {value.number}: {value.question}", *(f"  {line}" for line in value.candidates)]
    return (_comments(question) if value.question else "") + _key(name, value.value, value.note)


def _key(name: str, value: str | list[str], note: str = "") -> str:
    return f"{name} = {_toml(value)}{f'    # {_line(note)}' if note else ''}\n"


def _comments(lines: Iterable[str]) -> str:
    return "".join(f"# {_line(line)}\n" for line in lines)


def _line(text: str) -> str:
    """Return a text without what would end a comment, or control a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _toml(value: str | list[str]) -> str:
    # A text, and a list of texts, is written in TOML as in JSON, but for DEL, which TOML does not take as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
