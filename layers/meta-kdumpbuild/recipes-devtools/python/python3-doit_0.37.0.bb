SUMMARY = "Task runner and build tool in Python"
DESCRIPTION = "Runs tasks that depend on each other, and only those whose inputs changed. kdumpbuild's builds are such tasks."
HOMEPAGE = "https://pydoit.org"
SECTION = "devel/python"
LICENSE = "MIT"
LIC_FILES_CHKSUM = "file://LICENSE;md5=cecdbb2529a11590143c7a4b89864b4a"

SRC_URI[sha256sum] = "d3c72e0e46a8fa1ddabea8f830762402dee090caf33c30c2295ac7010db8f09c"

CVE_PRODUCT = "doit"

inherit pypi python_setuptools_build_meta

RDEPENDS:${PN} = "\
    python3-compression \
    python3-core \
    python3-datetime \
    python3-db \
    python3-debugger \
    python3-json \
    python3-multiprocessing \
    python3-pprint \
    python3-sqlite3 \
"

BBCLASSEXTEND = "native nativesdk"
