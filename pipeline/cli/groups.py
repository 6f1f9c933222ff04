"""Groups of commands: the top-level one and those with subcommands."""

from __future__ import annotations

import difflib

import click


def examples(*commands: str) -> str:
    """Return the examples that end the help of a command, for its ``epilog``."""
    return "\n".join(["\b", "Examples:", *(f"  {command}" for command in commands)])


class Group(click.Group):
    """A group that answers an unknown subcommand with one line and the nearest known one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command for an unknown one."""
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            nearest = difflib.get_close_matches(args[0], known, n=1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            msg = f"no command {args[0]!r}{hint}"
            raise click.UsageError(msg, ctx)
        return super().resolve_command(ctx, args)
