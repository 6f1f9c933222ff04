"""``pipeline doctor``: check whether this machine is ready, and how to fix it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.cli.groups import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.runtimes.environment import Check


@click.command(
    epilog=examples(
        "pipeline doctor",
        "pipeline doctor --json",
    )
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(*, as_json: bool) -> None:
    """Check the environment; each problem comes with the command that fixes it."""
    from pipeline.errors import ToolchainError
    from pipeline.progress import track
    from pipeline.runtimes.environment import check_everything

    checks: list[Check] = []
    with track("check", unit="checks") as advance:
        for check in check_everything():
            checks.append(check)
            advance(1, check.name)
    if as_json:
        import json
        from dataclasses import asdict

        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        _print_table(checks)
    problems = [check for check in checks if check.problem is not None]
    if problems:
        message = f"{len(problems)} of {len(checks)} checks found a problem; first run: {problems[0].remedy}"
        raise ToolchainError(message)


def _print_table(checks: Sequence[Check]) -> None:
    from rich.table import Table
    from rich.text import Text

    from pipeline.terminal import Terminal

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("check", "", "found"):
        table.add_column(heading, no_wrap=heading != "found")
    for check in checks:
        if check.problem is None:
            table.add_row(check.name, Text("ok", "green"), Text(check.found))
        else:
            detail = Text(f"{check.found}: {check.problem}\n{check.remedy}")
            table.add_row(check.name, Text("problem", "bold red"), detail)
    Terminal().print(table)
