################################################################################
#
# python-kdumpbuild
#
################################################################################

# The tool itself, from the checkout that this tree belongs to.
PYTHON_KDUMPBUILD_VERSION = 0.1.0
PYTHON_KDUMPBUILD_SITE = $(BR2_EXTERNAL_KDUMPBUILD_PATH)/../..
PYTHON_KDUMPBUILD_SITE_METHOD = local
PYTHON_KDUMPBUILD_SETUP_TYPE = hatch
PYTHON_KDUMPBUILD_LICENSE = MIT
PYTHON_KDUMPBUILD_LICENSE_FILES = LICENSE
# legal-info would archive the checkout with all that was built in it.
PYTHON_KDUMPBUILD_REDISTRIBUTE = NO

# What the tool is made of: a checkout that was worked in has gigabytes beside
# it. Of this variable the host package takes nothing from a name without HOST_.
HOST_PYTHON_KDUMPBUILD_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--delete --exclude=__pycache__ \
	--include=/kdumpbuild --include=/templates --include=/debian-packages.txt \
	--include=/pyproject.toml --include=/README.md --include=/LICENSE \
	--exclude=/*

HOST_PYTHON_KDUMPBUILD_DEPENDENCIES = \
	host-python-doit \
	host-python-jinja2 \
	host-python-kconfiglib \
	host-python-kdumpbuild-rich \
	host-python-pyelftools

# What dist has is installed: the wheel of an earlier version is not wanted.
define HOST_PYTHON_KDUMPBUILD_REMOVE_OLD_WHEEL
	rm -rf $(@D)/dist
endef
HOST_PYTHON_KDUMPBUILD_PRE_BUILD_HOOKS += HOST_PYTHON_KDUMPBUILD_REMOVE_OLD_WHEEL

$(eval $(host-python-package))
