"""Readers of the file formats that kernels, boot loaders and initramfs come in."""
