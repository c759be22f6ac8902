"""Where doit keeps what was done: a JSON file that is written whole or not at all, after each task.

doit's own JSON backend writes once, at its end, and in place. A run that is killed would have forgotten all that it
did, a doit that it starts would not know of it, and a full file system would leave half a file, which the next run
would refuse.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from doit.dependency import JsonDB

from kdumpbuild import files
from kdumpbuild.errors import UserError


class StateDB(JsonDB):  # type: ignore[misc]  # doit has no types
    """doit's JSON backend, written beside its place and renamed."""

    desc = "json file, written whole or not at all"
    _LAST = "deps:"
    """What doit notes last of a task that succeeded (doit 0.37, Dependency.save_success)."""
    _told = False

    def _load(self) -> dict[str, Any]:
        """Read the state. One that is damaged counts as none: every task then looks at its results again."""
        try:
            return dict(json.loads(Path(self.name).read_text(encoding="utf-8")))
        except ValueError as error:
            sys.stderr.write(f"warning: {self.name} is damaged, starting without it: {error}\n")
            return {}

    def set(self, task_id: str, dependency: str, value: Any) -> None:
        """Keep a value; with the last one of a task, write the state."""
        super().set(task_id, dependency, value)
        if dependency == self._LAST:
            self.dump()

    def dump(self) -> None:
        """Write the state. Where that cannot be, say so: what was built is there, and is looked at again next time."""
        try:
            files.write_text(Path(self.name), self.codec.encode(self._db))
        except (OSError, UserError) as error:
            if not self._told:
                sys.stderr.write(f"warning: what was done could not be noted in {self.name}: {error}\n")
            self._told = True
