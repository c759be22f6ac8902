SUMMARY = "A product's kernel: Debian's source, as small as runs on QEMU's virt machine"
LICENSE = "GPL-2.0-only"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/GPL-2.0-only;md5=801f80980d171dd6425610833a22dbe6"

inherit kernel

LINUX_VERSION = "6.12"
PV = "${LINUX_VERSION}"
# By the caller, since there is nothing to fetch it from.
SRC_URI = "file://${HOSTTOOLS_KERNEL_SRC};unpack=1"
S = "${UNPACKDIR}/linux-source-6.12"

KERNEL_DEVICETREE = ""
KERNEL_IMAGETYPE:arm = "zImage"
KERNEL_IMAGETYPE:aarch64 = "Image"

do_configure:prepend() {
    cat ${HOSTTOOLS_FRAGMENTS}/product.config ${HOSTTOOLS_FRAGMENTS}/virt.config \
        >${WORKDIR}/product.config
    oe_runmake -C ${S} O=${B} KCONFIG_ALLCONFIG=${WORKDIR}/product.config allnoconfig
}
