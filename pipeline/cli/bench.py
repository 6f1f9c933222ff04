"""``pipeline bench``: what an inference of any .tflite file costs, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.paths import UserPath

if TYPE_CHECKING:
    from pipeline.runtimes.runtime import Runtime
    from pipeline.validate.against import Against
    from pipeline.validate.breakdown import Breakdown
    from pipeline.validate.costs import DeviceLatency, EmulatedCost, HostLatency
    from pipeline.validate.latency import LatencyComparison
    from pipeline.validate.model_under_test import Golden, ModelUnderTest

GOLDEN_SAMPLES = 8


@click.command()
@click.argument("file", type=UserPath())
@click.option("--target", help="Count emulated instructions on every device of this target.")
@click.option("--device", "devices", help="Devices to measure on, e.g. rpi4,rpi5,ssh://pi@host.")
@click.option("--baseline", type=UserPath(), help="Float model to compare latency with.")
@click.option("--against", type=UserPath(), help="Reference model to compare with, e.g. the last release.")
@click.option("--operators", is_flag=True, help="Show the cost per operator and layer.")
@click.option(
    "--threads", "--num_threads", default="1,2,4", show_default=True, help="Thread counts to measure."
)
@click.option("--runs", "--num_runs", type=click.IntRange(min=5), default=700, show_default=True)
@click.option("--warmup-runs", "--warmup_runs", type=click.IntRange(min=0), default=10, show_default=True)
@click.option(
    "--pairs", type=click.IntRange(min=9), default=9, show_default=True, help="Random seed of a comparison."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of tables.")
def bench(
    file: Path,
    target: str | None,
    devices: str | None,
    baseline: Path | None,
    against: Path | None,
    operators: bool,
    threads: str,
    runs: int,
    warmup_runs: int,
    pairs: int,
    seed: int,
    as_json: bool,
) -> None:
    """Measure the cost of an inference of FILE: latency on this host and real devices, emulated instructions.

    FILE is a .tflite file or a release folder. Inputs are random. Every line names its kind of cost.
    """
    from pipeline.release.released import model_file
    from pipeline.runtimes.runtime import host_runtime
    from pipeline.validate.latency import compare_paired
    from pipeline.validate.model_under_test import Golden, ModelUnderTest

    file = model_file(file)
    counts, (emulated, real) = _counts(threads), _devices(target, devices)
    under_test, host, golden = (
        ModelUnderTest.open(file),
        host_runtime("litert"),
        Golden(None, GOLDEN_SAMPLES, seed),
    )
    float_model, reference = (
        ModelUnderTest.open(model_file(path)) if path else None for path in (baseline, against)
    )
    found = {
        "host": _times(host, under_test, golden, counts, (runs, warmup_runs)),
        "devices": _device_times(real, under_test, golden, counts, (runs, warmup_runs)),
        "emulated": _instructions(emulated, under_test, golden),
        "operators": _operators(under_test, (*emulated, host), seed) if operators else None,
        "against": _against(under_test, reference, emulated, host, golden, pairs) if reference else None,
        "ratio": compare_paired(host, float_model, under_test, golden, pairs=pairs) if float_model else None,
    }
    if as_json:
        click.echo(json.dumps({"file": str(file), "sha256": under_test.flat.sha256, **_plain(found)}))
    else:
        _show(file, **found)  # type: ignore[arg-type]


def _counts(threads: str) -> tuple[int, ...]:
    from pipeline.errors import ConfigError

    words = threads.split(",")
    if not all(word.strip().isdecimal() and 0 < int(word) <= 1024 for word in words):
        message = f"--threads {threads}: not counts of threads; give e.g. --threads 1,2,4"
        raise ConfigError(message)
    return tuple(dict.fromkeys(int(word) for word in words))


def _devices(target: str | None, devices: str | None) -> tuple[tuple[Runtime, ...], tuple[Runtime, ...]]:
    """The devices asked for: those that count instructions, and those that are timed."""
    from pipeline.runtimes.runtime import open_runtime
    from pipeline.targets import get_target

    names = [device.name for device in get_target(target).devices] if target else []
    names += [name.strip() for name in devices.split(",")] if devices else []
    found = tuple(dict.fromkeys(map(open_runtime, dict.fromkeys(names))))
    for runtime in found:
        runtime.require()
    counting = (runtime for runtime in found if runtime.capabilities.counts)
    return tuple(counting), tuple(runtime for runtime in found if runtime.capabilities.times == "device")


def _times(
    host: Runtime, under_test: ModelUnderTest, golden: Golden, threads: tuple[int, ...], runs: tuple[int, int]
) -> tuple[HostLatency, ...]:
    from pipeline.progress import track
    from pipeline.validate.costs import PROCESSES, measure_host

    with track("host latency", PROCESSES * len(threads), "processes") as advance:
        return tuple(
            measure_host(
                host,
                under_test,
                golden,
                threads=count,
                runs=runs[0],
                warmup_runs=runs[1],
                advance=advance,
            )
            for count in threads
        )


def _device_times(
    real: tuple[Runtime, ...],
    under_test: ModelUnderTest,
    golden: Golden,
    threads: tuple[int, ...],
    runs: tuple[int, int],
) -> tuple[DeviceLatency, ...]:
    """One device after the other; what runs on this machine has no part in it."""
    from pipeline.progress import track
    from pipeline.validate.costs import measure_device

    if not real:
        return ()
    found = []
    with track("device latency", len(real) * len(threads), "processes") as advance:
        for runtime in real:
            for count in threads:
                found.append(
                    measure_device(
                        runtime, under_test, golden, threads=count, runs=runs[0], warmup_runs=runs[1]
                    )
                )
                advance()
    return tuple(found)


def _instructions(
    emulated: tuple[Runtime, ...], under_test: ModelUnderTest, golden: Golden
) -> tuple[EmulatedCost, ...]:
    from functools import partial

    from pipeline.runtimes.session import Session
    from pipeline.validate.costs import count_emulated
    from pipeline.validate.jobs import run_parallel

    def count(runtime: Runtime) -> EmulatedCost:
        with Session(runtime, under_test.path) as session:
            return count_emulated(session, under_test, golden)

    return tuple(run_parallel("emulated instructions", [partial(count, runtime) for runtime in emulated]))


def _operators(under_test: ModelUnderTest, runtimes: tuple[Runtime, ...], seed: int) -> Breakdown:
    """Count on all emulated cores at a time; the host is timed when they are done."""
    from functools import partial
    from tempfile import TemporaryDirectory

    from pipeline.validate.breakdown import assemble, measure_parts, write_parts
    from pipeline.validate.jobs import run_parallel

    *emulated, host = runtimes
    with TemporaryDirectory(prefix="edge-operators-") as folder:
        parts = write_parts(under_test, Path(folder))
        jobs = [partial(measure_parts, runtime, parts, seed=seed) for runtime in emulated]
        found = run_parallel("operators", jobs)
        found.append(measure_parts(host, parts, seed=seed))
    return assemble(under_test, found)


def _against(
    under_test: ModelUnderTest,
    reference: ModelUnderTest,
    emulated: tuple[Runtime, ...],
    host: Runtime,
    golden: Golden,
    pairs: int,
) -> Against:
    from functools import partial

    from pipeline.validate.against import Against, count_both
    from pipeline.validate.jobs import run_parallel
    from pipeline.validate.latency import compare_paired

    jobs = [partial(count_both, runtime, under_test, reference, golden) for runtime in emulated]
    return Against(
        reference_name=reference.path.name,
        reference=reference.facts,
        candidate=under_test.facts,
        devices=tuple(run_parallel("against", jobs)),
        latency=compare_paired(host, reference, under_test, golden, pairs=pairs),
    )


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """As JSON-like values."""
    from pydantic import TypeAdapter

    from pipeline.validate.against import Against
    from pipeline.validate.breakdown import Breakdown
    from pipeline.validate.costs import DeviceLatency, EmulatedCost, HostLatency
    from pipeline.validate.latency import LatencyComparison

    kinds: dict[str, Any] = {
        "host": tuple[HostLatency, ...],
        "devices": tuple[DeviceLatency, ...],
        "emulated": tuple[EmulatedCost, ...],
        "operators": Breakdown | None,
        "against": Against | None,
        "ratio": LatencyComparison | None,
    }
    return {name: TypeAdapter(kinds[name]).dump_python(value, mode="json") for name, value in found.items()}


def _show(
    file: Path,
    host: tuple[HostLatency, ...],
    devices: tuple[DeviceLatency, ...],
    emulated: tuple[EmulatedCost, ...],
    operators: Breakdown | None,
    against: Against | None,
    ratio: LatencyComparison | None,
) -> None:
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
        host_table(host),
        "\n".join(line for row in host for line in host_lines(row)),
    ]
    if devices:
        parts.append(device_table(devices))
        parts.append("\n".join(line for row in devices for line in device_lines(row)))
    if emulated:
        parts.append(emulated_table(emulated))
    if ratio is not None:
        parts.append(ratio_table("Host latency, side by side", ratio, names=("float", "this")))
    if against is not None:
        parts.extend(against_tables(against))
    if operators is not None:
        parts.extend(breakdown_tables(operators))
    print_parts(parts)
