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
PYTHON_KDUMPBUILD_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = \
	--exclude=/.venv --exclude=/out --exclude=__pycache__

# rich is pure Python, and Buildroot has it for the target only. What it needs
# for markdown and source code is not used here.
PYTHON_KDUMPBUILD_RICH = rich-15.0.0-py3-none-any.whl
HOST_PYTHON_KDUMPBUILD_EXTRA_DOWNLOADS = \
	$(KDUMPBUILD_PYPI)/py3/r/rich/$(PYTHON_KDUMPBUILD_RICH)

HOST_PYTHON_KDUMPBUILD_DEPENDENCIES = \
	host-python-doit \
	host-python-jinja2 \
	host-python-kconfiglib \
	host-python-pyelftools

define HOST_PYTHON_KDUMPBUILD_INSTALL_RICH
	unzip -q -o $(HOST_PYTHON_KDUMPBUILD_DL_DIR)/$(PYTHON_KDUMPBUILD_RICH) \
		-d $(HOST_DIR)/lib/python$(PYTHON3_VERSION_MAJOR)/site-packages
endef
HOST_PYTHON_KDUMPBUILD_POST_INSTALL_HOOKS += HOST_PYTHON_KDUMPBUILD_INSTALL_RICH

$(eval $(host-python-package))
