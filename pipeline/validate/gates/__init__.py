"""Gates: what a report must show before there is a release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.validate.gates import behaviour, cost, quality, structure

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.config import GateName, GatesConfig
    from pipeline.validate.report import Report, Verdict


def judge(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Ask every gate.

    Raises:
        ConfigError: there is no gate to ask, which would be a pass without evidence.
    """
    verdicts = tuple(verdict for name in allowed.ask for verdict in GATES[name](report, allowed))
    if all(verdict.outcome == "not judged" for verdict in verdicts):
        msg = "no gate that is asked has an answer: passing would show nothing; ask more gates, or give data"
        raise ConfigError(msg)
    return verdicts


GATES: dict[GateName, Callable[[Report, GatesConfig], tuple[Verdict, ...]]] = {
    "accuracy": quality.accuracy,
    "class recall": quality.class_recall,
    "shift": quality.shift,
    "float baseline": quality.float_baseline,
    "full integer": structure.full_integer,
    "size": structure.size,
    "xnnpack": structure.xnnpack,
    "same bits": behaviour.bit_exactness,
    "finite outputs": behaviour.finite_outputs,
    "stability": behaviour.stability,
    "faults": behaviour.faults,
    "board": behaviour.board,
    "instructions": cost.instructions,
    "latency": cost.latency,
    "regression": cost.regression,
    "compatibility": structure.compatibility,
    "other runtime": structure.other_runtime,
}
