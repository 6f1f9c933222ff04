"""``pipeline help``: reference pages, which every installation has."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import click

from pipeline.cli.groups import examples

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable


@click.command(epilog=examples("pipeline help", "pipeline help data", "pipeline help configuration | less"))
@click.argument("topic", required=False)
def help(topic: str | None) -> None:
    """Show the reference page of a TOPIC, or the help of a command; without one, list all topics."""
    pages = _pages()
    root = click.get_current_context().find_root()
    assert isinstance(root.command, click.Group)
    if topic is None:
        with_titles = [(name, _title(page)) for name, page in pages.items()]
        formatter = root.make_formatter()
        with formatter.section("Topics"):
            formatter.write_dl(with_titles)
        click.echo(formatter.getvalue(), nl=False)
    elif topic in pages:
        _show(pages[topic].read_text(encoding="utf-8"))
    elif (command := root.command.get_command(root, topic)) is not None:
        click.echo(command.get_help(click.Context(command, parent=root, info_name=topic)))
    else:
        raise _unknown(topic, [*pages, *root.command.list_commands(root)])


def _pages() -> dict[str, Traversable]:
    """Return the pages of docs/reference that are part of the package, by topic."""
    folder = files("pipeline") / "help"
    return {
        page.name.removesuffix(".md"): page for page in sorted(folder.iterdir(), key=lambda page: page.name)
    }


def _title(page: Traversable) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def _show(text: str) -> None:
    """Print a page: as it is written, or on a terminal with its headings, tables and code in their form."""
    from pipeline.terminal import Terminal

    terminal = Terminal()
    if not terminal.is_terminal:
        click.echo(text, nl=False)
        return
    from rich.markdown import Markdown

    terminal.print(Markdown(text, hyperlinks=False))


def _unknown(topic: str, known: list[str]) -> Exception:
    from pipeline.errors import ConfigError
    from pipeline.sections import advice

    return ConfigError(f"no topic {topic!r}; {advice(topic, known, 'topics')}")
