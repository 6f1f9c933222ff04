"""The ``pipeline`` command: parse, call, print. Heavy imports happen inside the commands."""

from __future__ import annotations

from pipeline.cli import interrupt  # isort: skip - hears Ctrl-C while the rest is imported

import os
import sys
import traceback
from typing import Any

import click

from deploy.keys import secrets_withheld
from pipeline.cli.groups import Group, examples
from pipeline.cli.redaction import redacted
from pipeline.cli.usage import usage_message
from pipeline.console.reporter import ConsoleReporter
from pipeline.errors import (
    FULL_DISK,
    INTERRUPTED_EXIT_CODE,
    InputError,
    PipelineError,
    StageError,
    cause_of,
    leaf_errors_mapped,
)
from pipeline.events import listening
from pipeline.runtimes.environment import check_siblings
from pipeline.user_paths import REASONS

COMMANDS = {
    "init": "Write pipeline.toml for a model and its data.",
    "build": "Build a validated int8 release from a Keras model.",
    "search": "Search for small and fast models that pass the gates.",
    "plan": "Predict what compression would buy, before any training.",
    "validate": "Validate a .tflite file or a release.",
    "report": "Compare builds over time, or show one as Markdown.",
    "dashboard": "Show builds, searches, releases and devices as a local web page.",
    "bench": "Measure the cost of an inference.",
    "calibrate": "Check the calibration samples of a model and its data.",
    "inspect": "List the layers or operators of a model.",
    "debug": "Rank the layers of an int8 model by what quantization costs.",
    "device": "List devices, provision emulators, run the emulated board.",
    "deploy": "Install a release on devices, show status, roll back.",
    "monitor": "Detect drift on devices.",
    "release": "Repackage a release: version, rollback index, expiry date, signature.",
    "verify": "Verify the signature of a release.",
    "keygen": "Create a key pair for signing releases.",
    "cache": "Show, prune, clear and verify the store of finished stages.",
    "config": "Show the effective settings, explain a key, print the JSON Schema.",
    "doctor": "Check the environment.",
    "help": "Show a reference page, for example of data or gates.",
    "completion": "Print the completion script of bash, zsh or fish.",
}

DEBUG_HELP = "Show tracebacks of errors."


class Commands(Group):
    """Subcommands by name, imported on demand; for a KeyboardInterrupt, click would print an empty line."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the arguments."""
        try:
            return super().make_context(*arguments, **options)
        except KeyboardInterrupt as error:
            raise click.Abort from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise click.Abort from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = __import__(f"pipeline.cli.{cmd_name}", fromlist=[cmd_name])
        command: click.Command = getattr(module, cmd_name)
        _add_debug(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _add_debug(command: click.Command) -> None:
    """Accept ``--debug`` after any command, too; ``main`` searches the arguments for it."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _add_debug(each)
    if all(option.name != "debug" for option in command.params):
        command.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, help=DEBUG_HELP))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "pipeline build --target arm64 --model model.keras --data data.npz",
        "pipeline inspect build/release/model-0.1.0-arm64",
        "pipeline help data",
    ),
)
@click.version_option(package_name="edge-deploy-pipeline", prog_name="pipeline")
@click.option("--debug", is_flag=True, expose_value=False, help=DEBUG_HELP)
def cli() -> None:
    """Turn Keras models into validated int8 TFLite releases for edge devices, and deploy them."""


def main() -> None:
    """Run the command; errors end as one line and their exit code."""
    with secrets_withheld():
        try:
            with interrupt.raising(), leaf_errors_mapped(), ConsoleReporter() as console, listening(console):
                check_siblings().require()
                result = cli(standalone_mode=False, obj=console)
            sys.stdout.flush()
            code = result if isinstance(result, int) else 0
        except (Exception, KeyboardInterrupt) as error:
            code = _report(error)
        _close_output()
        sys.exit(code)


def _report(error: BaseException) -> int:
    """Print an error as one line; returns the exit code."""
    if isinstance(error, click.exceptions.Abort | KeyboardInterrupt) or interrupt.was_heard():
        click.echo(interrupt.MESSAGE, err=True)
        return INTERRUPTED_EXIT_CODE
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, click.ClickException):
        return _print_error(usage_message(error), error.exit_code)
    if "--debug" in sys.argv:
        from pipeline.terminal import harmless

        text = harmless(redacted("".join(traceback.format_exception(error))))
        click.echo(text, err=True, nl=False)
    if isinstance(error, PipelineError):
        return _print_error(str(error), error.exit_code, getattr(error, "excerpt", ""))
    if isinstance(error, BrokenPipeError) and error.filename is None:
        return PipelineError.exit_code  # the reader closed the pipe
    if isinstance(error, OSError):
        return _print_error(*_of_system(error))
    cause = f"internal error: {type(error).__name__}: {error}"
    return _print_error(
        f"{cause:.300}; run again with --debug and report the traceback", PipelineError.exit_code
    )


def _of_system(error: OSError) -> tuple[str, int]:
    """Return the message and the exit code for an error of the operating system that no command handles."""
    path = f"{error.filename}: " if isinstance(error.filename, str | os.PathLike) else ""
    if error.errno in FULL_DISK:
        return f"{path or 'output: '}{cause_of(error)}; {FULL_DISK[error.errno]}", StageError.exit_code
    if path and error.errno in REASONS:
        return f"{path}{REASONS[error.errno]}", InputError.exit_code
    return f"{path}{error.strerror or error}", StageError.exit_code


def _print_error(message: str, exit_code: int, excerpt: str = "") -> int:
    """Print one line, and below it those of a settings file; returns the code.

    They are free of secrets and of what a terminal would obey.
    """
    for line in (f"pipeline: {' '.join(message.split())}", *excerpt.splitlines()):
        click.echo("".join(c if c.isprintable() else ascii(c)[1:-1] for c in redacted(line)), err=True)
    return exit_code


def _close_output() -> None:
    """Flush the output now: at interpreter exit a failure would print a traceback."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
