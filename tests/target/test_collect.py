"""After the reboot: kdump-collect and kdump-ctl, the real files under real BusyBox, on what the real init left."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kdumpbuild import resources
from kdumpbuild.board.loader import load_board
from kdumpbuild.build.scripts import collect_conf
from tests.target.conftest import BUSYBOX, CHROOT, FOLDER, CaptureSystem
from tests.target.test_slots import SLOT, SLOTS, STREAM, Ring, crash

if TYPE_CHECKING:
    from collections.abc import Iterator

SET = "usr/lib/kdumpbuild"
SCRIPTS = ("kdump-collect", "kdump-ctl", "kdump-load")
UNFLATTEN = """
[ "$1" = -R ] || exit 9
{ echo unflattened; busybox cat; } >"$2"
"""


@dataclass
class Product:
    """The production side, in the same root directory as the capture system."""

    system: CaptureSystem

    @property
    def store(self) -> Path:
        return self.system.root / "var/lib/kdump"

    @property
    def dumps(self) -> list[Path]:
        """The filed dumps, by their names."""
        return sorted(path for path in self.store.iterdir() if not path.name.startswith("."))

    @property
    def dump(self) -> Path:
        (dump,) = self.dumps
        return dump

    def configure(self, *, collect: dict[str, object] | None = None, **dump: object) -> None:
        board = load_board(resources.BOARDS / "arm-virt.toml")
        # The clock of this machine stands still.
        settings = {"device_timeout": 0, "directory": FOLDER, **dump}
        board = replace(
            board, dump=replace(board.dump, **settings),  # type: ignore[arg-type]
            collect=replace(board.collect, **(collect or {})),  # type: ignore[arg-type]
        )  # fmt: skip
        (self.system.root / SET / "kdump-collect.conf").write_text(collect_conf(board), encoding="utf-8")

    def run(self, script: str, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """Run one of the set's scripts; return its exit code and all that it says."""
        done = subprocess.run(
            [CHROOT, str(self.system.root), "/bin/busybox", "sh", f"/{SET}/{script}", *arguments],
            input=stdin, capture_output=True, text=True, check=False, env={"PATH": "/bin", "KDUMP_SET": f"/{SET}"},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def collect(self, *, code: int = 0) -> str:
        status, said = self.run("kdump-collect")
        assert status == code, said
        return said


@pytest.fixture
def product(system: CaptureSystem) -> Product:
    root = system.root
    for name in (SET, "run", "sys/fs/pstore"):
        (root / name).mkdir(parents=True)
    for name in SCRIPTS:
        (root / SET / name).write_bytes((resources.TEMPLATES / "target" / name).read_bytes())
        (root / SET / name).chmod(0o755)
    for name in ("device.sh", "slots.sh"):
        (root / SET / f"kdump-{name}").write_bytes((resources.TEMPLATES / "initramfs/lib" / name).read_bytes())
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in applets:
        if not (root / "bin" / name).exists() and name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    os.mknod(root / "dev/zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    system.tool("logger", 'echo "$*" >>/logger.log\n')
    (root / "proc/mounts").write_text("rootfs / rootfs rw 0 0\n/dev/vda /mnt ext4 rw 0 0\n", encoding="utf-8")
    made = Product(system)
    made.configure()
    return made


@pytest.fixture
def ring(product: Product, tmp_path: Path) -> Iterator[Ring]:
    system = product.system
    image = tmp_path / "ring.img"
    image.write_bytes(bytes(SLOTS * SLOT))
    attached = subprocess.run(
        ["losetup", "--find", "--show", str(image)], capture_output=True, text=True, check=False
    )
    if attached.returncode != 0:
        pytest.skip(f"needs a loop device: {attached.stderr.strip()}")
    device = attached.stdout.strip()
    (system.root / "dev/vda").unlink()
    os.mknod(system.root / "dev/vda", stat.S_IFBLK | 0o660, Path(device).stat().st_rdev)
    (system.root / "sys/class/block/vda/size").write_text(f"{SLOTS * SLOT // 512}\n")
    (system.root / "payload").write_bytes(b"pages" * 20000)
    system.tool("makedumpfile", STREAM)
    system.configure(target="slots", filesystem="", slots=SLOTS)
    product.configure(target="slots", filesystem="", slots=SLOTS)
    yield Ring(system, image)
    subprocess.run(["losetup", "--detach", device], check=True)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_dump_is_filed_and_told_and_leaves_the_target(product: Product) -> None:
    product.system.run()
    vmcore = (product.system.dump.folder / "vmcore").read_bytes()
    product.collect()
    assert names(product.dump) == {"dmesg.txt", "status", "summary", "vmcore"}
    assert (product.dump / "vmcore").read_bytes() == vmcore
    assert (product.dump / "summary").read_text() == (
        f"dump 0001: Kernel panic - not syncing: test; vmcore filtered, {len(vmcore)} bytes\n"
    )
    logged = (product.system.root / "logger.log").read_text()
    assert f"-t kdump -- {product.dump.name}: dump 0001: Kernel panic - not syncing: test;" in logged
    assert product.system.dumps == []
    assert stat.S_IMODE((product.dump / "vmcore").stat().st_mode) == 0o600
    product.collect()
    assert len(product.dumps) == 1


def test_the_folder_is_named_after_the_crash_where_its_time_is_known(product: Product) -> None:
    note = b"VMCOREINFO\0\0OSRELEASE=6.12.1\nCRASHTIME=1700000000\n"
    (product.system.root / "proc/vmcore").write_bytes(note + bytes(65536))
    product.system.run()
    product.collect()
    assert product.dump.name.startswith("20231114T221320Z-")


def test_nothing_there_is_nothing_wrong(product: Product) -> None:
    assert product.collect() == ""
    assert product.dumps == []


def test_a_run_that_was_cut_off_is_made_good(product: Product) -> None:
    product.system.run()
    # It ends after the dump is filed, before the target is cleared.
    product.system.tool("logger", "kill -9 $PPID\n")
    status, _ = product.run("kdump-collect")
    assert status != 0
    assert product.system.dumps
    (product.store / ".part-77").mkdir()
    product.system.tool("logger", "exit 0\n")
    product.collect()
    assert names(product.dump) == {"dmesg.txt", "status", "summary", "vmcore"}
    assert product.system.dumps == []
    assert not (product.store / ".part-77").exists()


def test_a_dump_without_memory_says_why(product: Product) -> None:
    product.system.configure(form="dmesg")
    product.system.run()
    product.collect()
    assert names(product.dump) == {"dmesg.txt", "status", "summary"}
    assert (product.dump / "summary").read_text() == "dump 0001: Kernel panic - not syncing: test; the log alone\n"


def test_a_vmcore_of_another_size_is_not_taken_for_one(product: Product) -> None:
    product.system.run()
    with (product.system.dump.folder / "vmcore").open("ab") as stream:
        stream.write(b"x")
    said = product.collect()
    assert "damaged" in said
    assert "vmcore" not in names(product.dump)
    assert (product.dump / "vmcore.damaged").exists()
    assert "the vmcore is damaged" in (product.dump / "summary").read_text()


def test_a_cut_off_vmcore_is_not_filed(product: Product) -> None:
    product.system.tool("makedumpfile", "for last; do :; done\necho half >\"$last\"\nbusybox sh -c 'kill -9 0'\n")
    product.system.run()
    assert (product.system.dump.folder / "vmcore.part").exists()
    product.collect()
    assert names(product.dump) == {"dmesg.txt", "status", "summary"}


def test_a_whole_vmcore_that_the_status_does_not_speak_of_yet_is_one(product: Product) -> None:
    product.system.run()
    status = product.system.dump.folder / "status"
    lines = status.read_text().splitlines()
    changed = [{"vmcore": "vmcore=none", "vmcore_bytes": "vmcore_bytes="}.get(x.split("=")[0], x) for x in lines]
    status.write_text("\n".join(changed) + "\n")
    product.collect()
    assert "vmcore filtered" in (product.dump / "summary").read_text()


def test_a_capture_that_failed_is_told_once(product: Product) -> None:
    product.system.tool("makedumpfile", "exit 1\n")
    product.system.tool("vmcore-dmesg", "busybox sh -c 'kill -9 0'\n")
    product.system.run()
    said = product.collect()
    assert 'the last capture was cut off at "dmesg"' in said
    assert product.collect() == ""


def test_only_so_many_dumps_stay_and_the_newest_with_memory_among_them(product: Product) -> None:
    product.configure(collect={"keep": 2})
    product.system.configure(loop_crashes=0)
    for number, form in enumerate(("filtered", "filtered", "dmesg", "dmesg", "dmesg")):
        product.system.configure(form=form, loop_crashes=0)
        product.system.tool("vmcore-dmesg", f"echo 'log {number}'\n")
        note = f"\0CRASHTIME=170000000{number}\n".encode()
        (product.system.root / "proc/vmcore").write_bytes(note + bytes(65536))
        product.system.run()
        product.collect()
    logs = [(dump / "dmesg.txt").read_text() for dump in product.dumps]
    assert logs == ["log 1\n", "log 4\n"]
    assert (product.dumps[0] / "vmcore").exists()


def test_the_hook_gets_each_new_dump_and_may_fail(product: Product) -> None:
    product.configure(collect={"hook": "/bin/upload"})
    product.system.tool("upload", 'echo "$1" >>/uploaded.log\nexit 3\n')
    product.system.run()
    said = product.collect()
    assert (product.system.root / "uploaded.log").read_text() == f"/var/lib/kdump/{product.dump.name}\n"
    assert "the hook /bin/upload ended with 3" in said


def test_records_of_pstore_are_filed_and_a_capture_that_found_no_target_speaks(product: Product) -> None:
    pstore = product.system.root / "sys/fs/pstore"
    (pstore / "dmesg-ramoops-0").write_text("Panic#1\n<0>[    5.123456] Kernel panic - not syncing: early\n")
    (pstore / "pmsg-ramoops-0").write_text(
        "kdump: dump target /dev/mmcblk0p4\nkdump: failed: dump target /dev/mmcblk0p4: not there after 10 s\n"
    )
    said = product.collect()
    assert "the last capture said: dump target /dev/mmcblk0p4: not there after 10 s" in said
    assert names(product.dump) == {"dmesg-ramoops-0", "pmsg-ramoops-0", "status", "summary"}
    assert (product.dump / "summary").read_text().startswith("pstore: Kernel panic - not syncing: early;")
    assert names(pstore) == set()


def test_a_missing_target_is_told(product: Product) -> None:
    (product.system.root / "dev/vda").unlink()
    said = product.collect(code=3)
    assert "the dump target /dev/vda is not there" in said


def test_a_missing_configuration(product: Product) -> None:
    (product.system.root / SET / "kdump-collect.conf").unlink()
    assert "no kdump-collect.conf" in product.collect(code=2)


def test_wrong_usage(product: Product) -> None:
    assert product.run("kdump-collect", "now") == (1, "kdump-collect: usage: kdump-collect\n")


def test_two_at_a_time_are_refused(product: Product) -> None:
    (product.system.root / "run/kdump-collect").mkdir()
    (product.system.root / "run/kdump-collect/pid").write_text(f"{os.getpid()}\n")
    assert "another kdump-collect runs" in product.collect(code=5)
    (product.system.root / "run/kdump-collect/pid").write_text("999999999\n")
    product.collect()


def test_a_slot_is_filed_and_freed(product: Product, ring: Ring) -> None:
    crash(ring, "Kernel panic - not syncing: in a slot")
    product.system.tool("makedumpfile", UNFLATTEN)
    product.collect()
    assert names(product.dump) == {"dmesg.txt", "status", "summary", "vmcore"}
    assert (product.dump / "dmesg.txt").read_bytes() == b"[    7.000000] Kernel panic - not syncing: in a slot\n"
    vmcore = (product.dump / "vmcore").read_bytes()
    assert vmcore.startswith(b"unflattened\nfiltered: -F")
    assert "slot 0: Kernel panic - not syncing: in a slot; vmcore filtered" in (product.dump / "summary").read_text()
    assert product.collect() == ""
    system = product.system
    system.tool("makedumpfile", STREAM)
    crash(ring, "next")
    (slot,) = ring.slots
    assert (slot.number, slot.sequence) == (0, 2)


def test_without_makedumpfile_the_flattened_form_is_filed(product: Product, ring: Ring) -> None:
    crash(ring, "x")
    (product.system.root / "bin/makedumpfile").unlink()
    product.collect()
    assert names(product.dump) == {"dmesg.txt", "status", "summary", "vmcore.flat"}


def test_raw_memory_of_a_slot_has_its_exact_size(product: Product, ring: Ring) -> None:
    memory = os.urandom(65536 * 2 + 4096)
    (product.system.root / "proc/vmcore").write_bytes(memory)
    product.system.tool("makedumpfile", "exit 1\n")
    crash(ring, "x")
    product.collect()
    assert (product.dump / "vmcore").read_bytes() == memory


def test_a_damaged_slot_is_filed_as_such(product: Product, ring: Ring) -> None:
    crash(ring, "x")
    vmcore = ring.slots[0].vmcore
    assert vmcore is not None
    with (product.system.root / "dev/vda").open("r+b") as stream:
        stream.seek(vmcore.offset + 5)
        stream.write(b"?")
    said = product.collect()
    assert "the vmcore in slot 0 is not what was written: damaged" in said
    assert names(product.dump) == {"dmesg.txt", "status", "summary", "vmcore.damaged"}


def test_a_torn_slot_is_told_once(product: Product, ring: Ring) -> None:
    product.system.tool("vmcore-dmesg", "busybox sh -c 'kill -9 0'\n")
    ring.run()
    assert "cut off before its log was durable (slot 0)" in product.collect()
    assert product.collect() == ""
    assert product.dumps == []


def test_collecting_does_not_end_the_count_of_crashes(product: Product, ring: Ring) -> None:
    product.system.configure(target="slots", filesystem="", slots=SLOTS, loop_crashes=2)
    for number in range(4):
        crash(ring, f"again {number}")
        product.collect()
    forms = [any(path.name.startswith("vmcore") for path in dump.iterdir()) for dump in product.dumps]
    assert sorted(forms) == [False, False, True, True]


def test_the_list_and_one_dump(product: Product) -> None:
    assert product.run("kdump-ctl", "list") == (0, "no dumps in /var/lib/kdump\n")
    product.system.run()
    product.collect()
    status, said = product.run("kdump-ctl", "list")
    assert status == 0
    assert said.startswith(f"{product.dump.name}  dump 0001: Kernel panic - not syncing: test; vmcore filtered")
    for name in (product.dump.name, "latest"):
        status, said = product.run("kdump-ctl", "show", name)
        assert status == 0
        assert "  vmcore=filtered\n" in said
        assert "  [    1.000000] Kernel panic - not syncing: test" in said


@pytest.mark.parametrize("name", ["nothing", "../../etc", "..", ""])
def test_a_dump_that_is_not_there(product: Product, name: str) -> None:
    status, said = product.run("kdump-ctl", "show", name)
    assert status == 10, said


@pytest.mark.parametrize("arguments", [(), ("fly",), ("show",), ("status", "x"), ("test", "--no")])
def test_wrong_usage_of_the_command(product: Product, arguments: tuple[str, ...]) -> None:
    status, said = product.run("kdump-ctl", *arguments)
    assert (status, said.startswith("usage: ")) == (1, True)


def loaded(product: Product, value: str) -> None:
    (product.system.root / "sys/kernel").mkdir(exist_ok=True)
    (product.system.root / "sys/kernel/kexec_crash_loaded").write_text(f"{value}\n")
    (product.system.root / "sys/kernel/kexec_crash_size").write_text("14680064\n")


@pytest.mark.parametrize(("value", "code"), [("1", 0), ("0", 8)])
def test_the_state(product: Product, value: str, code: int) -> None:
    loaded(product, value)
    status, said = product.run("kdump-ctl", "status")
    assert status == code
    assert "0 dumps in /var/lib/kdump" in said


def test_a_crash_on_purpose_needs_a_capture_kernel_and_a_yes(product: Product) -> None:
    trigger = product.system.root / "proc/sysrq-trigger"
    trigger.write_text("")
    loaded(product, "0")
    assert product.run("kdump-ctl", "test", "--yes")[0] == 8
    loaded(product, "1")
    assert product.run("kdump-ctl", "test", stdin="no\n")[0] == 11
    assert product.run("kdump-ctl", "test")[0] == 11
    assert trigger.read_text() == ""
    status, said = product.run("kdump-ctl", "test", stdin="yes\n")
    assert "This crashes the machine NOW." in said
    assert trigger.read_text() == "c\n"
    assert status == 9, "it has not crashed here"


@pytest.mark.parametrize("target", ["nfs", "ssh"])
def test_dumps_on_a_server_stay_there_and_pstore_is_filed(product: Product, target: str) -> None:
    product.configure(target=target, device="192.168.1.10:/srv/dumps", filesystem="")
    records = product.system.root / "sys/fs/pstore"
    records.mkdir(parents=True, exist_ok=True)
    (records / "dmesg-ramoops-0").write_text("Panic#1 Part1\n<0>[ 1.0] Kernel panic - not syncing: here\n")
    product.collect()
    assert "dmesg-ramoops-0" in names(product.dump)
