"""Building: kernel source, userland, kernels, initramfs, scripts, image set."""
