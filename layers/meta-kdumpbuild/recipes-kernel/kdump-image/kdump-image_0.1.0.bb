SUMMARY = "Capture kernel, crash initramfs and the scripts that load them"
DESCRIPTION = "After a panic a second, small kernel starts in reserved memory and saves the crashed kernel's log and \
memory. It is built from the source and patches of the product's kernel, for the board that KDUMP_BOARD names."
HOMEPAGE = "https://docs.kernel.org/admin-guide/kdump/kdump.html"
SECTION = "kernel"
# The kernel and BusyBox; the scripts are MIT.
LICENSE = "GPL-2.0-only"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/GPL-2.0-only;md5=801f80980d171dd6425610833a22dbe6"

CVE_PRODUCT = ""

SRC_URI = ""
S = "${UNPACKDIR}"
B = "${WORKDIR}/build"

COMPATIBLE_HOST = "(arm|aarch64).*-linux.*"
PACKAGE_ARCH = "${MACHINE_ARCH}"

inherit kdumpbuild systemd update-rc.d

# What loads the capture kernel; and what files dumps after the reboot, which a small root file system may leave out.
PACKAGES = "${PN}-collect ${PN}"

SYSTEMD_PACKAGES = "${PACKAGES}"
SYSTEMD_SERVICE:${PN} = "kdump.service"
SYSTEMD_SERVICE:${PN}-collect = "kdump-collect.service"
INITSCRIPT_PACKAGES = "${PACKAGES}"
INITSCRIPT_NAME:${PN} = "kdump"
INITSCRIPT_PARAMS:${PN} = "start 10 2 3 4 5 ."
INITSCRIPT_NAME:${PN}-collect = "kdump-collect"
INITSCRIPT_PARAMS:${PN}-collect = "start 11 2 3 4 5 ."

FILES:${PN}-collect += "\
    ${KDUMP_DIR}/kdump-collect* \
    ${KDUMP_DIR}/kdump-ctl \
    ${KDUMP_DIR}/kdump-device.sh \
    ${KDUMP_DIR}/kdump-slots.sh \
    ${sbindir}/kdump-ctl \
    ${sysconfdir}/init.d/kdump-collect \
    ${systemd_system_unitdir}/kdump-collect.service \
"
FILES:${PN} += "${KDUMP_DIR} ${sysconfdir}/init.d ${systemd_system_unitdir}"
RDEPENDS:${PN} = "kexec"
RDEPENDS:${PN}-collect = "${PN}"
RRECOMMENDS:${PN} = "${PN}-collect"
# With capture.root the package holds programs and libraries of a system of their own, whose checksums the loader verifies.
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_PACKAGE_DEBUG_SPLIT = "1"
EXCLUDE_FROM_SHLIBS = "1"
SKIP_FILEDEPS = "1"
# nooelint: oelint.vars.insaneskip - they come from packages that were looked at, and have to stay as they are
INSANE_SKIP:${PN} += "already-stripped file-rdeps ldflags libdir"
# oe-core's own script of that name loads the production kernel a second time; both bring kdump.service.
RCONFLICTS:${PN} = "kdump"
