"""What a terminal shows of a result as HTML for a notebook: its tables and lines, without a stylesheet."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from pipeline.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

STYLES = {
    "bold": "font-weight:600",
    "bold red": "font-weight:600;color:#c62828",
    "bold green": "font-weight:600;color:#2e7d32",
    "yellow": "color:#b26a00",
    "green": "color:#2e7d32",
    "dim": "opacity:.7",
}
"""Colours that can be read on white and on black, by rich's names of styles."""
_CELL = "padding:2px 12px 2px 0;vertical-align:top;text-align:"


def parts_html(parts: Iterable[RenderableType]) -> str:
    """Return the parts of a result as a fragment of HTML; text from files and models is escaped.

    Args:
        parts: tables, texts and groups of them, as ``pipeline.terminal.print_parts`` takes them.
    """
    return f"<div>{''.join(html for part in parts for html in _part(part))}</div>"


def _part(part: Any) -> Iterator[str]:
    match part:
        case Group():
            for each in part.renderables:
                yield from _part(each)
        case Table():
            yield _table(part)
        case _:
            yield f'<p style="white-space:pre-wrap;overflow-wrap:anywhere;margin:.5em 0">{_text(part)}</p>'


def _table(table: Table) -> str:
    aligned = ["right" if column.justify == "right" else "left" for column in table.columns]
    cells = zip(*(column.cells for column in table.columns), strict=True)
    title = "" if table.title is None else _text(table.title)
    caption = f'<caption style="text-align:left;font-weight:600">{title}</caption>' if title else ""
    names = [_text(column.header) for column in table.columns]
    head = f"<thead>{_row('th', names, aligned)}</thead>" if table.show_header and any(names) else ""
    body = "".join(_row("td", map(_text, row), aligned) for row in cells)
    return f'<table style="margin:.5em 0">{caption}{head}<tbody>{body}</tbody></table>'


def _row(tag: str, cells: Iterable[str], aligned: list[str]) -> str:
    made = (f'<{tag} style="{_CELL}{side}">{cell}</{tag}>' for cell, side in zip(cells, aligned, strict=True))
    return f"<tr>{''.join(made)}</tr>"


def _text(text: Any) -> str:
    """Return text escaped, with those of its styles that a notebook shows."""
    if not isinstance(text, Text):
        return escape(harmless(str(text)))
    shown = _styled(text.plain, str(text.style)) if not text.spans else ""
    place = 0
    for span in sorted(text.spans):
        shown += _styled(text.plain[place : span.start], str(text.style))
        shown += _styled(text.plain[max(span.start, place) : span.end], str(span.style))
        place = max(place, span.end)
    return shown if not text.spans else shown + _styled(text.plain[place:], str(text.style))


def _styled(text: str, style: str) -> str:
    safe, css = escape(harmless(text)), STYLES.get(style)
    return f'<span style="{css}">{safe}</span>' if css and safe else safe
