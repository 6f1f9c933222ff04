"""Gates: what a report must show before there is a release."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - an attribute's type
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from pipeline.errors import ConfigError
from pipeline.validation.gates import behaviour, cost, quality, structure
from pipeline.validation.plan import Measurement

if TYPE_CHECKING:
    from collections.abc import Collection

    from pipeline.config import GateName, GatesConfig
    from pipeline.validation.report import Report, Verdict


def with_verdicts(report: Report, allowed: GatesConfig) -> Report:
    """Return the report with the verdicts of all enabled gates, and of each shift.

    Raises:
        ConfigError: no gate applies.
    """
    shift = report.shift and report.shift.with_verdicts(allowed.shift_drop_points)
    return replace(report, shift=shift, verdicts=evaluate_gates(report, allowed))


def evaluate_gates(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Return the verdicts of every enabled gate.

    Raises:
        ConfigError: none applies, which would be a pass without evidence.
    """
    verdicts = tuple(verdict for name in allowed.enabled for verdict in GATES[name].evaluate(report, allowed))
    if all(verdict.outcome == "skipped" for verdict in verdicts):
        raise _none_applies(allowed.enabled)
    return verdicts


def with_inputs(enabled: Collection[GateName], given: Collection[str]) -> tuple[GateName, ...]:
    """Return the enabled gates whose inputs are given.

    Args:
        enabled: the gates.
        given: inputs as in ``Gate.inputs``.

    Raises:
        ConfigError: there are none; says what each gate needs.
    """
    found = tuple(name for name in enabled if set(GATES[name].inputs) <= set(given))
    if not found:
        raise _none_applies(enabled)
    return found


def _none_applies(enabled: Collection[GateName]) -> ConfigError:
    needs = [f"{name} needs {' and '.join(GATES[name].inputs)}" for name in enabled if GATES[name].inputs]
    fixes = "; ".join((*needs, "full integer applies to every file"))
    return ConfigError(f"no enabled gate applies, so passing would show nothing; {fixes}")


def plan(enabled: Collection[GateName]) -> tuple[Measurement, ...]:
    """Return the measurements that these gates need; for all gates every measurement there is."""
    everything: tuple[Measurement, ...] = get_args(Measurement)
    if set(enabled) >= set(GATES):
        return everything
    needed = {measurement for name in enabled for measurement in GATES[name].needs}
    return tuple(measurement for measurement in everything if measurement in needed)


@dataclass(frozen=True)
class Gate:
    """A gate.

    Attributes:
        evaluate: gives the verdicts on a report, none where the gate does not apply.
        needs: what has to be measured for it, besides the file itself and the golden set on this host.
        inputs: what the user has to give for it, besides the file.
    """

    evaluate: Callable[[Report, GatesConfig], tuple[Verdict, ...]]
    needs: tuple[Measurement, ...] = ()
    inputs: tuple[str, ...] = ()


COMPARED = ("--data", "--baseline")
GATES: dict[GateName, Gate] = {
    "accuracy": Gate(quality.accuracy, ("accuracy",), COMPARED),
    "per-class recall": Gate(quality.per_class_recall, ("accuracy",), COMPARED),
    "shift": Gate(quality.shift, ("shift",), COMPARED),
    "float baseline": Gate(quality.float_baseline, ("accuracy",), ("--data",)),
    "full integer": Gate(structure.full_integer),
    "size": Gate(structure.size, inputs=("--baseline",)),
    "download": Gate(structure.download, inputs=("[gates] download_bytes",)),
    "xnnpack": Gate(structure.xnnpack),
    "bit-exactness": Gate(behaviour.bit_exactness, ("devices", "parity")),
    "parity": Gate(behaviour.parity, ("devices", "cross-runtime", "parity")),
    "finite outputs": Gate(behaviour.finite_outputs),
    "stability": Gate(behaviour.stability, ("stability",)),
    "faults": Gate(behaviour.faults, ("faults",)),
    "board": Gate(behaviour.board, ("board",), ("--device board",)),
    "instructions": Gate(cost.instructions, ("devices",), ("--baseline",)),
    "latency": Gate(cost.latency, ("latency",), ("--baseline",)),
    "regression": Gate(cost.regression, ("regression", "devices"), ("--against",)),
    "compatibility": Gate(structure.compatibility, inputs=("[gates] min_runtime",)),
    "cross-runtime": Gate(structure.cross_runtime, ("accuracy", "cross-runtime")),
}
