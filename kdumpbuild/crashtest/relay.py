"""One connection of the test machine, handed on to a port of the host: ``python -m kdumpbuild.crashtest.relay PORT``.

QEMU starts a program for each connection, with the connection as its standard input and output.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys


def relay(near: socket.socket, far: socket.socket) -> None:
    """Copy in both directions until both sides have said all."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(near, selectors.EVENT_READ, far)
        waiting.register(far, selectors.EVENT_READ, near)
        while waiting.get_map():
            for key, _ in waiting.select():
                source, sink = key.fileobj, key.data
                data = source.recv(1 << 16) if isinstance(source, socket.socket) else b""
                if data:
                    sink.sendall(data)
                else:
                    waiting.unregister(source)
                    sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    with socket.socket(fileno=os.dup(0)) as machine, socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as host:
        relay(machine, host)
