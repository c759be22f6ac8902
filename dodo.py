"""The tasks of kdumpbuild, for doit. What they do is in the package: kdumpbuild/tasks.py."""

from kdumpbuild.tasks import *  # noqa: F403
from kdumpbuild.tasks import doit_config

DOIT_CONFIG = doit_config()
