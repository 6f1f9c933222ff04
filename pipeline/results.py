"""What the functions of the Python API return: the figures, where the files are, and a view for notebooks.

``print`` gives the text that the command prints, a notebook shows the same as HTML.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.terminal import FILE_WIDTH, Terminal, print_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rich.console import RenderableType

    from pipeline.planning.goal import Goal
    from pipeline.planning.plan import Plan
    from pipeline.searching.objectives import Outcome
    from pipeline.searching.result import Found
    from pipeline.validation.report import Report

PAGE = "report.html"


class _Shown:
    """What is shown of a result, as text and as HTML."""

    def _parts(self) -> Iterable[RenderableType]:
        raise NotImplementedError

    def __str__(self) -> str:
        stream = io.StringIO()
        console = Terminal(file=stream, width=FILE_WIDTH, color_system=None, highlight=False, markup=False)
        print_parts(self._parts(), console)
        return stream.getvalue().rstrip()

    def _repr_html_(self) -> str:
        from pipeline.report.parts_html import parts_html

        return parts_html(self._parts())


@dataclass(frozen=True, kw_only=True)
class BuildResult(_Shown):
    """A finished build.

    Attributes:
        passed: whether every gate was passed; otherwise nothing is released.
        release: the folder of the release; None if a gate failed.
        digest: of the release, the same for the same inputs on the same machine; None if a gate failed.
        report: all measurements and the verdicts of the gates.
        report_folder: where report.html, .json, .txt and junit.xml are.
    """

    passed: bool
    release: Path | None
    digest: str | None
    report: Report = field(repr=False)
    report_folder: Path

    def _parts(self) -> Iterator[RenderableType]:
        from pipeline.report.text import report_parts

        yield from report_parts(self.report, full=False)
        yield f"release  {self.release or 'none: a gate failed'}\nreport   {self.report_folder / PAGE}"


@dataclass(frozen=True, kw_only=True)
class ValidationResult(_Shown):
    """A validated file.

    Attributes:
        passed: whether every gate was passed.
        report: all measurements and the verdicts of the gates.
        report_folder: where report.html, .json, .txt and junit.xml are; None if ``out`` was not given.
    """

    passed: bool
    report: Report = field(repr=False)
    report_folder: Path | None

    def _parts(self) -> Iterator[RenderableType]:
        from pipeline.report.text import report_parts

        yield from report_parts(self.report, full=False)
        if self.report_folder is not None:
            yield f"report   {self.report_folder / PAGE}"


@dataclass(frozen=True, kw_only=True)
class PlanResult(_Shown):
    """What compression is predicted to buy.

    Attributes:
        passed: whether a recipe reaches the goal; True without a goal.
        recommended: the recipe for the goal; None without a goal, or if no recipe reaches it.
        plan: the figures of every recipe.
        goal: the limits that were asked for; None for none.
        command: the build of the same model and settings, for a shell.
    """

    passed: bool
    recommended: str | None
    plan: Plan = field(repr=False)
    goal: Goal | None
    command: str = field(repr=False)

    def _parts(self) -> Iterator[RenderableType]:
        from pipeline.report.plan import plan_parts

        yield from plan_parts(self.plan, self.goal, self.command)


@dataclass(frozen=True, kw_only=True)
class SearchResult(_Shown):
    """A finished search.

    Attributes:
        passed: whether a candidate passed every gate.
        folder: of the search: search.html, search.json and the study.
        target: what was searched for.
        found: every trial, the front, and the candidates that were validated.
    """

    passed: bool
    folder: Path
    target: str
    found: Found = field(repr=False)

    @property
    def front(self) -> tuple[Outcome, ...]:
        """The trials that no other one beats in every figure."""
        return tuple(self.found.outcomes[number] for number in self.found.front)

    @property
    def recipe(self) -> str | None:
        """The recipe of the chosen candidate: the cheapest that passed every gate; None if none did."""
        return None if self.found.chosen is None else self.found.outcomes[self.found.chosen].recipe

    @property
    def settings(self) -> Path | None:
        """The settings file that builds the chosen candidate; None if there is none."""
        return self.folder / "pipeline.toml" if self.passed else None

    @property
    def release(self) -> Path | None:
        """The folder of the chosen candidate's release; None if there is none."""
        validated = {each.number: each.folder for each in self.found.validated}
        return None if self.found.chosen is None else validated[self.found.chosen]

    def _parts(self) -> Iterator[RenderableType]:
        from pipeline.searching.report import search_parts

        yield from search_parts(self.found, self.target)
        yield f"page    {self.folder / 'search.html'}"
