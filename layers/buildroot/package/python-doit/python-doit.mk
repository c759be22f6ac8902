################################################################################
#
# python-doit
#
################################################################################

PYTHON_DOIT_VERSION = 0.37.0
PYTHON_DOIT_SOURCE = doit-$(PYTHON_DOIT_VERSION).tar.gz
PYTHON_DOIT_SITE = $(KDUMPBUILD_PYPI)/source/d/doit
PYTHON_DOIT_SETUP_TYPE = setuptools
PYTHON_DOIT_LICENSE = MIT
PYTHON_DOIT_LICENSE_FILES = LICENSE

$(eval $(host-python-package))
