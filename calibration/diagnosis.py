"""The diagnosis of a calibration set: its measurements, and a finding for each check."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from calibration.findings import Finding

if TYPE_CHECKING:
    from calibration.checks import DataChecks
    from calibration.tensor_checks import TensorChecks


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What is known of a calibration set.

    Attributes:
        model, data: where they were read from.
        samples: what is known without the model.
        method: how ranges are chosen.
        other_ranges: how to choose them instead, as a fix; "" if all ways were compared.
        ranges: of the tensors of the float model; None if it did not run.
        problem: why it did not run; "" if it did.
    """

    model: str
    data: str
    samples: DataChecks
    method: str
    ranges: TensorChecks | None
    problem: str = ""
    other_ranges: str = ""

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """One for each check, in a fixed order; those of samples first."""
        if self.ranges is None:
            found = [Finding(check="outliers", outcome="skipped", text=self.problem)]
        else:
            counts = self.samples.samples, self.samples.training_samples
            found = self.ranges.findings(*counts, self.other_ranges)
        return (*self.samples.findings(), *found)

    @property
    def failed(self) -> tuple[str, ...]:
        """Checks that failed, once each."""
        return tuple(dict.fromkeys(each.check for each in self.findings if each.outcome == "failed"))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-like values, with the findings and the names of failed checks."""
        found = [asdict(each) for each in self.findings]
        return asdict(self) | {"findings": found, "failed": list(self.failed)}
