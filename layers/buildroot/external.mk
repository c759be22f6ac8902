# Where Python packages come from: where Buildroot itself takes them from.
KDUMPBUILD_PYPI = $(firstword $(subst /packages/, ,$(PYTHON_JINJA2_SITE)))/packages

include $(sort $(wildcard $(BR2_EXTERNAL_KDUMPBUILD_PATH)/package/*/*.mk))
