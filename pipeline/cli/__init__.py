"""The ``pipeline`` command: parse, call, print. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys
import traceback
from typing import NoReturn

import click

from pipeline.cli.redaction import redacted
from pipeline.errors import INTERRUPTED_EXIT_CODE, PipelineError, leaf_errors_mapped
from pipeline.runtimes.environment import check_siblings

COMMANDS = {
    "build": "Take a Keras model to a validated int8 release.",
    "validate": "Judge any .tflite file.",
    "bench": "Say what an inference costs.",
    "inspect": "List a model's layers or operators.",
    "device": "List the devices, provision the emulator.",
    "deploy": "Put a release on devices, tell what they have, go back.",
    "monitor": "Compare what devices saw with what a release was tested on.",
    "release": "Repack a release: version, counter, expiry, signature.",
    "verify": "Check a release's signature.",
    "keygen": "Make the keys to sign and verify with.",
    "doctor": "Check this environment.",
}

DEBUG_HELP = "Show the traceback of an error."


class Commands(click.Group):
    """Subcommands by name, each imported when it is asked for."""

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
    """Let ``--debug`` stand after any command, too; ``main`` looks for it in the arguments."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _add_debug(each)
    if all(option.name != "debug" for option in command.params):
        command.params.append(click.Option(["--debug"], is_flag=True, expose_value=False, help=DEBUG_HELP))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edge-deploy-pipeline", prog_name="pipeline")
@click.option("--debug", is_flag=True, expose_value=False, help=DEBUG_HELP)
def cli() -> None:
    """Keras models to pruned, full-integer int8 TFLite, validated on emulated edge devices."""


def main() -> None:
    """Run the command; errors end as one line and their exit code."""
    try:
        check_siblings().require()
        with leaf_errors_mapped():
            result = cli(standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("pipeline: interrupted; the same command goes on where it was", err=True)
        sys.exit(INTERRUPTED_EXIT_CODE)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f"; see: {context.command_path} --help" if context else ""
        _fail(f"{error.format_message().rstrip('.')}{hint}", error.exit_code)
    except PipelineError as error:
        if "--debug" in sys.argv:
            click.echo(redacted("".join(traceback.format_exception(error))), err=True, nl=False)
        _fail(str(error), error.exit_code)


def _fail(message: str, exit_code: int) -> NoReturn:
    """Print one line, free of secrets, and exit."""
    click.echo(f"pipeline: {redacted(' '.join(message.split()))}", err=True)
    sys.exit(exit_code)
