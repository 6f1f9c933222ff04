"""Gates on what the model answers: its metric, every class, other distributions."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING

from pipeline.tasks.comparison import non_inferior
from pipeline.tasks.spec import TASKS
from pipeline.validation.report import Verdict
from pipeline.validation.resampling import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.config import GateName, GatesConfig
    from pipeline.tasks.comparison import Channel, Comparison, Metric
    from pipeline.validation.report import Outcome, Report

MIN_SUPPORT = 20
"""Samples of a class below which its recall says little."""
UNEVEN_SPREADS = 16.0
"""Beyond this ratio one int8 scale leaves the smaller channel less than 4 of its 8 bits."""
MAX_NAMED = 3


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
        return (Verdict(gate="accuracy", outcome="skipped", got=got, allowed=limit),)
    verdicts = []
    for place, compared in (("", report.accuracy), *((d.device, d.accuracy) for d in report.devices)):
        for found in compared:
            of = found.output if len(compared) > 1 else ""
            verdicts += accuracy_of(found, allowed, of, place)
    return tuple(verdicts)


def accuracy_of(found: Comparison, allowed: GatesConfig, of: str = "", place: str = "") -> list[Verdict]:
    """Judge one output.

    Args:
        found: its comparison with float.
        allowed: the margins.
        of: its name, if the model has several.
        place: the device; "" for the host.
    """
    verdicts = []
    for metric in found.gated:
        which = "" if metric is found.primary else metric.name
        verdicts.append(non_inferiority("accuracy", metric, found.samples, allowed, which, of, place))
    if found.channels:
        verdicts.append(_by_channel(found, allowed, "by channel", of, place))
    return verdicts


def _by_channel(found: Comparison, allowed: GatesConfig, *subject: str) -> Verdict:
    """Check that no channel loses the margin or more: an average hides a dead channel.

    A channel fails where its loss is shown for all channels together and is beyond the margin.
    """
    margin = allowed.channel_drop_points
    channels = [channel for channel in found.channels if channel.explained.baseline > 0] or [
        found.channels[0]
    ]
    certain = shown([channel.explained for channel in channels], found.channel_count)
    beyond = [
        (channel, sure)
        for channel, sure in zip(channels, certain, strict=True)
        if channel.explained.baseline > 0 and channel.explained.difference <= -margin
    ]
    worst = channels[0]
    got = f"worst of {found.channel_count}: {worst.name}, R2 {worst.explained.baseline:.2f} to "
    got += f"{worst.explained.quantized:.2f}, {change(worst.explained)}"
    outcome: Outcome = "passed"
    if beyond:
        undecided: Outcome = "failed" if allowed.inconclusive == "fail" else "inconclusive"
        outcome = "failed" if any(sure for _, sure in beyond) else undecided
        others = [channel.name for channel, _ in beyond[1:]]
        if others:
            more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
            got += f"; also {', '.join(others[:MAX_NAMED])}{more}"
        got += _uneven(found, worst)
    return Verdict(
        gate="accuracy",
        subject=_joined(subject),
        outcome=outcome,
        got=got,
        allowed=f"above -{margin:g} points each",
    )


def _joined(parts: Iterable[str]) -> str:
    """Return the name of what is judged, e.g. "AUC, output kind, rpi4"."""
    return ", ".join(filter(None, parts))


def _uneven(found: Comparison, worst: Channel) -> str:
    """Return how to keep a channel that is small beside another one, with which it shares a scale."""
    widest = max(found.channels, key=lambda channel: channel.spread)
    if widest.spread < UNEVEN_SPREADS * worst.spread:
        return ""
    return (
        f"; its targets vary by {worst.spread:.3g}, those of {widest.name} by {widest.spread:.3g}, and one "
        "int8 scale serves both: give the model an output for each, or normalize the targets"
    )


def non_inferiority(
    gate: GateName, metric: Metric, samples: int, allowed: GatesConfig, *subject: str
) -> Verdict:
    """Judge one metric's paired difference against the margin of accuracy.

    Args:
        gate: that asks.
        metric: of int8 and float on the same samples.
        samples: how many there are.
        allowed: the margin, and what becomes of too few samples.
        subject: parts of the verdict's subject; "" is left out.
    """
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
    return Verdict(gate=gate, subject=_joined(subject), outcome=outcome, got=got, allowed=limit)


def change(metric: Metric) -> str:
    """A metric's difference in points with its interval, for people."""
    interval = "" if metric.low is None else f" [{metric.low:+.2f}, {metric.high:+.2f}]"
    return f"{metric.difference:+.2f} points{interval}"


def per_class_recall(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Check that no class loses more F1 than the margin: an average hides which class loses.

    F1 joins recall and precision. Recall alone would punish the repair of a class that float says too often.
    A class fails where the paired interval of its F1 shows a loss (Holm's correction for the number of
    classes) beyond the margin. Where the estimate is beyond it and not shown, the samples are too few.
    """
    found = (
        class_recall_of(each, allowed, each.output if len(report.accuracy) > 1 else "")
        for each in report.accuracy
    )
    return tuple(verdict for verdict in found if verdict is not None)


def class_recall_of(found: Comparison, allowed: GatesConfig, of: str = "") -> Verdict | None:
    """Judge the classes of one output, as ``accuracy_of`` does; None if it has none."""
    margin = allowed.class_recall_drop_points
    classes = [(score, score.f1_change) for score in found.classes if score.f1_change and score.support]
    if not classes:
        return None
    certain = shown([f1 for _, f1 in classes])
    beyond = [sure for (_, f1), sure in zip(classes, certain, strict=True) if f1.difference <= -margin]
    outcome: Outcome = "passed"
    if beyond:
        undecided: Outcome = "failed" if allowed.inconclusive == "fail" else "inconclusive"
        outcome = "failed" if any(beyond) else undecided
    worst, f1 = min(classes, key=lambda row: row[1].difference)
    got = f"worst: {worst.name}, F1 {change(f1)}, recall {worst.recall_change:+.2f}"
    got += f", precision {worst.precision_change:+.2f} of {worst.support:,} samples"
    limit = f"above -{margin:g} points each"
    return Verdict(gate="per-class recall", subject=of, outcome=outcome, got=got, allowed=limit)


def float_baseline(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Fail where a model is no better than chance, and warn where keeping the metric shows little.

    A build stops before training where its float model is no better than chance; here files are judged.
    """
    at_chance = {found.output: found for found in report.chance if found.standing == "at chance"}
    verdicts = [
        Verdict(
            gate="float baseline",
            subject=output,
            outcome="warning" if allowed.allow_chance else "failed",
            got="; ".join(filter(None, (f"no better than chance: {replace(found, output='')}", found.hint))),
            allowed="better than chance",
        )
        for output, found in at_chance.items()
    ]
    verdicts += [
        Verdict(
            gate="float baseline",
            subject=found.output if len(report.accuracy) > 1 else "",
            outcome="warning",
            got=problem,
            allowed="better than chance",
        )
        for found in report.accuracy
        if found.output not in at_chance and (problem := found.note or _not_found(found))
    ]
    return tuple(verdicts)


def _not_found(found: Comparison) -> str:
    """Name the classes that the float model finds, or says, no better than by chance."""
    if not TASKS[found.task].one_class:
        return ""
    chance = 1 / max(len(found.classes), 2)
    lost = []
    for score in found.classes:
        right = (score.baseline.recall or 0) * score.support
        predicted = right / score.baseline.precision if score.baseline.precision else 0
        if _is_chance(right, score.support, chance):
            lost.append(f"{score.name} (recall {score.baseline.recall:.1%})")
        elif _is_chance(right, predicted, chance):
            lost.append(f"{score.name} (precision {score.baseline.precision:.1%})")
    return f"no better than chance on {', '.join(lost)}: are the labels right?" if lost else ""


def _is_chance(right: float, count: float, chance: float) -> bool:
    """Return whether so many right ones of ``count`` may be luck; of few, nothing is said."""
    return count >= MIN_SUPPORT and right <= count * chance + 1.96 * sqrt(count * chance * (1 - chance))


def shift(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Under no shift of the inputs does int8 lose more than float does, beyond its loss on clean samples.

    A shift counts where its verdict is "int8 loses more" (see ``Excess.verdict``). It fails on the user's own
    data, and warns on corruptions and priors unless they are to fail: whether a device meets those, the user
    knows.
    """
    if report.shift is None:
        return ()
    margin = allowed.shift_drop_points
    found = report.shift.with_verdicts(margin)
    shifts = [shift for shift in found.shifts if shift.pooled is not None]
    if not shifts:
        return ()
    losing = found.losing
    worst = min(losing or shifts, key=lambda shift: shift.excess)
    got = f"{len(losing)} of {len(shifts)} lose more"
    got += f"; worst: {worst.name.replace('_', ' ')} {worst.excess:+.2f} points"
    fails = allowed.synthetic_shift == "fail" or any(each.source == "own data" for each in losing)
    beyond: Outcome = "failed" if fails else "warning"
    outcome = beyond if losing else "passed"
    limit = f"above -{margin:g} points beyond the clean loss"
    return (Verdict(gate="shift", outcome=outcome, got=got, allowed=limit),)
