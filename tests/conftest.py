"""What holds for all tests."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let an interrupt reach the programs that tests start, and then interrupt.

    A shell without job control starts what it puts in the background with SIGINT ignored, and each program hands that
    down to those it starts.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
