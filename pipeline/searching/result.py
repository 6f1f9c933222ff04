"""What a search found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.searching.front import BASELINE

if TYPE_CHECKING:
    from pipeline.searching.objectives import Outcome
    from pipeline.validation.report import Report


def front_folder(number: int) -> Path:
    """Return the folder of a validated candidate's build in that of its search."""
    return Path("front") / ("own" if number == BASELINE else f"{number:04d}")


@dataclass(frozen=True, kw_only=True)
class Validated:
    """A candidate that was built and validated on the target.

    Attributes:
        number: of its trial.
        folder: of the build.
        digest: of the release; "" if a gate failed.
        problem: which gates failed; "" if it passed.
        report: None if a gate failed.
    """

    number: int
    folder: Path
    digest: str = ""
    problem: str = ""
    report: Report | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """The result of a search.

    Attributes:
        objectives: names, in the order of the values.
        outcomes: by number of the trial; ``BASELINE`` is the user's own settings.
        front: the numbers of those that no other one beats in every objective.
        validated: those of the front that were built, the cheapest first.
        chosen: the number of the cheapest that passed every gate; None if none did.
        folder: of the search.
    """

    objectives: tuple[str, ...]
    outcomes: dict[int, Outcome]
    front: tuple[int, ...]
    validated: tuple[Validated, ...]
    chosen: int | None
    folder: Path
