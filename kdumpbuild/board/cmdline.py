"""What a board file may not give the capture kernel as further arguments."""

from __future__ import annotations

_FORBIDDEN = {
    "crashkernel": "it would reserve the capture kernel's own memory",
    "elfcorehdr": "kexec adds it",
    "mem": "kexec adds it",
}
"""Arguments that belong to the production kernel and break or waste the capture kernel's memory."""
_OF_ROOT = ("root", "rootfstype", "rootwait", "rootdelay", "init", "rdinit")
"""What ``capture.root`` gives. One that came behind would win: a plain ``rootwait`` waits for ever."""


def unusable(cmdline: str, *, rooted: bool) -> list[str]:
    """Return what is wrong with the arguments, a text for each; ``rooted``: whether the board has ``capture.root``."""
    arguments = [argument.partition("=") for argument in cmdline.split()]
    forbidden = _FORBIDDEN | (dict.fromkeys(_OF_ROOT, "capture.root gives it") if rooted else {})
    found = [f"{name} cannot be used: {why}" for name, why in forbidden.items() if name in {a[0] for a in arguments}]
    if any(name == "panic" and not value.strip("0") for name, _, value in arguments):
        found.append("panic=0 cannot be used: a capture that fails would hang for ever, and panic=5 is there")
    return found
