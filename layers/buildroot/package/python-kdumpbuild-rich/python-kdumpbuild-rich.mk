################################################################################
#
# python-kdumpbuild-rich
#
################################################################################

# rich for the build machine: Buildroot has it for the target only, or not at
# all. markdown-it-py and pygments, which it names, are for markdown and source
# code; kdumpbuild prints neither, and what it prints is printed without them.
PYTHON_KDUMPBUILD_RICH_VERSION = 15.0.0
PYTHON_KDUMPBUILD_RICH_SOURCE = rich-$(PYTHON_KDUMPBUILD_RICH_VERSION).tar.gz
PYTHON_KDUMPBUILD_RICH_SITE = $(KDUMPBUILD_PYPI)/source/r/rich
PYTHON_KDUMPBUILD_RICH_SETUP_TYPE = poetry
PYTHON_KDUMPBUILD_RICH_LICENSE = MIT
PYTHON_KDUMPBUILD_RICH_LICENSE_FILES = LICENSE

$(eval $(host-python-package))
