"""The steps of a build, each a plain function over settings and folders. :mod:`kdumpbuild.tasks` strings them together.

A step reads what earlier steps left in their folders and writes its own; whether it has to run at all is told by the
``…_facts`` function beside it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from kdumpbuild import __version__, files, resources, run
from kdumpbuild.board import logs, panic
from kdumpbuild.board.loader import fragment_path, patch_path
from kdumpbuild.board.size import human
from kdumpbuild.build import captureroot, imageset, initramfs, kernel, patched, scripts, source, toolchain, userland
from kdumpbuild.build.applets import check_device, check_network, check_slots, checksum_program
from kdumpbuild.build.layout import Layout
from kdumpbuild.build.progress import Progress
from kdumpbuild.checks.engine import check_facts, exit_code
from kdumpbuild.checks.from_set import facts_from_set
from kdumpbuild.checks.output import print_report, to_json
from kdumpbuild.checks.sarif import to_sarif
from kdumpbuild.crashtest import disk_faults, standin
from kdumpbuild.derive import blobs
from kdumpbuild.derive.forboard import derive_board
from kdumpbuild.derive.off import turned_on
from kdumpbuild.errors import Exit, Fault, UserError, user_error
from kdumpbuild.kconfig.cache import open_kconfig
from kdumpbuild.kconfig.fragment import Fragment, Line, parse_fragment, read_fragment
from kdumpbuild.kconfig.minimal import minimal
from kdumpbuild.kconfig.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kdumpbuild.board.arch import Arch
    from kdumpbuild.board.model import Board
    from kdumpbuild.build.reservation import Reservation
    from kdumpbuild.derive.forboard import BoardDrivers
    from kdumpbuild.kconfig.adapter import KernelKconfig
    from kdumpbuild.kconfig.resolve import Resolution, Waived
    from kdumpbuild.kconfig.tree import KernelTree
    from kdumpbuild.settings import Settings


def roles(board: Board, settings: Settings) -> tuple[str, ...]:
    """Return the kernels that are built for a board."""
    own = board.capture.kernel == "own"
    production = settings.kernel_build is None and (board.production.build or not own)
    return (*(["production"] if production else []), *(["capture"] if own else []))


def check_product(settings: Settings, board: Board) -> None:
    """Raise UserError when KERNEL_CONFIG is no file, and for every file that KERNEL_BUILD lacks of a built kernel."""
    build, config = settings.kernel_build, settings.kernel_config
    if build is None:
        if config is not None and not config.is_file():
            raise user_error(
                "is not a file", where=f"KERNEL_CONFIG={config}",
                hint="give the product's own .config: it lies in the folder that the kernel was built in, or in the\n"
                "running kernel (zcat /proc/config.gz); without it the board file's [production] base is taken",
            )  # fmt: skip
        made = config_files(Layout(settings.out, settings.cache, board))
        if config is not None and config.resolve() in [path.resolve() for path in made]:
            raise user_error(
                "is what this build makes of a config", where=f"KERNEL_CONFIG={config}",
                hint="give the product's own .config, or a copy of this one",
            )
        return
    wanted = (".config", "include/config/kernel.release", "vmlinux", f"arch/{board.arch.name}/boot/{board.arch.image}")
    missing = [
        Fault(f"has no {name}", where=f"KERNEL_BUILD={build}", why=f"needed for the board {board.name}",
              hint="give the folder that make was called with as O=, or the tree when it was built in place")
        for name in wanted
        if not (build / name).is_file()
    ]  # fmt: skip
    if missing:
        raise UserError(*missing)


def fragments(board: Board) -> dict[str, list[Path]]:
    """Return the fragments of each kernel, in the order in which they are applied."""
    arch = board.arch.name
    names = {
        "production": [
            "production", f"production-{arch}", *panic.fragment_names(board.panic), *logs.fragment_names(board.logs),
            *board.production.fragments,
        ],
        "capture": [
            "capture", f"capture-{arch}", *dict.fromkeys((*board.dump.fragments, *board.capture.fragments_of_root)),
            *board.capture.fragments,
        ],
    }
    return {role: [fragment_path(name, board.path) for name in listed] for role, listed in names.items()}


def board_fragment(board: Board) -> Fragment:
    """Return the production lines whose values the board file itself gives, as lines of that file."""
    return Fragment(
        board.path,
        tuple(
            Line(symbol, value, False, board.path, board.panic.line(key), reason)
            for key, symbol, value, reason in panic.fragment_values(board.panic)
        ),
    )


def wanted_fragments(board: Board) -> dict[str, list[Fragment]]:
    """Return what is asked of each kernel, in the order in which it is applied. Raises UserError.

    The board file's own lines come after the shipped ones and before the product's fragments.
    """
    wanted = {role: [read_fragment(path) for path in paths] for role, paths in fragments(board).items()}
    wanted["production"].insert(-len(board.production.fragments) or len(wanted["production"]), board_fragment(board))
    return wanted


def kernel_tree(settings: Settings, layout: Layout, role: str) -> KernelTree:
    """Return the source of one of the kernels; the production kernel's has the board's patches."""
    found = source.locate(settings.kernel_src, settings.cache)
    tree = source.prepare(found, layout.log("source"))
    patches = patch_files(layout.board) if role == "production" else []
    return patched.patched_tree(tree, source.fingerprint(found) if patches else "", patches, settings.cache)


def patch_files(board: Board) -> list[Path]:
    """Return the board's kernel patches, in the order in which they are applied."""
    return [patch_path(name, board.path) for name in board.production.patches]


def stand_in_layout(settings: Settings, layout: Layout) -> Layout:
    """Return the folders of what stands in for a board in the crash test."""
    derived = layout.derived("capture") if layout.board.drivers is not None else None
    return Layout(settings.out / "stand-in", settings.cache, standin.stand_in(layout.board, derived))


def prepare_source(settings: Settings) -> None:
    """Unpack the kernel source, once."""
    found = source.locate(settings.kernel_src, settings.cache)
    if found.packed and not found.stamp.exists():
        _say(f"unpacking {found.given}")
    source.prepare(found, settings.out / "log" / "source.log")


def prepare_userland(settings: Settings, arch: Arch) -> None:
    """Extract Debian's packages, once, unless SYSROOT is given."""
    if settings.sysroot is None and not userland.stamp_of(userland.default_root(settings.cache, arch)).exists():
        _say(f"extracting Debian's userland for {arch.debian}")
        userland.fetch_debian(settings.cache, arch, settings.out / "log" / f"userland-{arch.name}.log")
    open_userland(settings, arch)


def open_userland(settings: Settings, arch: Arch) -> userland.Userland:
    """Return the userland of an architecture."""
    root = settings.sysroot or userland.default_root(settings.cache, arch)
    return userland.open_userland(root, arch, userland.CAPTURE_PROGRAMS)


def config_facts(settings: Settings, board: Board) -> object:
    """Return what the configs depend on, besides the fragments' and base configs' content."""
    found = source.locate(settings.kernel_src, settings.cache)
    return [
        __version__,
        source.fingerprint(found),
        toolchain.find(board.arch, settings).fingerprint(),
        board.production,
        board.capture,
        board.dump.fragments,
        board.waivers,
        board.panic,
        board.logs,
        patched.digest(patch_files(board)),
        board.dtb,
        board.drivers,
        settings.kernel_config,
        settings.kernel_build,
    ]


def config_files(layout: Layout) -> list[Path]:
    """Return what resolving the configs leaves behind."""
    board = layout.board
    made = [layout.config("production"), layout.config("capture"), layout.fragment, layout.report]
    made += [layout.dtb] if board.dtb else []
    return made + ([layout.derived("capture"), layout.overlay, layout.overlay_blob] if board.drivers else [])


def resolve_configs(settings: Settings, layout: Layout) -> None:
    """Resolve both configs, verify every requested line, emit."""
    board = layout.board
    chain = toolchain.find(board.arch, settings)
    tree = kernel_tree(settings, layout, "capture")
    kconfig = open_kconfig(tree, chain, settings.cache / "kconfig")
    product = kernel_tree(settings, layout, "production")
    product_kconfig = kconfig if product == tree else open_kconfig(product, chain, settings.cache / "kconfig")
    wanted = wanted_fragments(board)
    base = str(settings.kernel_config or _base(board))
    derived = add_derived(settings, layout, kconfig, wanted, base)
    texts: dict[Path, str] = {}
    waived: list[Waived] = []
    places: dict[str, str] = {}
    capture_on: set[str] = set()
    faults: list[Fault] = []
    try:
        production, texts[layout.fragment] = _production(product_kconfig, base, wanted["production"], board)
        if settings.kernel_build is not None:
            check_complete(settings.kernel_build, texts[layout.fragment])
        texts[layout.config("production")] = production.config_text
        waived += production.waived
    except UserError as error:
        faults += error.faults
    try:
        capture = resolve(kconfig, "allnoconfig", wanted["capture"], board.waivers)
        capture.check()
        texts[layout.config("capture")] = capture.config_text
        waived += capture.waived
        capture_on = {symbol for symbol, value in capture.values.items() if value == "y"}
        places = {line.symbol: line.where for line in capture.requested}
    except UserError as error:
        faults += error.faults
    if faults:
        raise UserError(*faults)
    for path, text in texts.items():
        files.write_text(path, text)
    told = [f"{w.unmet.line.text} ({w.unmet.line.file.name}:{w.unmet.line.number}): {w.reason}" for w in waived]
    if derived is not None:
        for line in (*derived.told(), *turned_on(derived.off, capture_on, derived.symbols())):
            _say(f"{board.name}: {line}")
    report = {"kernel": tree.release, "waived": told, "places": places}
    files.write_text(layout.report, json.dumps(report, indent=1) + "\n")


def add_derived(
    settings: Settings, layout: Layout, kconfig: KernelKconfig, wanted: dict[str, list[Fragment]], base: str = ""
) -> BoardDrivers | None:
    """Bring the board's device tree, derive the drivers from it, and add them to the fragments of each kernel.

    Nothing is derived for a board without the table ``[drivers]``. ``base`` is what the production config starts from.
    """
    board = layout.board
    if board.dtb:
        blobs.bring(kconfig.tree, board, layout.dtb, layout.labelled_dtb)
    if board.drivers is None:
        return None
    derived = derive_board(board, kconfig, layout.labelled_dtb, settings.cache / "drivers")
    bases = {"capture": "allnoconfig"} | ({"production": base} if board.production.build and base else {})
    for role, start in bases.items():
        text = derived.fragment_text(kconfig, start, wanted[role])
        files.write_text(layout.derived(role), text)
        wanted[role].append(parse_fragment(text, layout.derived(role)))
    files.write_text(layout.overlay, derived.overlay())
    blobs.compile_overlay(layout.overlay, layout.overlay_blob, layout.dtb)
    return derived


def _production(
    kconfig: KernelKconfig, base: str, wanted: Sequence[Fragment], board: Board
) -> tuple[Resolution, str]:
    """Return the production config, and the fragment that makes it one: the smallest, on top of a product's config."""
    if base == "allnoconfig":
        resolution = resolve(kconfig, base, wanted, board.waivers)
        resolution.check()
        return resolution, _fragment_text(resolution)
    smallest = minimal(kconfig, base, wanted, board.waivers)
    smallest.check()
    return smallest.resolution, smallest.text


def check_complete(build: Path, fragment: str) -> None:
    """Raise UserError when a finished production kernel still lacks what kdump needs of it."""
    missing = [f"{name}={value}" for name, value in kernel.symbols(fragment).items()]
    if missing:
        raise user_error(
            f"the production kernel was built without {len(missing)} options that kdump needs",
            where=f"KERNEL_BUILD={build}",
            why="\n".join(missing),
            hint="merge them into its config and build it again; `doit config KERNEL_CONFIG=…` writes them as a\n"
            "fragment, production.cfg, with the reason of each",
        )


def kernel_facts(settings: Settings, board: Board) -> object:
    """Return what a kernel depends on, besides its config."""
    found = source.locate(settings.kernel_src, settings.cache)
    chain = toolchain.find(board.arch, settings)
    return [source.fingerprint(found), chain, chain.check(), patched.digest(patch_files(board))]


def build_kernel(settings: Settings, layout: Layout, role: str) -> None:
    """Compile one of the kernels."""
    board = layout.board
    tree = kernel_tree(settings, layout, role)
    with Progress(f"{board.name}: {role} kernel {tree.release}", "files") as progress:
        kernel.build(
            tree=tree.path,
            config=layout.config(role),
            kbuild=layout.kbuild(role),
            arch=board.arch,
            toolchain=toolchain.find(board.arch, settings),
            jobs=settings.jobs,
            log=layout.log(f"kernel-{role}"),
            progress=progress,
        )


def initramfs_facts(settings: Settings, board: Board) -> object:
    """Return what the initramfs depends on, besides templates and the capture config."""
    target = open_userland(settings, board.arch)
    binaries = initramfs.closure(target, initramfs.programs(board))
    stats = {name: path.stat() for name, path in binaries.items()}
    network = board.dump.network
    secrets = [files.sha256(path) for path in (network.key, network.known_hosts) if path] if network else []
    seen = {name: [s.st_size, s.st_mtime_ns] for name, s in stats.items()}
    return [board.capture.root, _capture_conf(target, board), secrets, seen]


def build_initramfs(settings: Settings, layout: Layout) -> None:
    """Pack the crash initramfs, after a look at whether the capture kernel can run what is in it."""
    board = layout.board
    target = open_userland(settings, board.arch)
    config = layout.config(imageset.capture_role(board)).read_text(encoding="utf-8")
    if board.dump.is_ring:
        check_slots(target, board.dump.target)
    check_device(target, board.dump.device)
    check_network(target, board.dump.target, initramfs.network_applets(board))
    binaries = initramfs.closure(target, initramfs.programs(board))
    initramfs.check_needs(binaries.values(), kernel.symbols(config))
    entries = initramfs.capture_entries(target, board, _capture_conf(target, board))
    files.write_bytes(layout.initramfs, initramfs.compress(entries))
    if board.capture.root:
        files.write_bytes(layout.capture_root, captureroot.archive(entries))


def _capture_conf(target: userland.Userland, board: Board) -> str:
    """Return the crash initramfs's configuration. Only a ring of slots makes checksums."""
    return scripts.capture_conf(board, checksum_program(target) if board.dump.is_ring else "")


def set_files(layout: Layout) -> list[Path]:
    """Return the files whose absence makes a set incomplete."""
    made = layout.set
    wanted = [made.kernel, made.initramfs, made.manifest, made.checksums, made.load_script, made.load_conf]
    wanted += [made.boot_arguments, made.sysctl, made.production_fragment, made.capture_config, made.capture_vmlinux]
    wanted += [made.capture_root] if layout.board.capture.root else []
    if layout.has_production:
        wanted += [made.production_kernel, made.production_config, made.production_vmlinux]
    return wanted


def set_facts(settings: Settings, layout: Layout) -> object:
    """Return what the set depends on, besides the files that are copied into it."""
    # All that the board file says, but for what the crash test alone reads.
    return [__version__, replace(layout.board, machine=None), settings.kernel_build]


def extend_initramfs(own: Layout, standing: Layout) -> None:
    """Make a stand-in's initramfs of the board's own."""
    files.write_bytes(standing.initramfs, standin.initramfs(own.initramfs.read_bytes(), standing.board))


def stand_in_facts(standing: Layout) -> object:
    """Return what a stand-in's initramfs depends on, besides the board's own."""
    return scripts.capture_conf(standing.board)


def assemble_stand_in(settings: Settings, own: Layout, standing: Layout) -> None:
    """Put a stand-in's image set together: it reserves what the board's own set asks for."""
    assemble_set(settings, standing, standin.reservation(imageset.reserved(own.set), standing.board))


def assemble_set(settings: Settings, layout: Layout, reservation: Reservation | None = None) -> None:
    """Put the image set together."""
    board = layout.board
    waived = json.loads(layout.report.read_text(encoding="utf-8"))["waived"]
    imageset.assemble(
        layout,
        imageset.Ingredients(
            source=source.identity(source.locate(settings.kernel_src, settings.cache)),
            toolchain=toolchain.find(board.arch, settings),
            userland=open_userland(settings, board.arch).packages,
            waived=tuple(waived),
        ),
        reservation,
    )


def check_given_set(layout: Layout) -> None:
    """Raise UserError when what IMAGE_SET names is not a set of this board."""
    made = layout.set
    where = f"IMAGE_SET={made.folder}"
    if not made.manifest.is_file():
        raise user_error(
            "there is no image set: it has no manifest.json", where=where,
            hint="give the folder that `doit build`, Yocto (deploy/images/…/kdump) or Buildroot (images/kdump) made",
        )  # fmt: skip
    board = imageset.read_manifest(made).get("board")
    if board != layout.board.name:
        raise user_error(
            f"this is a set of the board {board}, not of {layout.board.name}", where=where, hint=f"BOARD={board}"
        )


def say_built(layout: Layout) -> None:
    """Tell where the set is, what is in it and what to do next."""
    board, made = layout.board, layout.set
    manifest = imageset.read_manifest(made)
    table = Table.grid(padding=(0, 2))
    for name, facts in manifest["files"].items():
        table.add_row(f"  {name}", human(facts["size"]))
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"\nimage set of {board.name}, Linux {manifest['kernel']['release']}: {made.folder}")
    console.print(table)
    asked = manifest["crashkernel"]
    console.print(f"  reserve the memory: add {asked['argument']} to the production kernel's command line")
    console.print(f"    ({asked['from']})")
    console.print(f"  all that it needs there is in {made.boot_arguments}")
    for note in manifest["notes"]:
        console.print(f"  note: {note}")
    for waived in manifest["waived"]:
        console.print(f"  waived: {waived}")
    named = board.name if board.path.parent == resources.BOARDS else str(board.path)
    if not (disk_faults(board) if board.machine is not None else standin.why_not(board)):
        console.print(f"next: prove it with a real crash in QEMU: doit crashtest BOARD={named}\n")
    else:
        console.print("next: install the set on the target and run kdump-load there (docs/install.md)\n")


def check(settings: Settings, layout: Layout) -> None:
    """Check a board's image set for all that is known to break kdump. Raises UserError when there are errors."""
    board = layout.board
    # Where the capture kernel's lines were asked for, so that a finding points at the fragment and not at its result.
    report_file = layout.report
    places = json.loads(report_file.read_text(encoding="utf-8"))["places"] if report_file.is_file() else {}
    facts = facts_from_set(layout.set.folder, board, production=settings.kernel_config, places=places)
    report = check_facts(facts)
    print_report(report, Console(soft_wrap=True, highlight=False), title=f"image set of {board.name}", verbose=True)
    files.write_text(layout.check("json"), to_json(report))
    files.write_text(layout.check("sarif"), to_sarif(report, settings.base))
    if exit_code(report) is Exit.ERRORS:
        raise user_error(
            f"the image set of {board.name} would not work",
            hint="what to do is said with each finding; a rule that is wrong here can be waived in the board file",
        )


def run_tests(settings: Settings, name: str, command: Sequence[str], where: Path) -> None:
    """Run one of the project's own test commands, its output shown as it comes."""
    # Where image sets lie, for tests on real ones; a folder of kernel trees, for tests on those.
    env = {
        "KDUMPBUILD_OUT": str(settings.out),
        "KDUMPBUILD_CACHE": str(settings.cache),
        "KDUMPBUILD_KERNELS": str(settings.cache / "source"),
        "CACHE": str(settings.cache),
        "JOBS": str(settings.jobs),
        **({"QEMU": str(settings.qemu)} if settings.qemu else {}),
    }
    log = settings.out / "log" / f"test-{name}.log"
    console = Console(soft_wrap=True, highlight=False, markup=False)
    run.run_logged(command, what=f"pass the tests {name}", log=log, cwd=where, env=env, on_line=console.print)


def say_tested(settings: Settings) -> None:
    """Tell that all tests passed and where their logs are."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"\nall tests passed; logs: {settings.out / 'log'}; image sets: {settings.out}")
    console.print("next: look at one crash: ./doit crashtest BOARD=arm64-virt; your own board: docs/board-file.md\n")


def _fragment_text(resolution: Resolution) -> str:
    """Return the lines that were asked for as one fragment, each group below its reason."""
    lines = [f"# What kdump needs of the production kernel, for {resolution.kernel} {resolution.arch}."]
    reason = None
    for line in resolution.requested:
        if line.reason != reason:
            reason = line.reason
            lines += ["", *(f"# {text}".rstrip() for text in (reason or "").splitlines())]
        lines.append(line.text)
    return "\n".join(lines) + "\n"


def _base(board: Board) -> str:
    base = board.production.base
    return str(fragment_path(base, board.path)) if "/" in base else base


def _say(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line, highlight=False, markup=False)

