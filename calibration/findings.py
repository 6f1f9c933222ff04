"""What the checks of a calibration set find: one line each, with its fix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Check = Literal[
    "coverage",
    "values",
    "duplicates",
    "leakage",
    "outliers",
    "resolution",
    "stability",
    "number of samples",
]
Outcome = Literal["passed", "warning", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer of one check.

    Attributes:
        subject: what was checked where a check looks at several things, such as an input; else "".
        text: what was found.
        fix: what to do about it; "" if there is nothing to do.
    """

    check: Check
    outcome: Outcome
    subject: str = ""
    text: str
    fix: str = ""
