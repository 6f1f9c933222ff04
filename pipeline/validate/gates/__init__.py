"""Gates: what a report must show before there is a release."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.validate.gates import behaviour, cost, quality, structure

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.config import GateName, GatesConfig
    from pipeline.validate.report import Report, Verdict


def judged(report: Report, allowed: GatesConfig) -> Report:
    """Return the report with the verdicts of all enabled gates, and of each shift.

    Raises:
        ConfigError: no gate applies.
    """
    shift = report.shift and report.shift.judged(allowed.shift_drop_points)
    return replace(report, shift=shift, verdicts=judge(report, allowed))


def judge(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Judge the report by every enabled gate.

    Raises:
        ConfigError: none applies, which would be a pass without evidence.
    """
    verdicts = tuple(verdict for name in allowed.enabled for verdict in GATES[name](report, allowed))
    if all(verdict.outcome == "skipped" for verdict in verdicts):
        msg = "no enabled gate applies, so passing would show nothing; enable more gates, or give data"
        raise ConfigError(msg)
    return verdicts


GATES: dict[GateName, Callable[[Report, GatesConfig], tuple[Verdict, ...]]] = {
    "accuracy": quality.accuracy,
    "per-class recall": quality.per_class_recall,
    "shift": quality.shift,
    "float baseline": quality.float_baseline,
    "full integer": structure.full_integer,
    "size": structure.size,
    "xnnpack": structure.xnnpack,
    "bit-exactness": behaviour.bit_exactness,
    "finite outputs": behaviour.finite_outputs,
    "stability": behaviour.stability,
    "faults": behaviour.faults,
    "board": behaviour.board,
    "instructions": cost.instructions,
    "latency": cost.latency,
    "regression": cost.regression,
    "compatibility": structure.compatibility,
    "cross-runtime": structure.cross_runtime,
}
