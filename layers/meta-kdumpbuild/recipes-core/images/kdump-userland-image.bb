SUMMARY = "Userland of the crash initramfs"
DESCRIPTION = "A root directory with the programs that save a dump. kdumpbuild takes from it what the crash initramfs \
needs, with the libraries that they need, and no more."
LICENSE = "MIT"

inherit core-image

PACKAGE_INSTALL = "busybox makedumpfile vmcore-dmesg"
IMAGE_FSTYPES = "tar"
IMAGE_FEATURES = ""
IMAGE_LINGUAS = ""
IMAGE_NAME_SUFFIX = ""
IMAGE_LINK_NAME = "${PN}-${MACHINE}"

# It is an ingredient: neither kernel nor boot files, and no dependency that would lead back to the kernel.
PACKAGE_EXCLUDE = "kernel-image-*"
KERNELDEPMODDEPEND = ""
EXTRA_IMAGEDEPENDS = ""

COMPATIBLE_HOST = "(arm|aarch64).*-linux.*"
