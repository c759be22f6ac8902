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

SYSTEMD_SERVICE:${PN} = "kdump.service"
INITSCRIPT_NAME = "kdump"
INITSCRIPT_PARAMS = "start 10 2 3 4 5 ."

PACKAGES = "${PN}"
FILES:${PN} += "${KDUMP_DIR} ${sysconfdir}/init.d ${systemd_system_unitdir}"
RDEPENDS:${PN} = "kexec"
# oe-core's own script of that name loads the production kernel a second time; both bring kdump.service.
RCONFLICTS:${PN} = "kdump"
