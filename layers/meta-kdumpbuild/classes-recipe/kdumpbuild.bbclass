# Builds the image set of KDUMP_BOARD from the source of the product's kernel, packages and deploys it.

inherit deploy kdump_tool

# The userland of the crash initramfs: a root directory. Empty: the one that kdump-userland-image makes.
KDUMP_SYSROOT ??= ""
# Where the production kernel was built. kdump_production deploys it; empty: none is at hand, and the image set has
# neither its vmlinux nor its release.
KDUMP_KERNEL_BUILD ??= "${@bb.utils.contains('KERNEL_CLASSES', 'kdump_production', '${DEPLOY_DIR_IMAGE}/kdump-production', '', d)}"

KDUMP_IMAGE = "${@'Image' if d.getVar('TARGET_ARCH') == 'aarch64' else 'zImage'}"
KDUMP_DIR = "${nonarch_libdir}/kdumpbuild"
# What the target needs of the set, beside the units and init scripts.
KDUMP_FILES = "${KDUMP_IMAGE} initramfs.cpio.gz kdump-load.conf kdump-collect.conf kdump-device.sh kdump-slots.sh SHA256SUMS manifest.json"
KDUMP_SCRIPTS = "kdump-load kdump-collect kdump-ctl"

DEPENDS += "${KDUMP_DEPENDS} bc-native bison-native flex-native"

do_configure[noexec] = "1"
do_compile[file-checksums] += "${KDUMP_BOARD_CHECKSUMS} ${KDUMP_GIVEN_CHECKSUMS}"
# The kernel's source is there, patched, when that is configured. With externalsrc it has no do_patch.
do_compile[depends] += "virtual/kernel:do_configure"

python () {
    fault = kdump_board_fault(d) if bb.data.inherits_class('kdump', d) else 'INHERIT += "kdump" is missing in local.conf or the distro'
    fault = fault or kdump_folder_fault(d)
    if fault:
        raise bb.parse.SkipRecipe(fault)
    if not d.getVar('KDUMP_SYSROOT'):
        d.appendVarFlag('do_compile', 'depends', ' kdump-userland-image:do_image_complete')
    # A kernel that was built elsewhere is there already.
    if (d.getVar('KDUMP_KERNEL_BUILD') or '').startswith(d.getVar('DEPLOY_DIR_IMAGE')):
        d.appendVarFlag('do_compile', 'depends', ' virtual/kernel:do_deploy')
}

def kdump_folder_fault(d):
    """What is wrong with the folders that are given; empty when nothing is. One that the build makes comes later."""
    for name in ('KDUMP_SYSROOT', 'KDUMP_KERNEL_BUILD'):
        path = d.getVar(name) or ''
        if not path or path.startswith((d.getVar('TMPDIR'), d.getVar('DEPLOY_DIR'))):
            continue
        if not os.path.isabs(path):
            return '%s = "%s" is a relative path; begin it with ${TOPDIR}/' % (name, path)
        bb.parse.mark_dependency(d, path)
        if not os.path.isdir(path):
            return '%s = "%s": there is no such folder' % (name, path)
    return ''

# What is taken from folders that no task of this build made.
KDUMP_GIVEN_CHECKSUMS = "${@kdump_given_checksums(d)}"
def kdump_given_checksums(d):
    wanted = {
        'KDUMP_SYSROOT': ['%s/%s' % (folder, name) for folder in ('bin', 'sbin', 'usr/bin', 'usr/sbin')
                          for name in ('busybox*', 'makedumpfile', 'vmcore-dmesg', 'dbclient', 'flash_erase')],
        'KDUMP_KERNEL_BUILD': ['.config', 'vmlinux', 'include/config/kernel.release'],
    }
    own = (d.getVar('TMPDIR'), d.getVar('DEPLOY_DIR'))
    return ' '.join('%s/%s:True' % (d.getVar(name), path) for name, paths in wanted.items()
                    if d.getVar(name) and not d.getVar(name).startswith(own) for path in paths)

do_compile() {
    sysroot="${KDUMP_SYSROOT}"
    if [ -z "$sysroot" ]; then
        sysroot=${B}/userland
        rm -rf "$sysroot"
        install -d "$sysroot"
        tar -x -C "$sysroot" --no-same-owner -f ${DEPLOY_DIR_IMAGE}/kdump-userland-image-${MACHINE}.tar
    fi
    set -- OFFLINE=1 SYSROOT="$sysroot" OUT="${B}/out" CACHE="${B}/cache"
    if [ -n "${KDUMP_KERNEL_BUILD}" ]; then
        set -- "$@" KERNEL_BUILD="${KDUMP_KERNEL_BUILD}"
    fi
    if ! kdump_tool build "$@"; then
        bbfatal_log "the image set of ${KDUMP_BOARD} could not be built; kdumpbuild says why at the end of the log"
    fi
}

do_install() {
    made="${B}/out/${KDUMP_BOARD_NAME}"
    install -d ${D}${KDUMP_DIR} ${D}${sbindir} ${D}${sysconfdir}/init.d ${D}${sysconfdir}/sysctl.d
    for file in ${KDUMP_FILES}; do
        install -m 0644 "$made/$file" ${D}${KDUMP_DIR}/$file
    done
    # With target = "ssh" the key to the server is in it.
    chmod 0600 ${D}${KDUMP_DIR}/initramfs.cpio.gz
    for file in ${KDUMP_SCRIPTS}; do
        install -m 0755 "$made/$file" ${D}${KDUMP_DIR}/$file
    done
    # A board with capture.root: the capture system is this folder of the product's file system.
    if [ -e "$made/capture-root.tar" ]; then
        rm ${D}${KDUMP_DIR}/initramfs.cpio.gz
        install -d ${D}${KDUMP_DIR}/capture-root
        tar -x -C ${D}${KDUMP_DIR}/capture-root --no-same-owner -f "$made/capture-root.tar"
    fi
    # kdump-ctl finds its set through the link.
    ln -sf ${KDUMP_DIR}/kdump-ctl ${D}${sbindir}/kdump-ctl
    install -m 0644 "$made/60-kdump.conf" ${D}${sysconfdir}/sysctl.d/60-kdump.conf
    install -m 0755 "$made/S10kdump" ${D}${sysconfdir}/init.d/kdump
    install -m 0755 "$made/S11kdump-collect" ${D}${sysconfdir}/init.d/kdump-collect
    if ${@bb.utils.contains('DISTRO_FEATURES', 'systemd', 'true', 'false', d)}; then
        install -d ${D}${systemd_system_unitdir}
        install -m 0644 "$made/kdump.service" "$made/kdump-collect.service" ${D}${systemd_system_unitdir}
    fi
}

do_deploy() {
    rm -rf ${DEPLOYDIR}/kdump
    install -d ${DEPLOYDIR}
    cp -R --preserve=mode,timestamps "${B}/out/${KDUMP_BOARD_NAME}" ${DEPLOYDIR}/kdump
}
addtask deploy after do_compile before do_build
