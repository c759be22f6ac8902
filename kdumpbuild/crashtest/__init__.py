"""The proof: a real crash in QEMU, and a verdict from the disk and the dump."""
