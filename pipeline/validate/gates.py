"""Gates: what a report must show before there is a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.validate.accuracy import non_inferior
from pipeline.validate.report import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.config import GatesConfig
    from pipeline.validate.report import Outcome, Report


SMALL_FILE_BYTES = 32 * 1024


def judge(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Ask every gate.

    Raises:
        ConfigError: there is no gate to ask, which would be a pass without evidence.
    """
    verdicts = tuple(verdict for gate in GATES for verdict in gate(report, allowed))
    if not verdicts:
        msg = "no gate applies to this report: nothing would be shown by passing"
        raise ConfigError(msg)
    return verdicts


def _verdict(gate: str, ok: bool, got: str, allowed: str) -> Verdict:
    return Verdict(gate=gate, outcome="passed" if ok else "failed", got=got, allowed=allowed)


def accuracy(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Non-inferiority of int8 on paired samples: on the host, and on each device whose bits differ from it.

    It passes where the whole 95 % interval is within the margin, and fails where the estimate is beyond it.
    In between the samples are too few to tell.
    """
    margin = allowed.accuracy_drop_points
    limit = f"above -{margin:g} points"
    if report.accuracy is None:
        alone = report.runtimes[0].accuracy
        got = "no labelled data" if alone is None else f"{alone:.2%}, no float baseline to compare with"
        return (Verdict(gate="accuracy", outcome="not judged", got=got, allowed=limit),)
    found = {"accuracy": report.accuracy}
    found |= {f"accuracy on {d.device}": d.accuracy for d in report.devices if d.accuracy is not None}
    verdicts = []
    for gate, compared in found.items():
        interval = f"[{compared.low_points:+.2f}, {compared.high_points:+.2f}]"
        got = f"{compared.difference_points:+.2f} points {interval}"
        outcome: Outcome = "passed" if non_inferior(compared, margin) else "inconclusive"
        if compared.difference_points <= -margin:
            outcome = "failed"
        elif outcome == "inconclusive":
            outcome = "failed" if allowed.inconclusive == "fail" else outcome
            got += f", {compared.samples:,} samples are too few to tell"
        verdicts.append(Verdict(gate=gate, outcome=outcome, got=got, allowed=limit))
    return tuple(verdicts)


def full_integer(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """No operator computes in floating point, and input and output are integers."""
    left = report.quantized.float_operators
    got = "integers throughout" if report.quantized.integer_io else "a float input or output"
    if left:
        got = f"{len(left)} float operators, first {left[0]}"
    return (_verdict("full integer", not left and report.quantized.integer_io, got, "no float operator"),)


def size(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """The int8 file against the float file; a file of few kilobytes is mostly structure and only warns."""
    if report.baseline is None:
        return ()
    got, limit = report.quantized.size_bytes, allowed.size_ratio * report.baseline.size_bytes
    small: Outcome = "warning" if got < SMALL_FILE_BYTES else "failed"
    outcome = "passed" if got <= limit else small
    ratio = f"{got / report.baseline.size_bytes:.2f} of float"
    return (Verdict(gate="size", outcome=outcome, got=ratio, allowed=f"{allowed.size_ratio:.2f} of float"),)


def other_runtime(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """A warning where a runtime that devices may still carry cannot run the model."""
    return tuple(
        Verdict(gate=found.runtime.partition(",")[0], outcome="warning", got=found.problem, allowed="runs it")
        for found in report.runtimes
        if found.problem
    )


def xnnpack(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Share of the arithmetic that runs in XNNPACK int8 kernels."""
    share = report.delegation[0].share("xnnpack-int8")
    limit = f"at least {allowed.xnnpack_share:.0%} of MACs"
    return (_verdict("XNNPACK int8", share >= allowed.xnnpack_share, f"{share:.1%}", limit),)


def bit_exactness(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Every device returns the host's bits, so that the host's accuracy is the device's.

    A device that is off by no more than the allowed steps is judged on its own accuracy, and a warning says
    so. XNNPACK kernels agree to the bit; builtin ones such as SOFTMAX have tables of their own on Arm.
    """
    most = allowed.bit_difference_steps
    limit = f"all equal, or within {most}" if most else "all equal"
    verdicts = []
    for device in report.devices:
        equal = device.golden_samples - device.differing_samples
        got = f"{equal} of {device.golden_samples} equal"
        outcome: Outcome = "passed"
        if device.differing_samples:
            got += f", off by {device.largest_difference:g}"
            outcome = "warning" if device.largest_difference <= most else "failed"
        if there := device.accuracy:
            got += f"; {there.quantized_accuracy:.2%} of {there.samples:,} there"
        gate = f"same bits on {device.device}"
        verdicts.append(Verdict(gate=gate, outcome=outcome, got=got, allowed=limit))
    return tuple(verdicts)


def stability(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Constant outputs, memory and open files over a long run; one output for every thread count."""
    limit = f"all equal, under +{allowed.memory_growth_bytes / 1024:.0f} KiB"
    verdicts = []
    for run in report.stability:
        same = run.changed_outputs == 0 and run.output_sha256 == report.stability[0].output_sha256
        ok = same and run.growth_bytes <= allowed.memory_growth_bytes and not run.leaked_files
        got = (
            f"{run.inferences:,} equal"
            if same
            else f"{run.changed_outputs or 'all'} of {run.inferences:,} differ"
        )
        got += f", {run.growth_bytes / 1024:+.0f} KiB"
        if run.leaked_files:
            got += f", {run.leaked_files} files left open"
        verdicts.append(_verdict(f"stable on {run.threads} thread{'s' * (run.threads > 1)}", ok, got, limit))
    return tuple(verdicts)


def instructions(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """A warning where int8 costs a device of the target more instructions than float does."""
    verdicts = []
    for device in report.devices:
        ratio = device.instruction_ratio
        if ratio is not None:
            outcome: Outcome = "passed" if ratio >= 1 else "warning"
            got = f"{ratio:.2f}x fewer than float" if ratio >= 1 else f"{1 / ratio:.2f}x more than float"
            verdicts.append(
                Verdict(
                    gate=f"instructions on {device.device}",
                    outcome=outcome,
                    got=got,
                    allowed="not more than float",
                )
            )
    return tuple(verdicts)


GATES: tuple[Callable[[Report, GatesConfig], tuple[Verdict, ...]], ...] = (
    accuracy,
    full_integer,
    size,
    xnnpack,
    bit_exactness,
    stability,
    instructions,
    other_runtime,
)
