"""Facts of the outside world that rules look things up in. Data, each with where it was read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

Version = tuple[int, ...]

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class WatchdogDriver:
    """A hardware watchdog's driver."""

    symbol: str
    reports_running: bool
    """Whether it tells the kernel that the watchdog was running when it was found."""


@dataclass(frozen=True)
class ConsoleDriver:
    """A serial port's driver."""

    tty: str
    """Name of the device without its number."""
    symbol: str
    console_symbol: str


@cache
def watchdogs() -> dict[str, WatchdogDriver]:
    """Return watchdog drivers by ``compatible``."""
    return {c: WatchdogDriver(symbol, running == "yes") for c, symbol, running in _rows("watchdogs.tsv")}


@cache
def consoles() -> dict[str, ConsoleDriver]:
    """Return serial drivers by ``compatible``."""
    return {c: ConsoleDriver(tty, symbol, console) for c, tty, symbol, console in _rows("consoles.tsv")}


def _rows(name: str) -> list[list[str]]:
    lines = (_HERE / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


# Enable methods whose smp_operations have no cpu_kill: an arm kernel with more than one possible CPU then refuses to
# load a kexec image (Linux 6.12, arch/arm/mach-*/platsmp*.c; arch/arm/kernel/machine_kexec.c).
NO_CPU_KILL_METHODS = frozenset({
    "actions,s500-smp", "al,alpine-smp", "allwinner,sun6i-a31", "allwinner,sun8i-a23", "arm,realview-smp",
    "aspeed,ast2600-smp", "brcm,bcm-nsp-smp", "brcm,bcm11351-cpu-method", "brcm,bcm23550", "brcm,bcm2836-smp",
    "brcm,bcm63138", "hisilicon,hip01-smp", "hisilicon,hix5hd2-smp", "lsi,syscon-release", "marvell,armada-375-smp",
    "marvell,mmp3-smp", "mediatek,mt6589-smp", "mediatek,mt81xx-tz-smp", "nuvoton,npcm750-smp", "qcom,gcc-msm8660",
    "qcom,kpss-acc-v1", "qcom,kpss-acc-v2", "qcom,msm8226-smp", "qcom,msm8909-smp", "qcom,msm8916-smp",
    "ste,dbx500-smp",
})  # fmt: skip

# Root compatibles of machines that bring such operations themselves, for trees without an enable method. Machines
# that switch to MCPM (Exynos 5420 and later, the TC2 tile of Versatile Express) have a cpu_kill and are not here.
NO_CPU_KILL_MACHINES = frozenset({
    "arm,vexpress,v2p-ca5s", "arm,vexpress,v2p-ca9", "arm,vexpress,v2p-ca15", "fsl,ls1021a", "renesas,emev2",
    "samsung,exynos3250", "samsung,exynos4210", "samsung,exynos4212", "samsung,exynos4412", "samsung,exynos5250",
    "samsung,exynos5260", "brcm,bcm2836", "brcm,bcm2837", "st,spear1310", "st,spear1340", "st,stih407", "st,stih410",
    "st,stih418",
})  # fmt: skip

# Platforms whose arm kernels are linked at another offset from the start of RAM than 0x8000, with the offset
# (Linux 5.10 to 7.2, arch/arm/Makefile, textofs-y); the largest counts.
TEXT_OFFSETS = {
    "ARCH_REALTEK": 0x108000,
    "PM_H1940": 0x108000,
    "SA1111": 0x208000,
    "ARCH_QCOM_RESERVE_SMEM": 0x208000,
    "ARCH_IPQ40XX": 0x208000,
    "ARCH_MSM8X60": 0x208000,
    "ARCH_MSM8960": 0x208000,
    "ARCH_MESON": 0x208000,
    "ARCH_AXXIA": 0x308000,
}

# The newest kernel that each makedumpfile was made for (makedumpfile.h, LATEST_VERSION).
MAKEDUMPFILE_KERNELS: tuple[tuple[Version, Version], ...] = (
    ((1, 7, 2), (6, 0)),
    ((1, 7, 3), (6, 3)),
    ((1, 7, 4), (6, 6)),
    ((1, 7, 5), (6, 8)),
    ((1, 7, 6), (6, 11)),
    ((1, 7, 7), (6, 14)),
    ((1, 7, 8), (6, 17)),
    ((1, 7, 9), (7, 0)),
)


@dataclass(frozen=True)
class MakedumpfileFault:
    """What makedumpfile gets wrong from one kernel version on, in its versions from ``since`` to before ``until``."""

    kernel: Version
    since: Version
    until: Version
    effect: str
    loses: bool
    """Whether pages that are needed are missing from the dump."""
    user_pages: bool = False
    """Whether only dumps without user pages (level 8) have it."""


# Of makedumpfile's commits "Fix wrong exclusion of …" and "fix detection of typed (compound) pages (Linux 6.12)".
# The fix for 7.1 is in no release yet: 1.7.10 stands for the one after 1.7.9.
MAKEDUMPFILE_FAULTS = (
    MakedumpfileFault((6, 2), (0,), (1, 7, 3), "takes slab pages for user pages", loses=True, user_pages=True),
    MakedumpfileFault((6, 10), (1, 7, 3), (1, 7, 6), "takes slab pages for user pages", loses=True, user_pages=True),
    MakedumpfileFault((6, 12), (1, 7, 6), (1, 7, 7), "takes free pages for slab pages", loses=False),
    MakedumpfileFault((7, 1), (0,), (1, 7, 10), "leaves out the tail pages of compound ones", loses=True),
)

# Architectures whose own arguments some distributions put on every capture command line.
FOREIGN_ARGUMENTS = {
    "disable_cpu_apicid": "x86",
    "acpi_rsdp": "x86",
    "noapic": "x86",
    "nolapic": "x86",
    "reset-vga": "x86 (and an option of kexec, not of the kernel)",
    "elfcorehdr": "added by kexec itself",
}

# RAM below which arm64 machines must do DMA, for those where it is not 4 GiB (Linux, arch/arm64/mm/init.c takes it
# from dma-ranges; Documentation/arch/arm64/kdump.rst names the board).
DMA_LIMITS = {"brcm,bcm2711": 1 << 30}
