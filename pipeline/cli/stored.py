"""The options of commands that use the store of finished stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.paths import UserPath
from pipeline.store_size import DEFAULT_SIZE, SIZE_VARIABLE, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Size(click.ParamType[int]):
    """A number of bytes, such as ``500MB`` or ``20GB``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class StorePlace(UserPath):
    """The folder of a store; with ``takes_url`` also the URL of a shared one, which stays text."""

    def __init__(self, *, takes_url: bool) -> None:
        super().__init__()
        self.takes_url = takes_url

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if "://" not in str(value):
            return super().convert(value, param, ctx)
        if not self.takes_url:
            self.fail(f"{value} is a URL, which only pipeline search takes; name a folder", param, ctx)
        return str(value)


def store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--store``, which is None if the user's own store is meant."""
    return click.option(
        "--store",
        type=StorePlace(takes_url=False),
        envvar="EDGE_PIPELINE_STORE",
        show_envvar=True,
        metavar="FOLDER",
        help="Cache of finished stages, shared by builds; default: in the user cache.",
    )(command)


def shared_store_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--store``, which is text if it is a URL, and None if the user's own store is meant."""
    return click.option(
        "--store",
        type=StorePlace(takes_url=True),
        envvar="EDGE_PIPELINE_STORE",
        show_envvar=True,
        metavar="FOLDER|URL",
        help="Cache of finished stages, which all workers reach: a folder, or s3://BUCKET/PREFIX, gs://...;"
        " default: in the user cache.",
    )(command)


def size_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--cache-size``, in bytes."""
    return click.option(
        "--cache-size",
        type=Size(),
        default=DEFAULT_SIZE,
        show_default=True,
        envvar=SIZE_VARIABLE,
        show_envvar=True,
        help="Cache size above which the least recently used stages are removed.",
    )(command)


def store_at(folder: Path | None) -> Path:
    """Return the folder of the store that an option names, or of the user's own."""
    from pipeline.store import user_store

    return folder or user_store()
