"""The templates of the pages; they look like a report, whose style sheet they share."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pipeline.flatbuffer import printable

if TYPE_CHECKING:
    from jinja2 import Environment

STATIC = {
    "report.css": ("pipeline.report", "style.css.j2", "text/css"),
    "sort.js": ("pipeline.report", "sort.js", "text/javascript"),
    "dashboard.css": ("pipeline.dashboard", "static/dashboard.css", "text/css"),
    "live.js": ("pipeline.dashboard", "static/live.js", "text/javascript"),
}
"""Files that pages fetch: their package, their path in it and their type."""


def render(template: str, **values: Any) -> str:
    """Render a template of this package; whatever it prints is escaped, control characters included."""
    return _environment().get_template(template).render(**values)


@cache
def static_file(name: str) -> tuple[bytes, str]:
    """Return the bytes and the type of a file of ``STATIC``.

    Raises:
        KeyError: there is no such file.
    """
    package, path, kind = STATIC[name]
    return files(package).joinpath(path).read_bytes(), kind


def address(page: str, /, **values: Any) -> str:
    """Return the address of a page with its query."""
    given = [(key, each) for key, value in values.items() for each in _each(value) if each not in {"", None}]
    return f"{page}?{urlencode(given)}" if given else page


def _each(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


@cache
def _environment() -> Environment:
    import jinja2  # not at the start of every command

    folder = files("pipeline.dashboard").joinpath("templates")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
    )
    environment.globals.update(address=address)
    environment.filters.update(duration=duration, day=lambda date: date[:16].replace("T", " "))
    return environment


def _finalize(value: Any) -> Any:
    # Markup of the template itself is a subclass of str, and stays.
    return printable(value) if type(value) is str else value


def duration(seconds: float) -> str:
    """Return a time such as "4 s", "3 min 20 s" or "2 h 5 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
