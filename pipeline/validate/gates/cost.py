"""Gates on what an inference costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.validate.report import Verdict

if TYPE_CHECKING:
    from pipeline.config import GatesConfig
    from pipeline.validate.report import Outcome, Report


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
