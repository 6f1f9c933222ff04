"""``pipeline bench``: what an inference of any .tflite file costs, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.build import set_option
from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath
from pipeline.cli.stored import size_option, store_at, store_option

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.benchmarking import Costs
    from pipeline.targets import Device


@click.command(
    epilog=examples(
        "pipeline bench model.tflite --target arm64",
        "pipeline bench model.tflite --device rpi4,ssh://pi@garden --baseline float.tflite",
        "pipeline bench new.tflite --against old.tflite --operators",
    )
)
@click.argument("file", type=UserPath())
@click.option("--target", help="Count emulated instructions on every device of this target.")
@click.option("--device", "devices", help="Devices to measure on, e.g. rpi4,rpi5,ssh://pi@host.")
@click.option("--baseline", type=UserPath(), help="Float model to compare latency with.")
@click.option("--against", type=UserPath(), help="Reference model to compare with, e.g. the last release.")
@click.option("--operators", is_flag=True, help="Show the cost per operator and layer.")
@click.option(
    "--threads", "--num_threads", default="1,2,4", show_default=True, help="Thread counts to measure."
)
@click.option(
    "--runs",
    "--num_runs",
    type=click.IntRange(min=5),
    default=700,
    show_default=True,
    help="Inferences to time for each thread count.",
)
@click.option(
    "--warmup-runs",
    "--warmup_runs",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Inferences before those.",
)
@click.option(
    "--pairs",
    type=click.IntRange(min=9),
    default=9,
    show_default=True,
    help="How often to time two models side by side.",
)
@set_option
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed.")
@store_option
@size_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of tables.")
def bench(
    file: Path,
    target: str | None,
    devices: str | None,
    baseline: Path | None,
    against: Path | None,
    threads: str,
    pairs: int,
    seed: int,
    settings: tuple[str, ...],
    store: Path | None,
    cache_size: int,
    as_json: bool,
    **timing: Any,
) -> None:
    """Measure the cost of an inference of FILE: latency on this host and real devices, emulated instructions.

    FILE is a .tflite file or a release folder. Inputs are random. Every line names its kind of cost. Times
    are measured now; instructions that were counted before come from the cache.
    """
    from deploy.transports.ssh import split_addresses
    from pipeline.benchmarking import benchmark_file
    from pipeline.release.released import model_file
    from pipeline.settings import read_validation
    from pipeline.store import Store

    file = model_file(file)
    flags = {"validate.threads": _counts(threads), "validate.latency_pairs": pairs, "seed": seed}
    names, addresses = split_addresses(devices.split(",") if devices else [])
    with Store(store_at(store), cache_size) as opened:
        found = benchmark_file(
            file,
            devices=_devices(target, names),
            addresses=addresses,
            baseline=model_file(baseline) if baseline else None,
            against=model_file(against) if against else None,
            config=read_validation(None, flags, settings),
            store=opened,
            **timing,
        )
    if as_json:
        _print_json(file, found)
    else:
        _print_tables(file, found)


def _counts(threads: str) -> tuple[int, ...]:
    from pipeline.errors import ConfigError

    words = threads.split(",")
    if not all(word.strip().isdecimal() and 0 < int(word) <= 1024 for word in words):
        message = f"--threads {threads}: not counts of threads; give e.g. --threads 1,2,4"
        raise ConfigError(message)
    return tuple(dict.fromkeys(int(word) for word in words))


def _devices(target: str | None, names: tuple[str, ...]) -> tuple[Device, ...]:
    """Return the devices of a target and those of these names, each once."""
    from pipeline.targets import get_device, get_target

    of_target = get_target(target).devices if target else ()
    return tuple(dict.fromkeys((*of_target, *map(get_device, names))))


def _print_json(file: Path, found: Costs) -> None:
    from pydantic import TypeAdapter

    from pipeline.benchmarking import Costs

    costs = TypeAdapter(Costs).dump_python(found, mode="json")
    click.echo(json.dumps({"file": str(file), **costs}))


def _print_tables(file: Path, found: Costs) -> None:
    from pipeline.report.against import against_tables
    from pipeline.report.breakdown import breakdown_tables
    from pipeline.report.costs import (
        device_lines,
        device_table,
        emulated_table,
        host_lines,
        host_table,
        ratio_table,
    )
    from pipeline.terminal import print_parts

    parts: list[Any] = [
        f"{file}",
        host_table(found.host),
        "\n".join(line for row in found.host for line in host_lines(row)),
    ]
    if found.devices:
        parts.append(device_table(found.devices))
        parts.append("\n".join(line for row in found.devices for line in device_lines(row)))
    if found.emulated:
        parts.append(emulated_table(found.emulated))
    if found.ratio is not None:
        parts.append(ratio_table("Host latency, side by side", found.ratio, names=("float", "this")))
    if found.against is not None:
        parts.extend(against_tables(found.against))
    if found.operators is not None:
        parts.extend(breakdown_tables(found.operators))
    print_parts(parts)
