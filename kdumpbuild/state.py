"""Where doit keeps what was done: a JSON file that is written whole or not at all.

doit's own JSON backend writes in place. A full file system or an interrupt would leave half a file, and the next run
would refuse it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from doit.dependency import JsonDB

from kdumpbuild import files
from kdumpbuild.errors import UserError


class StateDB(JsonDB):  # type: ignore[misc]  # doit has no types
    """doit's JSON backend, written beside its place and renamed."""

    desc = "json file, written whole or not at all"

    def dump(self) -> None:
        """Write the state. Where that cannot be, say so: what was built is there, and is looked at again next time."""
        try:
            files.write_text(Path(self.name), self.codec.encode(self._db))
        except (OSError, UserError) as error:
            sys.stderr.write(f"warning: what was done could not be noted in {self.name}: {error}\n")
