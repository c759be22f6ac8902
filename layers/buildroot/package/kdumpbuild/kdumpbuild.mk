################################################################################
#
# kdumpbuild
#
################################################################################

# No source of its own: the capture kernel is built from a copy of the product's
# kernel tree, with every patch that was applied to it. A copy, since Buildroot
# builds the kernel in its tree, and Kbuild refuses such a tree for another
# build.
KDUMPBUILD_VERSION = 0.1.0
KDUMPBUILD_SOURCE =
KDUMPBUILD_LICENSE = GPL-2.0 (kernel, BusyBox, makedumpfile), MIT (scripts)
KDUMPBUILD_INSTALL_IMAGES = YES
KDUMPBUILD_DEPENDENCIES = linux busybox kexec

KDUMPBUILD_TOP = $(BR2_EXTERNAL_KDUMPBUILD_PATH)/../..
KDUMPBUILD_BOARD = $(call qstrip,$(BR2_PACKAGE_KDUMPBUILD_BOARD))
KDUMPBUILD_BOARD_FILE = $(firstword $(wildcard \
	$(KDUMPBUILD_TOP)/kdumpbuild/boards/$(KDUMPBUILD_BOARD).toml \
	$(KDUMPBUILD_BOARD)))

KDUMPBUILD_GIVEN_SYSROOT = $(call qstrip,$(BR2_PACKAGE_KDUMPBUILD_SYSROOT))
KDUMPBUILD_SYSROOT = $(or $(KDUMPBUILD_GIVEN_SYSROOT),$(TARGET_DIR))
ifeq ($(KDUMPBUILD_GIVEN_SYSROOT),)
# The last two for boards that dump by SSH (dbclient) or to raw flash
# (flash_erase).
KDUMPBUILD_DEPENDENCIES += \
	makedumpfile \
	$(if $(BR2_PACKAGE_DROPBEAR),dropbear) \
	$(if $(BR2_PACKAGE_MTD),mtd)
endif

KDUMPBUILD_GIVEN_COMMAND = $(call qstrip,$(BR2_PACKAGE_KDUMPBUILD_COMMAND))
KDUMPBUILD_COMMAND = $(or $(KDUMPBUILD_GIVEN_COMMAND),$(HOST_DIR)/bin/kdumpbuild)
ifeq ($(KDUMPBUILD_GIVEN_COMMAND),)
# host-dtc for boards with a device tree or drivers of their own.
KDUMPBUILD_DEPENDENCIES += host-dtc host-python-kdumpbuild
endif

# What the kernel's own clean targets take away need not be copied.
KDUMPBUILD_EXCLUDE = \
	--exclude=*.o --exclude=*.ko --exclude=*.a --exclude=*.cmd \
	--exclude=/vmlinux* --exclude=/.stamp_* --exclude=/.applied_patches_list \
	--exclude=/.files-list* $(RSYNC_VCS_EXCLUSIONS)

# Everything by name, so that nothing of the caller's environment counts.
KDUMPBUILD_VARIABLES = \
	OFFLINE=1 \
	BOARD=$(KDUMPBUILD_BOARD) \
	KERNEL_SRC=$(@D)/linux \
	KERNEL_BUILD=$(LINUX_DIR) \
	CROSS_COMPILE=$(TARGET_CROSS) \
	KERNEL_CC="$(TARGET_CC)" \
	HOSTCC="$(HOSTCC)" \
	SYSROOT=$(KDUMPBUILD_SYSROOT) \
	OUT=$(@D)/out \
	CACHE=$(@D)/cache \
	JOBS=$(PARALLEL_JOBS)

# This set's folder: the board's name, which is its file's.
KDUMPBUILD_SET = $(@D)/out/$(basename $(notdir $(KDUMPBUILD_BOARD)))

# Kbuild must not take this make for its parent.
KDUMPBUILD_ENV = $(HOST_MAKE_ENV) env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u KBUILD_VERBOSE

define KDUMPBUILD_BUILD_CMDS
	mkdir -p $(@D)/linux
	rsync -a --delete $(KDUMPBUILD_EXCLUDE) $(LINUX_DIR)/ $(@D)/linux/
	$(KDUMPBUILD_ENV) make -s -C $(@D)/linux ARCH=$(KERNEL_ARCH) mrproper
	$(KDUMPBUILD_ENV) $(KDUMPBUILD_COMMAND) doit build $(KDUMPBUILD_VARIABLES)
endef

KDUMPBUILD_TARGET_FILES = \
	$(if $(BR2_aarch64),Image,zImage) \
	initramfs.cpio.gz kdump-load.conf kdump-collect.conf kdump-device.sh \
	kdump-slots.sh SHA256SUMS manifest.json
KDUMPBUILD_TARGET_SCRIPTS = kdump-load kdump-collect kdump-ctl

# The initramfs is for root only: with target = "ssh" it holds a private key.
# In the archive of a capture-root the key has this mode already.
define KDUMPBUILD_INSTALL_TARGET_CMDS
	$(foreach f,$(KDUMPBUILD_TARGET_FILES), \
		$(INSTALL) -D -m $(if $(filter initramfs%,$(f)),0600,0644) \
			$(KDUMPBUILD_SET)/$(f) \
			$(TARGET_DIR)/usr/lib/kdumpbuild/$(f)$(sep))
	if [ -e $(KDUMPBUILD_SET)/capture-root.tar ]; then \
		rm $(TARGET_DIR)/usr/lib/kdumpbuild/initramfs.cpio.gz; \
	fi
	$(foreach f,$(KDUMPBUILD_TARGET_SCRIPTS), \
		$(INSTALL) -D -m 0755 $(KDUMPBUILD_SET)/$(f) \
			$(TARGET_DIR)/usr/lib/kdumpbuild/$(f)$(sep))
	ln -sf ../lib/kdumpbuild/kdump-ctl $(TARGET_DIR)/usr/sbin/kdump-ctl
	$(INSTALL) -D -m 0644 $(KDUMPBUILD_SET)/60-kdump.conf \
		$(TARGET_DIR)/etc/sysctl.d/60-kdump.conf
endef

# A board with capture.root: the capture system is a folder of the product's
# file system. Unpacked here it is not stripped: kdump-load verifies checksums.
define KDUMPBUILD_UNPACK_CAPTURE_ROOT
	if [ -e $(BINARIES_DIR)/kdump/capture-root.tar ]; then \
		mkdir -p $(TARGET_DIR)/usr/lib/kdumpbuild/capture-root; \
		tar -C $(TARGET_DIR)/usr/lib/kdumpbuild/capture-root --no-same-owner \
			-xf $(BINARIES_DIR)/kdump/capture-root.tar; \
	fi
endef
KDUMPBUILD_ROOTFS_PRE_CMD_HOOKS += KDUMPBUILD_UNPACK_CAPTURE_ROOT

define KDUMPBUILD_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(KDUMPBUILD_SET)/S10kdump \
		$(TARGET_DIR)/etc/init.d/S10kdump
	$(INSTALL) -D -m 0755 $(KDUMPBUILD_SET)/S11kdump-collect \
		$(TARGET_DIR)/etc/init.d/S11kdump-collect
endef

define KDUMPBUILD_INSTALL_INIT_SYSTEMD
	$(INSTALL) -D -m 0644 $(KDUMPBUILD_SET)/kdump.service \
		$(TARGET_DIR)/usr/lib/systemd/system/kdump.service
	$(INSTALL) -D -m 0644 $(KDUMPBUILD_SET)/kdump-collect.service \
		$(TARGET_DIR)/usr/lib/systemd/system/kdump-collect.service
endef

define KDUMPBUILD_INSTALL_IMAGES_CMDS
	rm -rf $(BINARIES_DIR)/kdump
	cp -dpfr $(KDUMPBUILD_SET) $(BINARIES_DIR)/kdump
endef

# The crash initramfs needs stat, and dd's flags for a raw dump target; the
# others make it more robust, and let the target be named by its label.
define KDUMPBUILD_BUSYBOX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_STAT)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FEATURE_STAT_FORMAT)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FEATURE_STAT_FILESYSTEM)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FEATURE_SYNC_FANCY)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FEATURE_DD_IBS_OBS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FINDFS)
	$(call KCONFIG_ENABLE_OPT,CONFIG_TIMEOUT)
	$(call KCONFIG_ENABLE_OPT,CONFIG_WATCHDOG)
	$(call KCONFIG_ENABLE_OPT,CONFIG_CHROOT)
	$(call KCONFIG_ENABLE_OPT,CONFIG_SHA256SUM)
	$(call KCONFIG_ENABLE_OPT,CONFIG_FEATURE_MD5_SHA1_SUM_CHECK)
endef

# What the board needs of the product's kernel, in that kernel's version.
# Whether all of it took effect is looked at when the image set is built.
ifeq ($(BR2_PACKAGE_KDUMPBUILD_LINUX_OPTIONS),y)
define KDUMPBUILD_LINUX_CONFIG_FIXUPS
	$(KDUMPBUILD_ENV) $(KDUMPBUILD_COMMAND) board config $(KDUMPBUILD_BOARD) \
		--kernel $$(sed -n -e 's/^VERSION = //p' -e 's/^PATCHLEVEL = /./p' \
			$(LINUX_DIR)/Makefile | tr -d '\n') \
		>$(LINUX_DIR)/.kdumpbuild.config
	sed -e 's/^$(SHARP_SIGN) \(.*\) is not set$$/\1/' -e 's/=.*//' \
		$(LINUX_DIR)/.kdumpbuild.config \
		| sed -e 's:.*:/^\\($(SHARP_SIGN) \\)\\?&\\>/d:' \
		>$(LINUX_DIR)/.kdumpbuild.sed
	sed -i -f $(LINUX_DIR)/.kdumpbuild.sed $(LINUX_DIR)/.config
	cat $(LINUX_DIR)/.kdumpbuild.config >>$(LINUX_DIR)/.config
	$(KDUMPBUILD_LINUX_SLAB_FIXUP)
endef

# With this option makedumpfile before 1.7.6 drops slab pages of Linux 6.10 and
# newer together with user pages, and the dump's task list cannot be read: rule
# KD071 of kdumpbuild check.
ifeq ($(KDUMPBUILD_GIVEN_SYSROOT)$(filter 1.7.5,$(MAKEDUMPFILE_VERSION)),1.7.5)
define KDUMPBUILD_LINUX_SLAB_FIXUP
	$(call KCONFIG_DISABLE_OPT,CONFIG_SLUB_CPU_PARTIAL)
endef
endif

# The tool is there when the kernel is configured, and in the kernel's own host
# folder where each package has one. The rule is for itself: Buildroot's was
# read before this file.
ifeq ($(BR2_PACKAGE_KDUMPBUILD)$(KDUMPBUILD_GIVEN_COMMAND),y)
# check-package TypoInPackageVariable
LINUX_KCONFIG_DEPENDENCIES += host-python-kdumpbuild
$(LINUX_DIR)/.stamp_dotconfig: | host-python-kdumpbuild
endif

# As with a fragment of the kernel's config: a change of the board file
# configures the kernel again.
ifeq ($(BR2_PACKAGE_KDUMPBUILD),y)
$(LINUX_DIR)/.stamp_dotconfig: $(KDUMPBUILD_BOARD_FILE)
endif
endif

ifeq ($(BR2_PACKAGE_KDUMPBUILD)$(BR_BUILDING),yy)
KDUMPBUILD_KNOWN = $(basename $(notdir $(wildcard $(KDUMPBUILD_TOP)/kdumpbuild/boards/*.toml)))
ifeq ($(KDUMPBUILD_BOARD),)
$(error BR2_PACKAGE_KDUMPBUILD_BOARD is empty: set it to the path of a board file, or to one of: $(KDUMPBUILD_KNOWN))
endif
ifeq ($(filter $(KDUMPBUILD_KNOWN),$(KDUMPBUILD_BOARD))$(wildcard $(KDUMPBUILD_BOARD)),)
$(error BR2_PACKAGE_KDUMPBUILD_BOARD: there is no board file $(KDUMPBUILD_BOARD); boards that ship with kdumpbuild: $(KDUMPBUILD_KNOWN))
endif
ifneq ($(KDUMPBUILD_GIVEN_SYSROOT),)
ifeq ($(wildcard $(KDUMPBUILD_GIVEN_SYSROOT)/.),)
$(error BR2_PACKAGE_KDUMPBUILD_SYSROOT: there is no folder $(KDUMPBUILD_GIVEN_SYSROOT))
endif
endif
ifeq ($(wildcard $(KDUMPBUILD_TOP)/kdumpbuild/fragments),)
$(error layers/buildroot has to stay in the kdumpbuild checkout that it belongs to; there is no $(KDUMPBUILD_TOP)/kdumpbuild)
endif
endif

$(eval $(generic-package))

# And makes the image set again.
ifeq ($(BR2_PACKAGE_KDUMPBUILD),y)
$(KDUMPBUILD_TARGET_BUILD): $(KDUMPBUILD_BOARD_FILE)
endif
