"""A server as the dump target: the real init under real BusyBox. The network is a namespace's loopback, for which sysfs
tells what it would of a card; the server is a script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kdumpbuild.board.network import Network
from kdumpbuild.crashtest.dumps import find_dumps, read_attempt

if TYPE_CHECKING:
    from pathlib import Path

    from kdumpbuild.crashtest.dumps import SavedDump
    from tests.target.conftest import CaptureSystem

MAC = "52-54-00-12-34-56"
# The server is the same machine: what a shell there would do is done here.
DBCLIENT = """
echo "$HOME: $*" >>/logins.log
busybox ip -o addr show lo >/addresses
for last; do :; done
exec busybox sh -c "$last"
"""
STREAM = """
case $1 in
--dump-dmesg) for last; do :; done; echo "the log, by makedumpfile" >"$last" ;;
*) echo "filtered: $*"; busybox cat /proc/vmcore ;;
esac
"""
# The connection breaks in the middle of the memory: the server sees the end of a file, and dbclient may not say so.
CUT = """
for last; do :; done
case $last in
*"cat >"*vmcore*)
    busybox dd bs=1000 count=7 2>/dev/null >/tmp/some
    busybox cat >/dev/null
    busybox sh -c "$last" </tmp/some
    {end}
    ;;
*) exec busybox sh -c "$last" ;;
esac
"""


def with_network(system: CaptureSystem, target: str, **network: object) -> None:
    device = {"nfs": "192.168.1.10:/srv/dumps", "ssh": "crash@192.168.1.10:/srv/dumps"}[target]
    values = {"interface": "lo", "address": "192.168.1.20/24", **network}
    system.configure(
        target=target, device=device, filesystem="", directory="gateway", network=Network(**values),  # type: ignore[arg-type]
    )  # fmt: skip
    card = system.root / "sys/class/net/lo"
    (card / "statistics").mkdir(parents=True)
    (card / "address").write_text(f"{MAC.replace('-', ':')}\n", encoding="utf-8")
    (card / "carrier").write_text("1\n", encoding="utf-8")
    (card / "statistics/tx_bytes").write_text("0\n", encoding="utf-8")
    system.tool("mount", 'echo "mount $*" >>/calls.log\nbusybox ip -o addr show lo >/addresses\n')
    system.tool("dbclient", DBCLIENT)
    if target == "ssh":
        system.tool("makedumpfile", STREAM)


def calls(system: CaptureSystem) -> list[str]:
    return (system.root / "calls.log").read_text(encoding="utf-8").splitlines()


def addresses(system: CaptureSystem) -> str:
    return (system.root / "addresses").read_text(encoding="utf-8")


def served(system: CaptureSystem) -> Path:
    return system.root / "srv/dumps/gateway" / MAC


def only(folder: Path) -> SavedDump:
    (dump,) = find_dumps(folder)
    return dump


def test_nfs(system: CaptureSystem) -> None:
    with_network(system, "nfs")
    console = system.run()
    assert "kdump: done" in console
    options = "addr=192.168.1.10,vers=4.1,soft,timeo=100,retrans=2,noatime"
    assert f"mount -t nfs -o {options} 192.168.1.10:/srv/dumps /mnt" in calls(system)
    assert "192.168.1.20/24" in addresses(system)
    dump = only(system.mount_point / "gateway" / MAC)
    assert dump.form == "filtered"
    assert read_attempt(system.mount_point / "gateway" / MAC)["stage"] == "done"


def test_ssh(system: CaptureSystem) -> None:
    with_network(system, "ssh")
    console = system.run()
    assert "kdump: done" in console
    dump = only(served(system))
    assert {path.name for path in dump.folder.iterdir()} == {"dmesg.txt", "vmcore.flat", "status"}
    assert b"Kernel panic" in (dump.folder / "dmesg.txt").read_bytes()
    flat = (dump.folder / "vmcore.flat").read_bytes()
    assert flat.startswith(b"filtered: -F ")
    assert flat.endswith((system.root / "proc/vmcore").read_bytes())
    assert dump.status["vmcore"] == "filtered"
    assert dump.status["vmcore_bytes"] == str(len(flat))
    assert dump.status["reason"] == ""
    assert read_attempt(served(system))["stage"] == "done"
    login = (system.root / "logins.log").read_text(encoding="utf-8").splitlines()[0]
    assert login.startswith("/root: -T -p 22 -i /etc/kdump.key crash@192.168.1.10 umask 077;")


def test_the_next_dump_has_the_next_number(system: CaptureSystem) -> None:
    with_network(system, "ssh")
    system.run()
    system.run()
    assert [dump.name for dump in find_dumps(served(system))] == ["0001", "0002"]
    assert (served(system) / "loop").read_text(encoding="utf-8") == "crashes=2\n"


@pytest.mark.parametrize("end", ["exit 0", "exit 1"])
def test_a_connection_that_breaks_leaves_no_vmcore(system: CaptureSystem, end: str) -> None:
    with_network(system, "ssh")
    system.tool("dbclient", CUT.format(end=end))
    console = system.run()
    dump = only(served(system))
    assert not [path.name for path in dump.folder.iterdir() if path.name in ("vmcore", "vmcore.flat")]
    assert dump.dmesg is not None
    assert dump.status["vmcore"] == "none"
    said = "the server has less of it than was sent" if end == "exit 0" else "the server did not take it"
    assert said in dump.status["reason"]
    assert said in console
    assert system.rebooted


def test_a_log_that_was_cut_off_is_no_dump(system: CaptureSystem) -> None:
    """The power goes while the log is sent: what is there has no number."""
    with_network(system, "ssh")
    system.tool("vmcore-dmesg", "echo '[ 1.0] begin'\nbusybox sleep 1\nbusybox sh -c 'kill -9 0'\n")
    system.run()
    assert find_dumps(served(system)) == []
    assert [path.name for path in served(system).iterdir()] == [".part-0001"]


@pytest.mark.parametrize("target", ["nfs", "ssh"])
def test_no_link(system: CaptureSystem, target: str) -> None:
    with_network(system, target)
    (system.root / "sys/class/net/lo/carrier").write_text("0\n", encoding="utf-8")
    console = system.run()
    assert "failed: network lo: no link after 1 s: is the cable in, and the other end on?" in console
    assert system.rebooted


def test_no_interface(system: CaptureSystem) -> None:
    with_network(system, "nfs", interface="end0")
    assert "failed: network end0: no such interface after 1 s; there are: lo" in system.run()


def test_no_lease(system: CaptureSystem) -> None:
    with_network(system, "ssh", address="dhcp")
    system.tool("udhcpc", 'echo "udhcpc: no lease, failing" >&2\nexit 1\n')
    assert "failed: network lo: no address by DHCP in 1 s: udhcpc: no lease, failing" in system.run()


def test_an_address_by_dhcp(system: CaptureSystem) -> None:
    with_network(system, "ssh", address="dhcp")
    script = "export ip=192.168.1.9 mask=24 router= interface=lo\n/lib/kdump/dhcp.sh bound\n"
    system.tool("udhcpc", script)
    system.run()
    assert "192.168.1.9/24" in addresses(system)
    assert only(served(system)).form == "filtered"


def test_a_gateway_that_cannot_be_reached(system: CaptureSystem) -> None:
    with_network(system, "ssh", gateway="10.9.8.7")
    assert "failed: network lo: cannot take the address 192.168.1.20/24: ip: RTNETLINK answers: " in system.run()


def test_a_server_that_refuses(system: CaptureSystem) -> None:
    with_network(system, "ssh")
    system.tool("dbclient", 'echo "Connection to crash@192.168.1.10:22 exited: Host key mismatch" >&2\nexit 1\n')
    console = system.run()
    assert "failed: dump target crash@192.168.1.10:/srv/dumps: cannot log in, or not make the folder" in console
    assert "Host key mismatch" in console
    assert system.rebooted
