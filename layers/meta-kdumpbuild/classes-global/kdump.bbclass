# INHERIT += "kdump" in local.conf or the distro's configuration, with KDUMP_BOARD, is all that has to be set.
#
#   KDUMP_BOARD          name of a board that ships with kdumpbuild, or path of a board file
#   KDUMP_BOARD_PATH     folders with board files of your own, with colons between them
#   KDUMP_CRASHKERNEL    size that is reserved; default: the board file's, where it says a size
#   IMAGE_INSTALL        of your image: add kdump-image
#
# What it does: the production kernel, whichever recipe it has, gets the options that kdump needs (kdump_production),
# and the kernel's command line gets crashkernel= where oe-core writes one. For a .wks.in of your own there is
# ${KDUMP_CRASHKERNEL_ARG}: bootloader --append="... ${KDUMP_CRASHKERNEL_ARG}".

KDUMP_BOARD ??= ""
KDUMP_BOARD_PATH ??= ""
# The same board in another folder is the same input: what is in its files is looked at, where they are is not.
BB_BASEHASH_IGNORE_VARS:append = " KDUMP_BOARD KDUMP_BOARD_PATH KDUMP_BOARD_FILE KDUMPBUILD_TOP"

KDUMP_BOARD_NAME = "${@os.path.basename(d.getVar('KDUMP_BOARD')).removesuffix('.toml')}"
KDUMP_BOARD_NAME[vardepvalue] = "${KDUMP_BOARD_NAME}"
KDUMP_BOARD_FILE = "${@kdump_board_file(d)}"
KDUMP_CRASHKERNEL ??= "${@kdump_crashkernel(d)}"
# The value, and not how it is found: another size in the board file runs what writes it to the boot loader again.
KDUMP_CRASHKERNEL[vardepvalue] = "${KDUMP_CRASHKERNEL}"
KDUMP_CRASHKERNEL_ARG = "${@'crashkernel=' + d.getVar('KDUMP_CRASHKERNEL') if d.getVar('KDUMP_CRASHKERNEL') else ''}"

# A distro inherits this class for all its machines, and not each has a board.
KERNEL_CLASSES:append = " ${@'kdump_production' if d.getVar('KDUMP_BOARD') else ''}"

# Python leaves these in a checkout that is used; they are no input of the recipe that takes the tool from there.
BB_SIGNATURE_LOCAL_DIRS_EXCLUDE ??= "CVS .bzr .git .hg .osc .p4 .repo .svn"
BB_SIGNATURE_LOCAL_DIRS_EXCLUDE:append = " __pycache__"

# U-Boot with extlinux.conf, boot loaders of x86's manner, runqemu.
UBOOT_EXTLINUX_KERNEL_ARGS:append = " ${KDUMP_CRASHKERNEL_ARG}"
APPEND:append = " ${KDUMP_CRASHKERNEL_ARG}"
QB_KERNEL_CMDLINE_APPEND:append = " ${KDUMP_CRASHKERNEL_ARG}"

def kdump_board_places(d):
    """The folders in which a board's name is looked for, those of the user first."""
    own = [p for p in (d.getVar('KDUMP_BOARD_PATH') or '').split(':') if p]
    return own + [os.path.join(d.getVar('KDUMPBUILD_TOP'), 'kdumpbuild', 'boards')]

def kdump_board_candidates(d):
    """The paths at which the board file is looked for."""
    board = d.getVar('KDUMP_BOARD') or ''
    if '/' in board:
        return [board] if os.path.isabs(board) else []
    return [os.path.join(place, board + '.toml') for place in kdump_board_places(d)]

def kdump_board_file(d):
    """The path of the board file that KDUMP_BOARD means; empty when there is none."""
    return next((path for path in kdump_board_candidates(d) if os.path.isfile(path)), '')

def kdump_board_value(d, key):
    """A string of the board file, by its key; empty when it is not there."""
    import re
    path = d.getVar('KDUMP_BOARD_FILE')
    if not path:
        return ''
    with open(path, encoding='utf-8', errors='replace') as stream:
        match = re.search(r'(?:^|[{,])\s*(?:\w+\s*\.\s*)?%s\s*=\s*["\']([^"\']*)["\']' % key, stream.read(), re.MULTILINE)
    return match[1] if match else ''

def kdump_crashkernel(d):
    """The size that the board file reserves; empty where it leaves that to what is built."""
    import re
    # Recipes that write it to a boot loader are parsed again when the board file changes.
    if d.getVar('KDUMP_BOARD_FILE'):
        bb.parse.mark_dependency(d, d.getVar('KDUMP_BOARD_FILE'))
    size = kdump_board_value(d, 'crashkernel')
    return size if re.fullmatch(r'(\d+|0x[0-9a-fA-F]+)[KMG]?(@0x[0-9a-fA-F]+)?', size) else ''

def kdump_board_fault(d):
    """What is wrong with KDUMP_BOARD, in words; empty when nothing is."""
    board = d.getVar('KDUMP_BOARD') or ''
    # Otherwise a verdict would outlive the file that it is about.
    for path in kdump_board_candidates(d):
        bb.parse.mark_dependency(d, path)
    if '/' in board and not os.path.isabs(board):
        return 'KDUMP_BOARD = "%s" is a relative path; begin it with ${TOPDIR}/, or where your layer is' % board
    if d.getVar('KDUMP_BOARD_FILE'):
        target = {'arm': 'arm', 'aarch64': 'arm64'}.get(d.getVar('TARGET_ARCH'), d.getVar('TARGET_ARCH'))
        arch = kdump_board_value(d, 'arch')
        if arch != target:
            return 'KDUMP_BOARD = "%s" is a board with arch = "%s"; MACHINE = "%s" is %s' % (
                board, arch, d.getVar('MACHINE'), target)
        return ''
    known = sorted({name[:-5] for place in kdump_board_places(d) if os.path.isdir(place)
                    for name in os.listdir(place) if name.endswith('.toml')})
    what = 'KDUMP_BOARD is not set' if not board else 'KDUMP_BOARD = "%s": there is no such board file' % board
    return what + '; give the path of a board file, or one of: ' + ', '.join(known)
