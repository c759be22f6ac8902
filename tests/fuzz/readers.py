"""Broken files for every reader: real or nearly real ones, with a few bytes changed, cut, doubled or moved.

Used by a short test and by ``benchmarks/fuzz_readers.py``. A run is repeatable: its seed is all it depends on.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import shutil
import struct
import tarfile
import tempfile
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kdumpbuild.errors import UserError
from kdumpbuild.formats.arm64_image import read_arm64_image
from kdumpbuild.formats.devicetree import read_devicetree
from kdumpbuild.formats.dotconfig import read_dotconfig
from kdumpbuild.formats.elf import needs_of, read_elf, read_vmlinux
from kdumpbuild.formats.fdt import read_fdt
from kdumpbuild.formats.initramfs import read_initramfs
from kdumpbuild.formats.zimage import read_zimage
from kdumpbuild.newboard.draft import Answers, draft
from kdumpbuild.newboard.hardware import Hardware
from kdumpbuild.newboard.probe import read_probe
from kdumpbuild.newboard.text import board_text
from kdumpbuild.run import run

if TYPE_CHECKING:
    from collections.abc import Callable

_INTERESTING = (0, 1, 4, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)

TREE = """/dts-v1/;
/memreserve/ 0x40000000 0x1000;
/ {
    #address-cells = <2>; #size-cells = <1>; model = "Test"; compatible = "test,board";
    aliases { serial0 = "/serial@9000000"; };
    chosen { bootargs = "console=ttyAMA0 crashkernel=16M"; stdout-path = "serial0:115200"; kaslr-seed = <1 2>; };
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0x20000000>; };
    cpus { #address-cells = <1>; #size-cells = <0>;
        cpu@0 { device_type = "cpu"; reg = <0>; enable-method = "psci"; };
        cpu@1 { device_type = "cpu"; reg = <1>; enable-method = "spin-table"; };
    };
    psci { compatible = "arm,psci-0.2"; method = "hvc"; };
    reserved-memory { #address-cells = <2>; #size-cells = <1>; ranges;
        cma { compatible = "shared-dma-pool"; reusable; size = <0x4000000>; linux,cma-default; };
        ramoops@4f000000 { compatible = "ramoops"; reg = <0 0x4f000000 0x100000>; };
    };
    serial@9000000 { compatible = "arm,pl011"; reg = <0 0x9000000 0x1000>; };
    watchdog@9010000 { compatible = "arm,sp805-wdt", "arm,primecell"; reg = <0 0x9010000 0x1000>; };
};
"""


IOMEM = b"80000000-8fffffff : System RAM\n  80008000-80ffffff : Kernel code\n"
FACTS = b"""# kdump-probe\t1
system\tmachine\tname\tarmv7l
block\tmmcblk1p4\tsectors\t614400
block\tmmcblk1p4\tpartition\t4
block\tmmcblk1p4\tnode\t/soc/mmc@2194000
watchdog\twatchdog0\ttimeout\t45
console\tttymxc0\tactive\tyes
"""


@dataclass
class Result:
    """What became of a reader's inputs."""

    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    crashes: list[tuple[bytes, BaseException]] = field(default_factory=list)


def fuzz(reader: Callable[[bytes], object], seeds: list[bytes], count: int, seed: int = 1) -> Result:
    """Give ``reader`` that many broken inputs. All it may do is return or raise UserError."""
    rng = random.Random(seed)  # noqa: S311  # nothing secret
    result = Result()
    for _ in range(count):
        data = mutate(rng, rng.choice(seeds))
        started = time.perf_counter()
        try:
            reader(data)
        except UserError:
            result.refused += 1
        except BaseException as error:  # what is looked for
            result.crashes.append((data, error))
            if isinstance(error, KeyboardInterrupt):
                raise
        spent = time.perf_counter() - started
        result.inputs += 1
        result.seconds += spent
        result.slowest = max(result.slowest, spent)
    return result


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Return ``data`` with one to eight things wrong with it."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        if not out:
            break
        how = rng.randrange(7)
        # Headers are where readers go wrong: half of all changes fall on the first 256 bytes.
        at = rng.randrange(min(len(out), 256)) if rng.random() < 0.5 else rng.randrange(len(out))
        if how == 0:
            out[at] ^= 1 << rng.randrange(8)
        elif how == 1:
            out[at] = rng.randrange(256)
        elif how in (2, 3):
            width, order = rng.choice((2, 4, 8)), rng.choice(("little", "big"))
            value = rng.choice((*_INTERESTING, len(out), rng.getrandbits(32))) & (1 << 8 * width) - 1
            piece = value.to_bytes(width, "little" if order == "little" else "big")
            out[at : at + width] = piece[: len(out) - at]
        elif how == 4:
            del out[at : at + (len(out) if rng.random() < 0.3 else rng.randint(1, 64))]
        elif how == 5:
            out[at:at] = out[at : at + rng.randint(1, 64)]
        else:
            start = rng.randrange(len(out))
            piece = bytes(out[start : start + rng.randint(1, 32)])
            out[at : at + len(piece)] = piece
    return bytes(out)


def readers() -> dict[str, tuple[Callable[[bytes], object], list[bytes]]]:
    """Return each reader with the inputs to break."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        elf = _programs(folder)
        trees = _trees(folder)
    script = b"#!/bin/sh\n" * 9
    archive = cpio([("init", 0o100755, script), ("bin", 0o120777, b"usr/bin"), ("usr/bin/sh", 0o100755, elf[0])])
    config = b"# Linux/arm 6.12.1 Kernel Configuration\nCONFIG_A=y\n# CONFIG_B is not set\n"
    config += b'CONFIG_C="x\\"y"\nCONFIG_D=0x10\n'
    return {
        "ELF": (lambda data: needs_of(read_elf(data)), elf),
        "vmlinux": (lambda data: read_vmlinux(data, frozenset({"_text", "_start", "main"})), elf),
        "device tree": (read_devicetree, trees),
        "initramfs": (
            _read_files,
            [
                archive, gzip.compress(archive), lzma.compress(archive, check=lzma.CHECK_CRC32), bz2.compress(archive),
                lzma.compress(archive, format=lzma.FORMAT_ALONE), archive + gzip.compress(archive),
                b"\x28\xb5\x2f\xfd\x04\x58" + bytes(60), uboot(archive),
            ],
        ),
        "zImage": (lambda data: read_zimage(data).image_size_for_kexec(), [zimage(), zimage(textofs=None)]),
        "arm64 Image": (read_arm64_image, [image(), gzip.compress(image()), b"MZ\0\0zimg" + bytes(120)]),
        ".config": (read_dotconfig, [config]),
        "new board": (_new_board, trees),
        "probe": (_read_archive, [_archive({"facts": FACTS, "proc/iomem": IOMEM, "sys/firmware/fdt": trees[0]})]),
    }  # fmt: skip


def _new_board(data: bytes) -> None:
    made = draft("x", Hardware(read_fdt(data)), None, Answers(arch="arm"))
    tomllib.loads(board_text(made, dtb="./x.dtb", base=""))


def _archive(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _read_archive(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        file.write(data)
        file.flush()
        read_probe(Path(file.name))


def _read_files(data: bytes) -> None:
    initramfs = read_initramfs(data)
    for path in ("init", "bin/sh", "usr/bin/../bin/sh"):
        initramfs.entry(path)


def cpio(files: list[tuple[str, int, bytes]]) -> bytes:
    """Return a newc archive; a character device in it is /dev/console."""
    out = b""
    for name, mode, data in [*files, ("TRAILER!!!", 0, b"")]:
        encoded = name.encode() + b"\0"
        console = (5, 1) if mode & 0o170000 == 0o020000 else (0, 0)  # the one device node that tests need
        fields = (1, mode, 0, 0, 1, 0, len(data), 0, 0, *console, len(encoded), 0)
        head = b"070701" + b"".join(b"%08x" % value for value in fields) + encoded
        out += head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
    return out


def uboot(data: bytes) -> bytes:
    """Return ``data`` behind a U-Boot legacy header."""
    return struct.pack(">7I4B32s", 0x27051956, 0, 0, len(data), 0, 0, 0, 5, 2, 3, 0, b"ramdisk") + data


def zimage(
    *, edata: int = 0x300000, bss: int = 0x40000, size: int = 0x8000, textofs: int | None = 0x8000, tail: bytes = b""
) -> bytes:
    """Return a zImage that has the header and table of a real one and nothing to run."""
    data = bytearray(size)
    struct.pack_into("<5I", data, 0x24, 0x016F2818, 0, size, 0x04030201, 0x45454545)
    struct.pack_into("<I", data, 0x38, 0x1000)
    words = [0x5A534C4B, size - 4, bss, *([textofs, 65536] if textofs is not None else [])]
    table = [7, 0x1234, 0, 0, 0, 0, 0, len(words) + 1, *words, 0]  # an unknown tag comes first
    struct.pack_into(f"<{len(table)}I", data, 0x1000, *table)
    struct.pack_into("<I", data, size - 4, edata)
    return bytes(data) + tail


def image(*, image_size: int = 0x600000, flags: int = 0xA, text_offset: int = 0, start: bytes = b"MZ\0\0") -> bytes:
    """Return the first page of an arm64 Image."""
    header = start.ljust(8, b"\0") + struct.pack("<3Q", text_offset, image_size, flags) + bytes(24) + b"ARM\x64"
    return header.ljust(4096, b"\0")


def _programs(folder: Path) -> list[bytes]:
    """Compile small programs, dynamic and not, for each architecture there is a compiler for."""
    source = folder / "p.c"
    source.write_text("extern void f(void); int main; void _start(void) { f(); }")
    (folder / "f.c").write_text("void f(void) {}")
    found = []
    for compiler in ("arm-linux-gnueabihf-gcc", "aarch64-linux-gnu-gcc", "gcc"):
        if shutil.which(compiler) is None:
            continue
        run([compiler, "-nostdlib", "-shared", "-o", folder / "libf.so", folder / "f.c"], what="compile a library")
        linked = [f"-L{folder}", "-lf", "-Wl,--build-id"]
        run([compiler, "-nostdlib", "-o", folder / "p", source, *linked], what="compile a program")
        alone = ["-nostdlib", "-static", "-g", "-o"]
        run([compiler, *alone, folder / "s", source, folder / "f.c"], what="compile a program")
        found += [(folder / name).read_bytes() for name in ("p", "s", "libf.so")]
    assert found, "no compiler to make ELF files with"
    return found


def _trees(folder: Path) -> list[bytes]:
    (folder / "t.dts").write_text(TREE)
    run(["dtc", "-q", "-O", "dtb", "-p", "256", "-o", folder / "t.dtb", folder / "t.dts"], what="make a device tree")
    return [(folder / "t.dtb").read_bytes()]
