"""Gates on what an inference costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.figures import compared
from pipeline.validation.gates.quality import non_inferiority
from pipeline.validation.report import Verdict

if TYPE_CHECKING:
    from pipeline.config import GatesConfig
    from pipeline.validation.latency import LatencyComparison
    from pipeline.validation.report import Outcome, Report


def instructions(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """A warning where int8 costs a device of the target more instructions than float does."""
    verdicts = []
    for device in report.devices:
        ratio = device.instruction_ratio
        if ratio is not None:
            outcome: Outcome = "passed" if ratio >= 1 else "warning"
            got = _than_float(ratio)
            verdicts.append(
                Verdict(
                    gate="instructions",
                    subject=device.device,
                    outcome=outcome,
                    got=got,
                    allowed="not more than float",
                )
            )
    return tuple(verdicts)


def _than_float(ratio: float) -> str:
    found = compared(ratio, "fewer", "more")
    return "as many as float" if found == "equal" else f"{found} than float"


def latency(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """A warning where int8 is shown to be slower than float on this host, whose kernels are its own."""
    if report.latency is None:
        return ()
    outcome = _timed(report.latency)
    got = f"{report.latency.verdict}, {_ratio(report.latency)} of float's speed"
    return (Verdict(gate="latency", outcome=outcome, got=got, allowed="not slower than float"),)


def regression(report: Report, allowed: GatesConfig) -> tuple[Verdict, ...]:
    """Against another file: no more instructions on any device, no worse metric; a warning if slower.

    Host time is a wall clock's, which never fails a build by itself.
    """
    found = report.against
    if found is None:
        return ()
    verdicts = []
    for change in found.devices:
        ok = change.growth <= allowed.instruction_growth
        counts = f"{change.candidate.instructions:,} against {change.reference.instructions:,}"
        verdicts.append(
            Verdict(
                gate="regression",
                subject=f"instructions, {change.candidate.device}",
                outcome="passed" if ok else "failed",
                got=f"{change.growth:+.2%} ({counts})",
                allowed=f"up to {allowed.instruction_growth:+.1%}",
            )
        )
    for comparison in found.accuracy:
        of = comparison.output if len(found.accuracy) > 1 else ""
        verdicts.append(
            non_inferiority(
                "regression", comparison.primary, comparison.samples, allowed, comparison.primary.name, of
            )
        )
    if found.note and not found.accuracy:
        undecided: Outcome = "failed" if allowed.inconclusive == "fail" else "inconclusive"
        verdicts.append(
            Verdict(
                gate="regression", subject="accuracy", outcome=undecided, got=found.note, allowed="not worse"
            )
        )
    if found.latency is not None:
        got = f"{found.latency.verdict}, {_ratio(found.latency)} of its speed"
        outcome = _timed(found.latency)
        verdicts.append(
            Verdict(gate="regression", subject="host latency", outcome=outcome, got=got, allowed="not slower")
        )
    return tuple(verdicts)


def _timed(latency: LatencyComparison) -> Outcome:
    """Judge wall-clock times: only warn, whatever ``inconclusive`` is set to."""
    if latency.verdict == "inconclusive":
        return "inconclusive"
    return "warning" if latency.verdict == "slower" else "passed"


def _ratio(latency: LatencyComparison) -> str:
    return f"{latency.speedup:.2f}x [{latency.low:.2f}, {latency.high:.2f}]"
