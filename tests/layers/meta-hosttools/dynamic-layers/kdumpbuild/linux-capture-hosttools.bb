require recipes-test/linux/linux-hosttools.bb
require recipes-kernel/linux/linux-capture.inc

SUMMARY = "The same source as a capture kernel in the manner of kernel.bbclass"
