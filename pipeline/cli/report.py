"""``pipeline report``: builds beside each other, and a build as Markdown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    epilog=examples(
        "pipeline report build --markdown",
        "pipeline report builds --html builds.html",
    )
)
@click.argument("builds", nargs=-1, required=True, type=UserPath())
@click.option("--markdown", is_flag=True, help="Print Markdown, for a pull request or the summary of a job.")
@click.option("--html", type=UserPath(), help="Write a page with drawings of all figures.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON object for each build instead of a table."
)
def report(builds: tuple[Path, ...], markdown: bool, html: Path | None, as_json: bool) -> None:
    """Compare builds over time, or show one as Markdown.

    BUILDS are folders of builds or of releases, folders of such folders, or files report.json. They are
    listed by the time at which their gates were judged; changes are those from the build before.
    """
    from pipeline.content import write_whole
    from pipeline.errors import ConfigError, storing
    from pipeline.report.history import history_html, history_table, read_history

    if markdown and as_json:
        msg = "--markdown and --json exclude each other; leave one out"
        raise ConfigError(msg)
    entries = read_history(builds)
    if html is not None:
        with storing("report", "--html"):
            write_whole(html, history_html(entries))
    if as_json:
        found = [
            {"created": each.date, "name": each.report.name, "passed": each.report.passed, **each.figures()}
            for each in entries
        ]
        click.echo(json.dumps(found, indent=2))
    elif markdown:
        from pipeline.report.markdown import history_markdown, report_markdown

        click.echo(
            report_markdown(entries[0].report) if len(entries) == 1 else history_markdown(entries), nl=False
        )
    else:
        from pipeline.terminal import print_parts

        print_parts([history_table(entries)])
