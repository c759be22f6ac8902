"""The parts of deriving, each by itself: references, sources, Makefiles, the index's cache, blobs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kdumpbuild.derive import blobs, dtsfiles, index, makefiles, sources
from kdumpbuild.derive.references import edges
from kdumpbuild.errors import UserError
from kdumpbuild.kconfig import KernelTree
from tests.unit import derive_toy as toy

PROVIDERS = """
    a: a { #clock-cells = <1>; #gpio-cells = <2>; #dma-cells = <1>; compatible = "x,a", "syscon";
           interrupt-controller; #interrupt-cells = <2>; };
    b: b { #clock-cells = <0>; #power-domain-cells = <0>; };
"""


def found(properties: str) -> list[tuple[str, str, bool]]:
    nodes = toy.nodes_of(f"/ {{ {PROVIDERS} n {{ {properties} }}; }};")
    return [(e.name, e.target.path, e.needed) for e in edges(nodes, nodes.by_path["/n"])]


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ("clocks = <&a 3>, <0>, <&b>, <&a 4>;",
         [("clocks", "/a", True), ("clocks", "/b", True), ("clocks", "/a", True)]),
        ("assigned-clock-parents = <&b>;", [("assigned-clock-parents", "/b", True)]),
        ("pinctrl-0 = <&a &b>; pinctrl-names = \"x\";", [("pinctrl-0", "/a", True), ("pinctrl-0", "/b", True)]),
        ("vmmc-supply = <&b>;", [("vmmc-supply", "/b", True)]),
        ("power-domains = <&b>;", [("power-domains", "/b", True)]),
        ("cd-gpios = <&a 1 2>; gpio = <&a 1 2>; nr-gpios = <3>; ngpios = <1>;",
         [("cd-gpios", "/a", True), ("gpio", "/a", True)]),
        ("dmas = <&a 7>;", [("dmas", "/a", False)]),
        ('compatible = "ti,omap4-hsmmc"; dmas = <&a 7>;', [("dmas", "/a", True)]),
        ("interrupts = <1 2>; interrupt-parent = <&a>;", [("interrupts", "/a", True)]),
        ("interrupts-extended = <&a 1 2>;", [("interrupts-extended", "/a", True)]),
        ("vendor,gpr = <&a 0x10 3>;", [("vendor,gpr", "/a", True)]),
        ("vendor,other = <&b 1>; vendor,number = <1>;", []),
        ("clocks = <0x7777 1>;", []),
        ("cpu-idle-states = <&a>; model = \"abc\";", []),
    ],
)  # fmt: skip
def test_references(properties: str, expected: list[tuple[str, str, bool]]) -> None:
    assert found(properties) == expected


def test_interrupt_parents_are_inherited() -> None:
    nodes = toy.nodes_of(
        """/ { interrupt-parent = <&gic>; gic: gic { interrupt-controller; };
        bus { dev { interrupts = <1>; }; nexus { interrupt-map = <0>; dev { interrupts = <1>; }; }; }; };"""
    )
    def parent(path: str) -> str:
        found = nodes.interrupt_parent(nodes.by_path[path])
        return found.path if found else ""

    assert parent("/bus/dev") == "/gic"
    assert parent("/bus/nexus/dev") == "/bus/nexus"
    assert parent("/gic") == ""
    assert parent("/") == "/gic"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('IRQCHIP_DECLARE(gic, "arm,gic", init);', {("arm,gic", "irqchip")}),
        ('IRQCHIP_PLATFORM_DRIVER_BEGIN(x)\nIRQCHIP_MATCH("v,intc", init)', {("v,intc", "irqchip")}),
        ('CLK_OF_DECLARE_DRIVER(x,\n\t"v,clk", init);', {("v,clk", "clk")}),
        ('#define N "v,timer"\nTIMER_OF_DECLARE(x, N, init);', {("v,timer", "timer")}),
        ('OF_EARLYCON_DECLARE(x, "v,uart", init);', set()),
        (('static const struct of_device_id t[] __maybe_unused = {\n\t{ .compatible = "v,a", .data = "v,no" },\n'
         '\t{ .name = "no", .type = "no", .compatible = "v,b" }, // "v,c"\n\t{}\n};\n.of_match_table = t,'),
         {("v,a", "driver"), ("v,b", "driver")}),
        ('static const struct of_device_id t[] = { { .compatible = "v,a" }, {} };\nof_find_matching_node(NULL, t);',
         {("v,a", "lookup")}),
        ('#define M "v,m"\nconst struct of_device_id t[2] = { { .compatible = M }, {} };\nMODULE_DEVICE_TABLE(of, t);',
         {("v,m", "driver")}),
        ('of_find_compatible_node(NULL, NULL, "v,x"); for_each_compatible_node(np, NULL, "v,y")',
         {("v,x", "lookup"), ("v,y", "lookup")}),
        (('static struct mfd_cell c[] = {\n{ .name = "n1" },\n{ .name = "n2", .of_compatible = "v,n2" },\n'
         'MFD_CELL_NAME("n3"),\n};'), {("n1|", "cell"), ("n2|", "cell"), ("n2|v,n2", "cell"), ("n3|", "cell")}),
        ('static struct amba_id i[] = { { .id = 0x41011, .mask = 0xfffff, }, };', {("41011/fffff", "amba")}),
        ("devm_register_sys_off_handler(d, SYS_OFF_MODE_RESTART, 1, f, p);", {("", "restart")}),
    ],
)  # fmt: skip
def test_declarations(text: str, expected: set[tuple[str, str]]) -> None:
    assert {(d.name, d.kind) for d in sources.declarations(text)} == expected


def test_names_of_platform_drivers() -> None:
    text = """#define NAME "by-macro"
    static struct platform_driver a = { .driver = { .name = NAME, } };
    static const struct platform_device_id ids[] = { { "by-id", 0 }, { } };"""
    assert [d.name for d in sources.platform_names(text)] == ["by-macro", "by-id"]


MAKEFILES = {
    "d/Makefile": """
obj-y += plain.o sub/
obj-$(CONFIG_A) += a.o \\
	deep/er/
obj-$(subst m,y,$(CONFIG_B)) += b.o
whole-y := part1.o
whole-objs += part2.o
whole-$(CONFIG_P) += part3.o
obj-$(CONFIG_W) += whole.o
list = listed.o
obj-$(CONFIG_L) += $(list)
ifdef CONFIG_I
obj-$(CONFIG_J) += both.o
else
obj-$(CONFIG_K) += other.o
endif
ifeq ($(CONFIG_I),y)
obj-y += inside.o
endif
ifneq ($(CONFIG_I),)
obj-y += notempty.o
endif
ifneq ($(CONFIG_I),y)
obj-y += off.o
endif
obj-$(CONFIG_A) += twice.o
obj-$(CONFIG_B) += twice.o
loop-y += loop.o
""",
    "d/sub/Kbuild": "obj-$(CONFIG_S) += s.o",
    "d/sub/Makefile": "obj-$(CONFIG_WRONG) += s.o",
    "d/deep/er/Makefile": "obj-y += e.o",
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("d/plain.c", [set()]),
        ("d/a.c", [{"A"}]),
        ("d/b.c", [{"B"}]),
        ("d/part1.c", [{"W"}]),
        ("d/part2.c", [{"W"}]),
        ("d/part3.c", [{"W", "P"}]),
        ("d/listed.c", [{"L"}]),
        ("d/both.c", [{"I", "J"}]),
        ("d/other.c", [{"K"}]),
        ("d/inside.c", [{"I"}]),
        ("d/notempty.c", [{"I"}]),
        ("d/off.c", [set()]),
        ("d/twice.c", [{"A"}, {"B"}]),
        ("d/sub/s.c", [{"S"}]),
        ("d/deep/er/e.c", [{"A"}]),
        ("d/loop.c", []),
        ("d/nowhere.c", []),
    ],
)
def test_gates(source: str, expected: list[set[str]]) -> None:
    gates = makefiles.read_gates(MAKEFILES.get, {"d": frozenset()})
    assert [set(gate) for gate in gates.of(source)] == expected


def test_the_index_is_kept_and_never_stale(tmp_path: Path) -> None:
    top = Path(shutil.copytree(toy.TREE, tmp_path / "linux"))
    cache = tmp_path / "cache"

    def wdt() -> list[str]:
        opened = index.open_index(KernelTree.open(top), "arm", cache)
        return [c.source for c in opened.names.get("toy,wdt", [])]

    source = top / "drivers/watchdog/toy_wdt.c"
    assert wdt() == ["drivers/watchdog/toy_wdt.c"]
    (kept,) = cache.iterdir()
    before = kept.read_bytes()
    assert wdt() == ["drivers/watchdog/toy_wdt.c"]
    assert kept.read_bytes() == before
    times = source.stat()
    source.write_text(source.read_text().replace("toy,wdt", "toy,wdu"))
    import os

    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))  # the same size and time, and yet another content
    assert wdt() == []
    (top / "drivers/watchdog/new.c").write_text(
        'static const struct of_device_id n[] = { { .compatible = "toy,wdt" }, {} };\n.of_match_table = n\n'
    )
    assert wdt() == ["drivers/watchdog/new.c"]
    kept.write_text("{ damaged")
    assert wdt() == ["drivers/watchdog/new.c"]


def test_a_tree_is_found_by_its_name_wherever_it_is() -> None:
    tree = KernelTree.open(toy.TREE)
    for name in ("toy1-board.dtb", "acme/toy1-board.dtb", "nxp/toy1-board.dtb"):
        assert dtsfiles.find(tree, "arm", name, "x").name == "toy1-board.dts"
    assert dtsfiles.find(tree, "arm", "other/twice.dtb", "x").parent.name == "other"
    with pytest.raises(UserError, match=r"more than one twice\.dts\n  acme/twice\.dts, other/twice\.dts"):
        dtsfiles.find(tree, "arm", "twice.dtb", "x")
    with pytest.raises(UserError, match="did you mean toy1-board"):
        dtsfiles.find(tree, "arm", "toy1-bord.dtb", "x")


WHOLE = '/ { compatible = "a,b"; cpus { cpu@0 { device_type = "cpu"; compatible = "arm,cortex-a9"; }; }; };'


def told(tmp_path: Path, blob: Path, arch: str = "arm") -> str:
    board = toy.toy_board(dtb=str(blob), arch=arch)
    with pytest.raises(UserError) as caught:
        blobs.bring(KernelTree.open(toy.TREE), board, tmp_path / "plain.dtb", tmp_path / "labels.dtb")
    (fault,) = caught.value.faults
    assert not (tmp_path / "plain.dtb").exists()
    return str(fault)


def test_blobs_that_are_no_use(tmp_path: Path) -> None:
    whole = toy.compiled(WHOLE)
    cut = tmp_path / "cut.dtb"
    cut.write_bytes(whole.read_bytes()[:-20])
    assert "damaged" in told(tmp_path, cut)
    text = tmp_path / "text.dtb"
    text.write_text("hello, I am no device tree at all, really not, not one bit")
    assert "not a device tree blob" in told(tmp_path, text)
    overlay = toy.compiled('/plugin/; / { fragment@0 { target-path = "/"; __overlay__ { a; }; }; };')
    assert "is an overlay, not a whole device tree" in told(tmp_path, overlay)
    assert "is of a machine that is not arm64: its CPUs are arm,cortex-a9" in told(tmp_path, whole, "arm64")
    riscv = toy.compiled(WHOLE.replace("arm,cortex-a9", "sifive,u74"))
    assert "not arm: its CPUs are sifive,u74" in told(tmp_path, riscv)
    nobody = toy.compiled("/ { };")
    assert "does not say which board it is for" in told(tmp_path, nobody)
