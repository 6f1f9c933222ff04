"""Gates: what a report must show before there is a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.validate.comparison import non_inferior
from pipeline.validate.report import Verdict
from pipeline.validate.resampling import holm

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.config import GateName, GatesConfig
    from pipeline.validate.comparison import Metric
    from pipeline.validate.report import Outcome, Report


SMALL_FILE_BYTES = 32 * 1024
# Operators with arithmetic of their own that LiteRT 2.3's XNNPACK does not take in int8.
WITHOUT_XNNPACK_INT8 = frozenset({"UNIDIRECTIONAL_SEQUENCE_LSTM", "BATCH_MATMUL", "CONV_3D"})


def judge(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Ask every gate.

    Raises:
        ConfigError: there is no gate to ask, which would be a pass without evidence.
    """
    verdicts = tuple(verdict for name in allowed.ask for verdict in GATES[name](report, allowed))
    if not verdicts:
        msg = "none of the gates that are asked applies here: passing would show nothing; ask more in [gates]"
        raise ConfigError(msg)
    return verdicts


def _verdict(gate: str, ok: bool, got: str, allowed: str) -> Verdict:
    return Verdict(gate=gate, outcome="passed" if ok else "failed", got=got, allowed=allowed)


def accuracy(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Non-inferiority of int8 on paired samples: on the host, and on each device whose bits differ from it.

    It passes where the whole 95 % interval is within the margin, and fails where int8 is shown to be worse
    (the whole interval is below 0) and the estimate is beyond the margin. In between the samples are too few
    to tell. Every output is judged by its primary metric, which is on a scale to 100 whatever the task, and a
    classifier of two classes by its AUC too.
    """
    if not report.accuracy:
        alone = report.runtimes[0]
        got = "no labelled data"
        if alone.value is not None:
            got = f"{alone.metric} {alone.value:.2f}, no float baseline to compare with"
        limit = f"above -{allowed.accuracy_drop_points:g} points"
        return (Verdict(gate="accuracy", outcome="not judged", got=got, allowed=limit),)
    verdicts = []
    for place, compared in (
        ("", report.accuracy),
        *((f" on {d.device}", d.accuracy) for d in report.devices),
    ):
        for found in compared:
            of = f" of {found.output}" if len(compared) > 1 else ""
            for metric in found.gated:
                gate = "accuracy" if metric is found.primary else metric.name
                verdicts.append(_non_inferiority(f"{gate}{of}{place}", metric, found.samples, allowed))
    return tuple(verdicts)


def _non_inferiority(gate: str, metric: Metric, samples: int, allowed: GatesConfig) -> Verdict:
    margin = allowed.accuracy_drop_points
    got = f"{metric.name} {change(metric)}"
    outcome: Outcome = "passed" if non_inferior(metric, margin) else "inconclusive"
    estimate, _, high = metric.gain
    if estimate <= -margin and high < 0:
        outcome = "failed"
    elif outcome == "inconclusive":
        outcome = "failed" if allowed.inconclusive == "fail" else outcome
        got += f", {samples:,} samples are too few to tell"
    limit = f"above -{margin:g} points" if metric.better == "higher" else f"below +{margin:g} points"
    return Verdict(gate=gate, outcome=outcome, got=got, allowed=limit)


def class_recall(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """No class is found less often than the margin allows: a mean hides what one class loses.

    A class fails where its flips show a loss (McNemar's exact test, Holm's correction for the number of
    classes) beyond the margin. Where the estimate is beyond it and not shown, the samples are too few.
    """
    margin = allowed.class_recall_drop_points
    verdicts = []
    for found in report.accuracy:
        classes = [(score, score.flips) for score in found.classes if score.flips and score.support]
        if not classes:
            continue
        shown = holm([flips.mcnemar_p for _, flips in classes])
        beyond = [
            (score, certain)
            for (score, _), certain in zip(classes, shown, strict=True)
            if score.recall_change <= -margin
        ]
        outcome: Outcome = "passed"
        if beyond:
            undecided: Outcome = "failed" if allowed.inconclusive == "fail" else "inconclusive"
            outcome = "failed" if any(certain for _, certain in beyond) else undecided
        worst, flips = min(classes, key=lambda row: row[0].recall_change)
        got = f"worst: {worst.name} {worst.recall_change:+.2f} points"
        got += f" ({flips.right_to_wrong} lost, {flips.wrong_to_right} gained of {worst.support:,})"
        verdicts.append(
            Verdict(
                gate="class recall" + (f" of {found.output}" if len(report.accuracy) > 1 else ""),
                outcome=outcome,
                got=got,
                allowed=f"above -{margin:g} points each",
            )
        )
    return tuple(verdicts)


def change(metric: Metric) -> str:
    """A metric's difference in points with its interval, for people."""
    interval = "" if metric.low is None else f" [{metric.low:+.2f}, {metric.high:+.2f}]"
    return f"{metric.difference:+.2f} points{interval}"


def float_baseline(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """A warning where the float model or the samples are such that keeping the metric shows little."""
    return tuple(
        Verdict(
            gate="float baseline" + (f" of {found.output}" if len(report.accuracy) > 1 else ""),
            outcome="warning",
            got=found.note,
            allowed="better than chance",
        )
        for found in report.accuracy
        if found.note
    )


def full_integer(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """No operator computes in floating point, and input and output are integers.

    It warns where the converter could not make that of the model.
    """
    left = report.quantized.float_operators
    got = "integers throughout" if report.quantized.integer_io else "a float input or output"
    if left:
        got = f"{len(left)} float operators, first {left[0]}"
    outcome: Outcome = "failed" if left or not report.quantized.integer_io else "passed"
    if report.degraded:
        got, outcome = f"{report.format}: {report.format_reason}", "warning"
    return (Verdict(gate="full integer", outcome=outcome, got=got, allowed="no float operator"),)


def size(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """The int8 file against the float file; a file of few kilobytes is mostly structure and only warns.

    So does one that could not become int8 throughout, or whose recurrent layers were written out.
    """
    if report.baseline is None:
        return ()
    got, limit = report.quantized.size_bytes, allowed.size_ratio * report.baseline.size_bytes
    excused = got < SMALL_FILE_BYTES or report.degraded or report.unrolled
    beyond: Outcome = "warning" if excused else "failed"
    outcome = "passed" if got <= limit else beyond
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
    """Share of the arithmetic that runs in XNNPACK int8 kernels.

    Of a model that could not become int8 throughout, XNNPACK's float kernels count too, and it only warns; so
    it does where the rest runs in operators that XNNPACK has no int8 kernel for.
    """
    placed = report.delegation[0]
    share, gate = placed.share("xnnpack-int8"), "XNNPACK int8"
    if report.degraded:
        share, gate = share + placed.share("xnnpack-float"), "XNNPACK"
    elsewhere = {node.op for node in placed.nodes if node.placement == "builtin"}
    without_kernel = sorted(elsewhere & WITHOUT_XNNPACK_INT8)
    got = f"{share:.1%}"
    if share < allowed.xnnpack_share and without_kernel:
        got += f"; XNNPACK has no int8 kernel for {', '.join(without_kernel)}"
    beyond: Outcome = "warning" if report.degraded or without_kernel else "failed"
    outcome = "passed" if share >= allowed.xnnpack_share else beyond
    limit = f"at least {allowed.xnnpack_share:.0%} of MACs"
    return (Verdict(gate=gate, outcome=outcome, got=got, allowed=limit),)


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
        if device.accuracy:
            there = device.accuracy[0]
            got += f"; {there.primary.name} {there.primary.quantized:.2f} of {there.samples:,} samples there"
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


GATES: dict[GateName, Callable[[Report, GatesConfig], tuple[Verdict, ...]]] = {
    "accuracy": accuracy,
    "class recall": class_recall,
    "float baseline": float_baseline,
    "full integer": full_integer,
    "size": size,
    "xnnpack": xnnpack,
    "same bits": bit_exactness,
    "stability": stability,
    "instructions": instructions,
    "other runtime": other_runtime,
}
