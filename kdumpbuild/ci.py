"""Job files for CI: one command renders them for a list of boards.

    build BOARD ──► check BOARD (SARIF) ──► crash test BOARD (JUnit), where the board has a machine
         │               both take the set that build kept
         └── image set, manifest

Pure: text from boards and options. docs/ci.md tells how the jobs are used.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdumpbuild import __version__, resources
from kdumpbuild.render import render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdumpbuild.board.model import Board

SYSTEMS = {"gitlab": "ci/gitlab.yml.j2", "github": "ci/github.yml.j2"}
"""Template of each CI system."""
DEFAULT_IMAGE = "debian:13"
DEFAULT_PACKAGE = f"kdumpbuild[analysis]=={__version__}"


@dataclass(frozen=True)
class Pipeline:
    """What the jobs are made from."""

    boards: Sequence[tuple[str, Board]]
    """What ``BOARD=`` is given, a name or a path from the repository's root, and the board that it means."""
    variables: Mapping[str, str]
    """Further variables of each build."""
    image: str = DEFAULT_IMAGE
    """Container in which the jobs run; a Debian."""
    package: str = DEFAULT_PACKAGE
    """What pip installs."""
    ccache: str = ""
    """Value of ``CCACHE_REMOTE_STORAGE``: a compiler cache that all runners share."""


def render_pipeline(system: str, pipeline: Pipeline) -> str:
    """Return the job file for a CI system of :data:`SYSTEMS`."""
    jobs = [
        {"name": board.name, "choice": choice, "arch": board.arch.name, "crashtest": board.machine is not None}
        for choice, board in pipeline.boards
    ]
    return render(
        SYSTEMS[system],
        jobs=jobs,
        image=pipeline.image,
        packages=debian_packages(),
        package=pipeline.package,
        ccache=pipeline.ccache,
        variables="".join(f" {name}={shlex.quote(value)}" for name, value in sorted(pipeline.variables.items())),
        version=__version__,
    )


def debian_packages() -> list[str]:
    """Return the Debian packages that a build and a crash test need; of alternatives the first."""
    lines = (line.partition("#")[0] for line in resources.DEBIAN_PACKAGES.read_text(encoding="utf-8").splitlines())
    return [line.partition("|")[0].strip() for line in lines if line.strip()]
