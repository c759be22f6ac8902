"""The capture system as a folder of the product's own file system, in the place of an initramfs.

It is what the initramfs would hold, and is entered by chroot: so it uses nothing of the product's but ``/bin/sh`` and
``chroot``, and the same scripts find everything under the same names.
"""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
from typing import TYPE_CHECKING

from kdumpbuild.build.cpio import file, with_parents
from kdumpbuild.build.initramfs import MTIME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kdumpbuild.build.cpio import Entry

SET_FOLDER = "usr/lib/kdumpbuild"
"""Where the image set lies in the product's file system."""
FOLDER = f"{SET_FOLDER}/capture-root"
"""Where the capture system lies in it."""
CHECKSUMS = "SHA256SUMS"
"""The file in it that ``kdump-load`` verifies it by."""


def archive(entries: Iterable[Entry]) -> bytes:
    """Return a tar archive of a crash initramfs's entries, without its device nodes: the kernel makes those."""
    kept = {entry.name: entry for entry in entries if not stat.S_ISCHR(entry.mode)}
    sums = "".join(
        f"{hashlib.sha256(entry.data).hexdigest()}  {name}\n"
        for name, entry in sorted(kept.items())
        if stat.S_ISREG(entry.mode)
    )
    kept[CHECKSUMS] = file(CHECKSUMS, sums.encode())
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for entry in with_parents(kept.values()):
            tar.addfile(_member(entry), io.BytesIO(entry.data))
    return stream.getvalue()


def _member(entry: Entry) -> tarfile.TarInfo:
    member = tarfile.TarInfo(entry.name)
    member.mode, member.mtime = stat.S_IMODE(entry.mode), MTIME
    member.uname = member.gname = "root"
    if stat.S_ISDIR(entry.mode):
        member.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(entry.mode):
        member.type, member.linkname = tarfile.SYMTYPE, entry.data.decode()
    else:
        member.size = len(entry.data)
    return member
