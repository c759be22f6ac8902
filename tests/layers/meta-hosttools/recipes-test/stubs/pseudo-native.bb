SUMMARY = "Stands for pseudo, which is the build machine's own"
LICENSE = "MIT"
PROVIDES = "virtual/fakeroot-native"
inherit native nopackages
deltask do_fetch
deltask do_unpack
deltask do_patch
do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install[noexec] = "1"
