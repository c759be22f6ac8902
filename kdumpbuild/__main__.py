"""``python -m kdumpbuild``: the same as the command ``kdumpbuild``."""

import sys

from kdumpbuild.cli import main

if __name__ == "__main__":
    sys.exit(main())
