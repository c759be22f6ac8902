# How kdumpbuild is called from a recipe: the compiler, the source and all else by name; nothing is fetched.

inherit kernel-arch python3native

KDUMP_COMMAND ?= "kdumpbuild"
# dtc: a board file may name a device tree of the kernel's source, or one of its own.
KDUMP_DEPENDS ?= "python3-kdumpbuild-native dtc-native"

# Arguments of every call. KERNEL_CC and KERNEL_LD hold flags, and are given whole.
kdump_tool() {
    ${KDUMP_COMMAND} doit "$@" \
        BOARD="${KDUMP_BOARD}" \
        BOARD_PATH="${KDUMP_BOARD_PATH}" \
        KERNEL_SRC="${STAGING_KERNEL_DIR}" \
        CROSS_COMPILE="${TARGET_PREFIX}" \
        KERNEL_CC="${KERNEL_CC}" \
        KERNEL_LD="${KERNEL_LD}" \
        HOSTCC="${BUILD_CC} ${BUILD_CFLAGS} ${BUILD_LDFLAGS}" \
        JOBS="${@oe.utils.parallel_make(d) or 1}"
}

# A board file is an input like any other, and so are the files that it names and the fragments beside it.
KDUMP_BOARD_CHECKSUMS = "${@kdump_board_checksums(d)}"
def kdump_board_checksums(d):
    import re
    path = d.getVar('KDUMP_BOARD_FILE')
    if not path or path.startswith(os.path.join(d.getVar('KDUMPBUILD_TOP'), 'kdumpbuild') + os.sep):
        return ''
    folder = os.path.dirname(path)
    with open(path, encoding='utf-8', errors='replace') as stream:
        words = re.findall(r'"([^"\n]+)"|\'([^\'\n]+)\'', stream.read())
    named = {os.path.join(folder, first or second) for first, second in words}
    found = [name for name in sorted(named) if os.path.isfile(name) and not re.search(r'[\s:*?[]', name)]
    return ' '.join('%s:True' % name for name in [path, os.path.join(folder, '*.config'), os.path.join(folder, '*.cfg'), *found])
