"""Build, check and prove kdump for ARM boards."""

__version__ = "0.1.0"
