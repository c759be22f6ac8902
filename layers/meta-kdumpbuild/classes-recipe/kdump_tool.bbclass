# How kdumpbuild is called from a recipe: the compiler, the source and all else by name; nothing is fetched.

inherit kernel-arch python3native

KDUMP_COMMAND ?= "kdumpbuild"
KDUMP_DEPENDS ?= "python3-kdumpbuild-native"

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

# A board file and the fragments beside it are inputs like any other.
KDUMP_BOARD_CHECKSUMS = "${@kdump_board_checksums(d)}"
def kdump_board_checksums(d):
    path = d.getVar('KDUMP_BOARD_FILE')
    if not path or path.startswith(os.path.join(d.getVar('KDUMPBUILD_TOP'), 'kdumpbuild') + os.sep):
        return ''
    return '%s:True %s/*.config:True' % (path, os.path.dirname(path))
