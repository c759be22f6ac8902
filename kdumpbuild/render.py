"""Rendering templates: the only module that imports Jinja.

What is rendered is small configuration and snippets; logic is in static files that read it. Values enter shell through
the filter ``sh`` and YAML through ``yaml``, which quote.
"""

from __future__ import annotations

import json
import shlex

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from kdumpbuild import resources

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(resources.TEMPLATES),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701  # shell and text, no HTML
)
_ENVIRONMENT.filters["sh"] = lambda value: shlex.quote(str(value))
# JSON's strings are strings of YAML, whatever is in them.
_ENVIRONMENT.filters["yaml"] = lambda value: json.dumps(str(value), ensure_ascii=False)


def render(name: str, **values: object) -> str:
    """Render the template ``name``, a path below ``templates/``. A value that is missing is a bug and raises."""
    return _ENVIRONMENT.get_template(name).render(values)
