"""Options and arguments that are paths."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.user_paths import usable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class UserPath(click.Path):
    """A path option. ``~/`` is the home folder."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(path_type=Path, readable=False, **settings)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(_checked(value, param), param, ctx)


class UserSource(click.ParamType[str]):
    """A path or another name of a model or data set, such as ``zoo:resnet8``; the value stays text."""

    name = "text"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell complete it as a path."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return _checked(value, param)


def _checked(value: Any, param: click.Parameter | None) -> str:
    where = param.opts[0] if isinstance(param, click.Option) else "the path"
    is_key = param is not None and param.name in {"key", "public_key"}
    return usable(value, where, is_key=is_key)
