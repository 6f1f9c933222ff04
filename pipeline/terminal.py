"""Safe terminal output: text from devices, models or files never acts as a control sequence."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import ConsoleOptions, RenderableType

FILE_WIDTH = 110
"""Columns of a file and of a CI log, which have no width of their own."""
WIDEST = 1000
"""Columns of the longest word that is not broken."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# Control characters, directions of writing and other invisible ones, halves of characters, line separators.
_COMMANDS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


_TRAILING = re.compile(r" +$", re.MULTILINE)


class Terminal(Console):
    """rich's console, whose own styles are kept while every text in it is made harmless."""

    def __init__(self, **options: Any) -> None:
        """Take rich's options; without a terminal and COLUMNS, rich would take 80 columns."""
        super().__init__(**options)
        if "width" not in options and "COLUMNS" not in os.environ and not any(map(os.isatty, range(3))):
            self.width = FILE_WIDTH

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does, which fills lines with spaces; a file or a log gets none of these."""
        if self.is_terminal:
            super().print(*objects, **options)
            return
        with self.capture() as printed:
            super().print(*objects, **options)
        self.file.write(_TRAILING.sub("", printed.get()))
        self.file.flush()

    def print_whole(self, part: RenderableType) -> None:
        """Print a table or text; columns of single words, such as addresses, paths or numbers, stay whole.

        Where even the longest words do not fit, lines are longer than the terminal is wide.
        """
        for column in part.columns if isinstance(part, Table) else ():
            # rich would break the widest columns first, whatever is in them.
            column.no_wrap = column.no_wrap or not any(" " in str(cell) for cell in column.cells)
        needed = Measurement.get(self, self.options.update(max_width=WIDEST), part).minimum
        before, self.width = self.width, max(self.width, needed)
        try:
            self.print(part)
        finally:
            self.width = before

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of ``renderable``; see rich."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else harmless(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)


def harmless(text: str) -> str:
    """Return a text in which each character that a terminal acts on is replaced, but line breaks."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(
        char if char == "\n" or unicodedata.category(char) not in _COMMANDS else REPLACEMENT for char in text
    )


def print_parts(parts: Iterable[RenderableType], terminal: Terminal | None = None) -> None:
    """Print a command's result, a blank line after each part; plain text is not wrapped.

    Args:
        terminal: where to print; default: stdout.
    """
    terminal = terminal or Terminal(highlight=False, markup=False)
    for part in parts:
        if isinstance(part, str):
            terminal.print(part, soft_wrap=True)
        else:
            terminal.print_whole(part)
        terminal.print()


console = Terminal(stderr=True, highlight=False)
"""The command's stderr: what is live on it is drawn by one object."""
