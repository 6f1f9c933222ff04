"""The reference page of all commands, made from their help.

After a change of a command: ``python -m pipeline.cli.reference > docs/reference/commands.md``.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import click

from pipeline.cli import cli
from pipeline.cli.deploy import Forms, deploy_release

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = """# Commands

This page is made from the help of the commands, which `pipeline COMMAND --help` prints.

Results go to stdout (`--json` for machine-readable output), progress and errors to stderr. An error is one
line that says what is wrong, where, and how to fix it; `--debug` adds the traceback. The
[exit codes](exit-codes.md) are 0 success, 1 failed gate or stage, 2 usage, 3 bad input, 4 environment,
5 device, 6 integrity, and 130 interrupted.

| command | description |
|---|---|
"""


def contexts(parent: click.Context) -> Iterator[click.Context]:
    """Yield a context for each command below a group that is not a group itself, in alphabetical order."""
    group = parent.command
    assert isinstance(group, click.Group)
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent)
        if isinstance(command, click.Group):
            if isinstance(command, Forms):
                yield click.Context(deploy_release, info_name=name, parent=parent)
            yield from contexts(context)
        else:
            yield context


def page() -> str:
    """Return the page as Markdown."""
    commands = list(contexts(click.Context(cli, info_name="pipeline")))
    rows = [
        f"| [`{each.command_path}`](#{each.command_path.replace(' ', '-')}) "
        f"| {each.command.get_short_help_str(limit=200)} |\n"
        for each in commands
    ]
    return HEAD + "".join(rows) + "".join(map(section, commands))


def section(context: click.Context) -> str:
    """Return the section of one command: usage, description, options, examples."""
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    records = [each.get_help_record(context) for each in command.params]
    options = [record for record in records if record and record[1]]
    parts = [f"## {context.command_path}", f"```text\n{usage}\n```"]
    parts.append(prose(command.help or ""))
    if options:
        rows = "\n".join(f"| `{cell(names)}` | {cell(meaning)} |" for names, meaning in options)
        parts.append(f"| option | meaning |\n|---|---|\n{rows}")
    if command.epilog:
        examples = [line.strip() for line in command.epilog.splitlines() if line.startswith("  ")]
        parts.append("```sh\n" + "\n".join(examples) + "\n```")
    return "\n" + "\n\n".join(parts) + "\n"


def prose(text: str) -> str:
    r"""Return a docstring as Markdown: what click prints as it is, after a line with ``\b``, as a block."""
    return "\n\n".join(
        f"```text\n{paragraph.removeprefix(chr(8)).strip(chr(10))}\n```"
        if paragraph.startswith("\b")
        else paragraph
        for paragraph in inspect.cleandoc(text).split("\n\n")
    )


def cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
