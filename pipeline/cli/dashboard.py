"""``pipeline dashboard``: a local web page of builds, searches, releases and devices."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath

EXTRA = "pip install '.[dashboard]'"


@click.command(
    epilog=examples(
        "pipeline dashboard builds",
        "pipeline dashboard builds --open",
        "pipeline dashboard builds --host 0.0.0.0 --port 8750 --name build-server",
    )
)
@click.argument("folder", type=UserPath(), default=Path())
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address; all but loopback need a token."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8750, show_default=True, help="0 takes a free port."
)
@click.option("--name", "names", multiple=True, help="Further name of this server in browsers; repeatable.")
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
def dashboard(folder: Path, host: str, port: int, names: tuple[str, ...], opens: bool) -> None:
    """Show builds, searches, releases and devices of FOLDER as a local web page.

    Running builds and searches are followed. Nothing in FOLDER is changed. Ctrl-C ends it.
    """
    _require_extra()
    from pipeline.dashboard.server import serve
    from pipeline.errors import InputError

    if not folder.is_dir():
        msg = f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}; give a folder of builds"
        raise InputError(msg)

    def on_ready(address: str) -> None:
        click.echo(address)
        if opens:
            webbrowser.open(address)

    serve(folder, host, port, names, on_ready)


def _require_extra() -> None:
    """Refuse without the packages of the extra, before any work.

    Raises:
        ToolchainError: one is missing.
    """
    from importlib.util import find_spec

    from pipeline.errors import ToolchainError

    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        msg = f"the dashboard needs {' and '.join(missing)}: {EXTRA}"
        raise ToolchainError(msg)
