"""Loading the capture kernel: the image, the device tree, and kexec-tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdumpbuild.checks import tables
from kdumpbuild.checks.facts import show
from kdumpbuild.checks.model import Hit, Input, Severity, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdumpbuild.checks.facts import Case

_KEXEC_OFFSET = 0x8000


@rule(
    "KD031", Severity.ERROR, "The unpacking kernel overwrites the initramfs",
    needs=(Input.ZIMAGE,), arches=("arm",),
    advice="Load with the --image-size that is named here, or build the capture kernel without the platform that "
    "moves the text offset.",
    source="kexec-tools, kexec/arch/arm/kexec-zImage-arm.c (extra_size); Linux, arch/arm/Makefile (textofs-y); "
    "experiment with Debian's armmp; Corentin Labbe on the kexec list, 2020-05-15",
)  # fmt: skip
def text_offset(case: Case) -> Iterator[Hit]:
    """kexec takes every arm kernel to unpack itself to 0x8000 above the start of its RAM. Kernels for Meson, Qualcomm
    with SMEM, SA1111, Realtek or Axxia, multi_v7_defconfig among them, go 1 to 3 MiB higher, and over the initramfs
    behind it: "invalid magic at start of compressed archive", or "INITRD: … overlaps in-use memory region", then a
    panic."""
    facts = case.facts
    if facts.zimage is not None:
        zimage = facts.zimage
        need = zimage.image_size_for_kexec()
        offset = zimage.textofs
        if offset is not None and offset > _KEXEC_OFFSET and (facts.image_size or 0) < need:
            given = "" if facts.image_size is None else f", and --image-size is {facts.image_size:#x}"
            advice = f"Load with kexec -p --image-size={need:#x}."
            yield Hit(f"its text offset is {offset:#x}{given}", facts.image_name, advice=advice)
        return
    if facts.capture is None:
        case.zimage  # noqa: B018  # raises Missing
        return
    for symbol, offset in tables.TEXT_OFFSETS.items():
        if case.capture.on(symbol):
            what = f"{symbol} moves the text offset to {offset:#x}"
            advice = "Give --image-size to kexec; kdumpbuild check --zimage works out how much."
            yield Hit(what, case.capture.where(symbol), advice=advice, severity=Severity.WARNING)
            return


@rule(
    "KD032", Severity.ERROR, "The capture kernel is bound to one address",
    needs=(Input.CAPTURE,), arches=("arm",),
    advice="Set ARCH_MULTIPLATFORM (or AUTO_ZRELADDR) and ARM_PATCH_PHYS_VIRT, and turn XIP_KERNEL off.",
    source="Linux, arch/arm/Kconfig: AUTO_ZRELADDR, ARM_PATCH_PHYS_VIRT, PHYS_OFFSET; experiment with allnoconfig",
)  # fmt: skip
def fixed_address(case: Case) -> Iterator[Hit]:
    """The capture kernel runs in the crash region, not at the start of RAM. A kernel without AUTO_ZRELADDR unpacks
    itself to a fixed address, one without ARM_PATCH_PHYS_VIRT takes RAM to begin at a fixed one, and an XIP kernel runs
    from flash: each overwrites the memory that should be dumped, or dies before its first message. A capture kernel
    made from allnoconfig is such a one."""
    config = case.capture
    for symbol, meaning in (
        ("AUTO_ZRELADDR", "it unpacks itself to a fixed address"),
        ("ARM_PATCH_PHYS_VIRT", "it takes RAM to begin at a fixed address"),
    ):
        if not config.on(symbol):
            yield Hit(f"{symbol} is not set: {meaning}", config.where(symbol, "PHYS_OFFSET"))
    if config.on("XIP_KERNEL"):
        yield Hit("XIP_KERNEL is set", config.where("XIP_KERNEL"))


@rule(
    "KD033", Severity.WARNING, "An appended device tree confuses this kexec",
    needs=(Input.ZIMAGE, Input.KEXEC_TOOLS), arches=("arm",),
    advice="Use kexec-tools 2.0.22 or newer, or a zImage without an appended device tree.",
    source='kexec-tools commit 9817ec8 ("arm: do not copy magic 4 bytes of appended DTB in zImage") (in 2.0.22)',
)  # fmt: skip
def appended_dtb(case: Case) -> Iterator[Hit]:
    """Older kexec-tools copy the first four bytes of an appended device tree behind the kernel. The decompressor finds
    the magic number, takes what follows for a tree, and the kernel does not start."""
    facts, version = case.facts, case.kexec_tools
    if version >= (2, 0, 22):
        return
    if facts.zimage is not None:
        if facts.zimage.appended_dtb:
            yield Hit(f"it has an appended device tree, and kexec-tools is {show(version)}", facts.image_name)
    elif facts.capture is not None:
        if case.capture.on("ARM_APPENDED_DTB"):
            what = f"ARM_APPENDED_DTB is set, and kexec-tools is {show(version)}"
            yield Hit(what, case.capture.where("ARM_APPENDED_DTB"))
    else:
        case.zimage  # noqa: B018  # raises Missing


@rule(
    "KD034", Severity.WARNING, "This kexec may misplace the dump's header on LPAE",
    needs=(Input.PRODUCTION, Input.KEXEC_TOOLS), arches=("arm",),
    advice="Use kexec-tools 2.0.29 or newer, or prove the board by a crash.",
    source='kexec-tools commit 2a3e54e ("ARM: Fix add_buffer_phys_virt() align issue") (in 2.0.29); experiment on '
    "QEMU virt with Linux 6.12 and kexec-tools 2.0.25",
)  # fmt: skip
def lpae_alignment(case: Case) -> Iterator[Hit]:
    """An LPAE kernel maps memory in sections of 2 MiB, and kexec aligned the dump's header to 1 MiB. Capture kernels
    were seen that could not map it, and had no /proc/vmcore. Not so everywhere: on QEMU's virt an LPAE kernel captured
    with the header at an odd MiB."""
    config, version = case.production, case.kexec_tools
    if config.on("ARM_LPAE") and version < (2, 0, 29):
        yield Hit(f"ARM_LPAE is set, and kexec-tools is {show(version)}", config.where("ARM_LPAE"))


@rule(
    "KD035", Severity.ERROR, "This kexec cannot read the kernel's form",
    needs=(Input.IMAGE, Input.KEXEC_TOOLS), arches=("arm64",),
    advice="Give kexec the plain Image (arch/arm64/boot/Image).",
    source='kexec-tools commits f4c1caa ("Add support for handling zlib compressed (Image.gz) image") (in 2.0.20), '
    'fc7b83b and 8f08e3b ("zboot: enable arm64 kexec_load for zboot image") (in 2.0.28); kdump-utils issue 22',
)  # fmt: skip
def image_form(case: Case) -> Iterator[Hit]:
    """A kernel in EFI zboot form (vmlinuz.efi, EFI_ZBOOT) or packed with gzip is no Image. Old kexec-tools say "Cannot
    determine the file type"; newer ones unpack both, for kexec -s as well."""
    image, name = case.image, case.facts.image_name
    least = {"zboot": (2, 0, 28), "gzip": (2, 0, 20)}.get(image.form)
    if least is None:
        return
    if (version := case.kexec_tools) < least:
        yield Hit(f"it is in the form {image.form}, and kexec-tools is {show(version)}", name)


@rule(
    "KD037", Severity.WARNING, "kexec-tools is older than what this kernel needs",
    needs=(Input.KEXEC_TOOLS, Input.KERNEL),
    advice="Use kexec-tools 2.0.29 or newer.",
    source='kexec-tools commits 4149df9 ("printk: add support for lockless ringbuffer") (in 2.0.21), 5f8d632 ("arm: '
    'kdump: Add DT properties to crash dump kernel\'s DTB") (in 2.0.23), 95de9ec ("arm64: fix PAGE_OFFSET calc for '
    'flipped mm") (in 2.0.24)',
)  # fmt: skip
def old_kexec(case: Case) -> Iterator[Hit]:
    """Since 5.10 the kernel's log is a lockless ring, which vmcore-dmesg reads from 2.0.21 on. On arm, 2.0.23 was the
    first to tell the capture kernel its memory in the device tree, without which regions at other places than
    multiples of 128 MiB do not boot. On arm64, 2.0.24 was the first to get the address space right since 5.4."""
    version, kernel = case.kexec_tools, case.kernel
    where = case.where_of(Input.KEXEC_TOOLS)
    needs = [((2, 0, 21), (5, 10), "vmcore-dmesg cannot read the kernel's log")]
    if case.arch.name == "arm":
        needs.append(((2, 0, 23), (5, 10), "the capture kernel is not told its memory"))
    elif not (case.facts.production is not None and case.file_load):
        needs.append(((2, 0, 24), (5, 4), "kexec_load gets the kernel's addresses wrong"))
    for least, since, effect in needs:
        if kernel >= since and version < least:
            yield Hit(f"kexec-tools {show(version)} with Linux {show(kernel)}: {effect}", where)


@rule(
    "KD038", Severity.ERROR, "kexec_load stops at the boot loader's kaslr-seed",
    needs=(Input.DTB, Input.PRODUCTION), arches=("arm64",),
    advice="Load with kexec -s (CONFIG_KEXEC_FILE=y), or keep RANDOMIZE_BASE on so that the kernel wipes the seed.",
    source="kexec-tools, kexec/arch/arm64/kexec-arm64.c, setup_2nd_dtb(); experiment on QEMU virt; oe-core has "
    "carried a patch since 2020",
)  # fmt: skip
def kaslr_seed(case: Case) -> Iterator[Hit]:
    """U-Boot and QEMU leave a random seed in /chosen. A kernel with KASLR uses and wipes it; one without leaves it
    there, and kexec_load refuses: "kaslr-seed is not wiped to 0"."""
    if not case.booted_dtb.kaslr_seed or case.file_load:
        return
    config = case.production
    if not config.on("RANDOMIZE_BASE"):
        yield Hit("/chosen/kaslr-seed is there, and RANDOMIZE_BASE is not set", config.where("RANDOMIZE_BASE"))
    elif case.facts.cmdline is not None and "nokaslr" in case.facts.cmdline:
        yield Hit("/chosen/kaslr-seed is there, and nokaslr is on the command line", case.facts.cmdline.name)


@rule(
    "KD039", Severity.WARNING, "This device tree cannot be given to kexec",
    needs=(Input.DTB,), arches=("arm64",),
    advice="Leave --dtb away: kexec then takes the live tree from /sys/firmware/fdt, as the boot loader made it.",
    source="Russell King on the kexec list, 2020-04-08: kexec never adds memory nodes; crashes in QEMU",
)  # fmt: skip
def no_memory(case: Case) -> Iterator[Hit]:
    """A tree from the kernel's build often describes no memory: the boot loader fills it in, and disables and edits
    more. kexec adds nothing of this, and an arm64 capture kernel that gets such a tree does not find its RAM. On arm
    kexec-tools adds mem=, which says where it is."""
    tree = case.booted_dtb
    if not tree.memory:
        what = "its memory node is empty" if tree.memory_nodes else "it has no memory node"
        yield Hit(what, tree.name)


@rule(
    "KD040", Severity.ERROR, "A 32-bit ARM kernel booted through EFI cannot be captured",
    needs=(Input.DTB,), arches=("arm",),
    advice="Boot the production kernel without EFI: bootz with a device tree.",
    source="Petr Tesarik, \"kdump on 32-bit Arm\", 2023-07-13",
)  # fmt: skip
def efi_boot(case: Case) -> Iterator[Hit]:
    """The capture kernel adds all memory of the EFI memory map again, the dump's header with it, which then counts as
    RAM and cannot be mapped: "vmcore not initialized". noefi does not help."""
    if case.booted_dtb.efi:
        yield Hit("/chosen names an EFI system table", case.booted_dtb.name)


@rule(
    "KD041", Severity.ERROR, "kexec -s is not there",
    needs=(Input.PRODUCTION,),
    advice="Set CONFIG_KEXEC_FILE=y (arm64), or load without -s.",
    source="Linux, kernel/Kconfig.kexec: ARCH_SUPPORTS_KEXEC_FILE is arm64's, never arm's",
)  # fmt: skip
def no_file_load(case: Case) -> Iterator[Hit]:
    """kexec -s needs the system call kexec_file_load, which 32-bit ARM does not have and arm64 only with KEXEC_FILE,
    a second option beside KEXEC. kexec then says "Function not implemented"."""
    config = case.production
    if case.facts.file_load and not (case.arch.kexec_file_load and config.on("KEXEC_FILE")):
        why = "" if case.arch.kexec_file_load else "32-bit ARM does not have it"
        yield Hit("it is loaded with kexec -s, and KEXEC_FILE is not set", config.where("KEXEC_FILE", "KEXEC"), why)
