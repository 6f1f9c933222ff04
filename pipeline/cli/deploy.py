"""``pipeline deploy``: install a release on devices; list, roll back and remove installed versions."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deploy.errors import DeployError
from deploy.install.options import require_digest, require_name, require_path, require_python
from pipeline.cli.fleet import make_fleet, query_and_print, roll_out_and_print
from pipeline.cli.groups import examples
from pipeline.cli.keys import trusted_keys, verifying
from pipeline.cli.paths import UserPath

if TYPE_CHECKING:
    from deploy.fleet import Outcome, State
    from deploy.install.install import Installed, Step
    from deploy.install.options import Options
    from deploy.manifest import Manifest
    from deploy.transports.transport import Transport

Command = TypeVar("Command", bound=Callable[..., Any])

RELEASE = "RELEASE"
FORMS = ("RELEASE --to ADDRESS... [OPTIONS]", "status|list|rollback|prune NAME --to ADDRESS... [OPTIONS]")


class Forms(click.Group):
    """A group in which an argument that is not a subcommand is a release to deploy."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args:
            raise click.exceptions.NoArgsIsHelpError(ctx)
        if args[0] not in self.commands and args[0] not in ctx.help_option_names:
            nearest = difflib.get_close_matches(args[0], self.commands, n=1)
            if nearest and "/" not in args[0] and not Path(args[0]).exists():
                msg = f"{args[0]!r} is neither a command nor a folder; did you mean {nearest[0]!r}?"
                raise click.UsageError(msg, ctx)
            args = [RELEASE, *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        return self.commands.get(cmd_name, deploy_release)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_usage(formatter, *FORMS)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        deploy_release.format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


class Release(click.Command):
    """The first form, which has no word of its own."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_usage(formatter, FORMS[0])


def _write_usage(formatter: click.HelpFormatter, *forms: str) -> None:
    for at, form in enumerate(forms):
        formatter.write_usage("pipeline deploy", form, prefix="       " if at else None)


def _checked(check: Callable[[Any], object]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Make a callback of a check of ``deploy``, whose errors become those of the option."""

    def callback(_: click.Context, __: click.Parameter, value: Any) -> Any:
        try:
            check(value)
        except DeployError as error:
            raise click.BadParameter(str(error)) from error
        return value

    return callback


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Make one decorator of several, listed in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_named = click.argument("name", callback=_checked(require_name))
_where = _options(
    click.option(
        "--to",
        "addresses",
        multiple=True,
        metavar="ADDRESS",
        help="Device: ssh://user@host, adb://SERIAL, local:// or board; repeatable.",
    ),
    click.option("--to-file", type=UserPath(), help="File with addresses, one per line."),
    click.option("--root", callback=_checked(require_path), help="Folder for releases on the devices."),
    click.option(
        "--python",
        callback=_checked(require_python),
        help="Python on the devices; default: the one of the active version, else python3.",
    ),
    click.option(
        "--parallel",
        type=click.IntRange(1, 64),
        default=4,
        show_default=True,
        help="Number of devices at a time.",
    ),
)
_careful = _options(
    click.option(
        "--canary",
        type=click.IntRange(0),
        default=1,
        show_default=True,
        help="Number of devices to install first; continue only if all succeed.",
    ),
    click.option(
        "--max-failures",
        "max_failures",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Stop starting devices after this many failures.",
    ),
)
_benchmark = click.option(
    "--benchmark",
    callback=_checked(require_path),
    help="Path of a benchmark_model on the devices, for health checks without Python.",
)
_unchecked = click.option(
    "--without-health-check", is_flag=True, help="Install even if no health check is possible."
)
_lock = click.option("--break-lock", is_flag=True, help="Take over the lock of a crashed installation.")
_output = _options(
    click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of a table."),
)


@click.group(
    cls=Forms,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "pipeline deploy signed/ripeness-1.0-arm64 --to ssh://pi@garden --public-key release.pub",
        "pipeline deploy status ripeness --to ssh://pi@garden",
    ),
)
def deploy() -> None:
    """Install a signed RELEASE on devices; show, roll back and remove installed versions of NAME.

    A version becomes active only after a health check on the device, and the previous version is kept.
    RELEASE is a folder; write ./status if it has the name of a command.
    """


@click.command(
    RELEASE,
    cls=Release,
    epilog=examples(
        "pipeline deploy signed/ripeness-1.0-arm64 --to ssh://pi@garden --public-key release.pub",
        "pipeline deploy signed/ripeness-1.0-arm64 --to-file fleet.txt --canary 2",
    ),
)
@click.argument("release", type=UserPath())
@_where
@verifying
@_careful
@click.option("--allow-downgrade", is_flag=True, help="Install a release that is older than the active one.")
@_benchmark
@_unchecked
@_lock
@_output
def deploy_release(
    release: Path,
    public_key: tuple[Path, ...],
    revoked_key: tuple[Path, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Verify RELEASE, then install it on each device, or leave the device unchanged."""
    from deploy.install.install import install
    from deploy.signing import verify_release

    fleet = make_fleet(given)
    verified = verify_release(release, *trusted_keys(public_key, revoked_key))
    manifest = verified.manifest
    about = {
        "release": str(release),
        "name": manifest.name,
        "version": manifest.version,
        "target": manifest.target,
        "digest": verified.digest,
        "signed_by": verified.signed_by,
    }

    def work(address: str, transport: Transport, options: Options, on_step: Step) -> Outcome:
        done = install(verified, transport, options, on_step)
        return _outcome(address, done, "installed" if done.is_new else "already active", manifest)

    title = f"{manifest.full_name}  {about['digest'][:12]}"
    roll_out_and_print(fleet, "deploy", work, about, title, as_json=as_json)


@deploy.command("status", epilog=examples("pipeline deploy status ripeness --to ssh://pi@garden"))
@_named
@_where
@_benchmark
@_output
def print_status(name: str, as_json: bool, **given: Any) -> None:
    """Show the active version of NAME, the result of its health check, and the other installed versions.

    Exit with code 5 if a health check fails.
    """
    from deploy.install.versions import Status, status
    from pipeline.errors import DeviceError
    from pipeline.report.fleet import status_table

    def ask(transport: Transport, options: Options) -> Status:
        return status(name, transport, options)

    found = query_and_print(make_fleet(given), name, "status", ask, status_table, as_json=as_json)
    ill = [address for address, one in found.items() if one.healthy is False]
    if ill:
        msg = f"{name} is not healthy on {', '.join(ill)}; deploy it again, or: pipeline deploy rollback"
        raise DeviceError(msg)


@deploy.command("list", epilog=examples("pipeline deploy list ripeness --to ssh://pi@garden --json"))
@_named
@_where
@_output
def list_installed(name: str, as_json: bool, **given: Any) -> None:
    """List the installed versions of NAME, newest first."""
    from deploy.install.versions import Version, list_versions
    from pipeline.report.fleet import versions_table

    def ask(transport: Transport, options: Options) -> tuple[Version, ...]:
        return list_versions(name, transport, options)

    query_and_print(make_fleet(given), name, "list", ask, versions_table, as_json=as_json)


@deploy.command("rollback", epilog=examples("pipeline deploy rollback ripeness --to-file fleet.txt"))
@_named
@_where
@click.option(
    "--from",
    "bad",
    callback=_checked(require_digest),
    metavar="DIGEST",
    help="Roll back only if this version is active; at least 8 digits.",
)
@_careful
@_benchmark
@_unchecked
@_lock
@_output
def roll_back(name: str, bad: str | None, as_json: bool, **given: Any) -> None:
    """Check the health of the previous version of NAME and make it active.

    The active version becomes the previous one, so a second rollback returns to it, except with --from.
    """
    from deploy.fleet import Outcome
    from deploy.install.versions import list_versions, rollback
    from pipeline.cli.fleet import AGAIN

    def work(address: str, transport: Transport, options: Options, on_step: Step) -> Outcome:
        if bad is not None:
            active = next((one for one in list_versions(name, transport, options) if one.is_active), None)
            if active is not None and not active.digest.startswith(bad):
                version = active.version
                return Outcome(address=address, state="already active", after=active.digest, version=version)
        return _outcome(address, rollback(name, transport, options, on_step), "rolled back")

    fleet, title = make_fleet(given), f"{name}, rolled back"
    then = (
        AGAIN
        if bad
        else "a second rollback undoes the first: name only the other devices, or give --from DIGEST"
    )
    roll_out_and_print(fleet, "rollback", work, {"name": name}, title, then=then, as_json=as_json)


@deploy.command("prune", epilog=examples("pipeline deploy prune ripeness --to ssh://pi@garden --keep 3"))
@_named
@_where
@click.option(
    "--keep", type=click.IntRange(2), default=2, show_default=True, help="Minimum number of versions to keep."
)
@_lock
@_output
def remove_old(name: str, keep: int, as_json: bool, **given: Any) -> None:
    """Remove the oldest versions of NAME, except the active and the previous one."""
    from deploy.install.versions import prune
    from pipeline.report.fleet import removed_table

    def ask(transport: Transport, options: Options) -> tuple[str, ...]:
        return prune(name, transport, options, keep)

    query_and_print(make_fleet(given), name, "prune", ask, removed_table, as_json=as_json)


def _outcome(address: str, done: Installed, state: State, manifest: Manifest | None = None) -> Outcome:
    from deploy.fleet import Outcome

    version = manifest.version if manifest else ""
    return Outcome(
        address=address,
        state=state,
        before=done.before,
        after=done.digest,
        version=version,
        notes=tuple(done.notes),
    )
