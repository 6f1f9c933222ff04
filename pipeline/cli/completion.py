"""``pipeline completion``: the script with which a shell completes commands, options and paths."""

from __future__ import annotations

import click

from pipeline.cli.groups import examples

SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog=examples(
        'eval "$(pipeline completion bash)"          # in ~/.bashrc',
        'eval "$(pipeline completion zsh)"           # in ~/.zshrc',
        "pipeline completion fish > ~/.config/fish/completions/pipeline.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL: bash 4.4 or newer, zsh, or fish."""
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root()
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(root.command, {}, "pipeline", "_PIPELINE_COMPLETE").source())
