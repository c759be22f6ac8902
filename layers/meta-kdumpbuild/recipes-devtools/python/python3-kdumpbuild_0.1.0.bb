SUMMARY = "Builds, checks and proves kdump for ARM boards"
DESCRIPTION = "From one board file: verifies kernel configs, builds the capture kernel and its initramfs, renders the \
               scripts that load them, checks all of it, and opens dumps."
HOMEPAGE = "https://docs.kernel.org/admin-guide/kdump/kdump.html"
SECTION = "devel/python"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://LICENSE;md5=6959340a37fab7de8043c97afa464005"

# From the checkout that this layer belongs to, so that tool and recipes are of one version.
FILESEXTRAPATHS:prepend := "${KDUMPBUILD_TOP}:"
SRC_URI = "\
    file://LICENSE;subdir=${BP} \
    file://README.md;subdir=${BP} \
    file://debian-packages.txt;subdir=${BP} \
    file://kdumpbuild;subdir=${BP} \
    file://pyproject.toml;subdir=${BP} \
    file://templates;subdir=${BP} \
"
S = "${UNPACKDIR}/${BP}"

CVE_PRODUCT = "kdumpbuild"

inherit python_hatchling

RDEPENDS:${PN} = "\
    python3-asyncio \
    python3-core \
    python3-ctypes \
    python3-difflib \
    python3-doit \
    python3-jinja2 \
    python3-json \
    python3-kconfiglib \
    python3-pickle \
    python3-pyelftools \
    python3-rich \
    python3-shell \
    python3-tomllib \
    python3-unixadmin \
    python3-xml \
"

BBCLASSEXTEND = "native nativesdk"
