"""The result of a search in the terminal and as JSON: the front, what was chosen, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.report.plan import short
from pipeline.report.tables import make_table
from pipeline.searching.front import BASELINE, baseline, beats
from pipeline.searching.objectives import cost_ratio, is_maximized

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from pipeline.searching.objectives import Outcome
    from pipeline.searching.result import Found

MAX_ROWS = 20


@dataclass(frozen=True, kw_only=True)
class StageTime:
    """Seconds of a stage over all trials: of those that ran, and what reuse saved."""

    stage: str
    runs: int
    reused: int
    spent: float
    saved: float


def search_parts(found: Found, target: str) -> Iterator[RenderableType]:
    """Yield the front, how the trials ended, and what was chosen with the commands that use it."""
    rows = sorted(found.front, key=lambda number: -_score(found.outcomes[number]))
    title = f"Front: no other candidate beats these {len(found.front)} in every figure"
    if len(found.front) == 1:
        title = "Front: no other candidate beats this one in every figure"
    yield _table(title, found, [*rows[:MAX_ROWS], *([BASELINE] if BASELINE not in found.front else [])])
    if len(rows) > MAX_ROWS:
        yield f"{len(rows) - MAX_ROWS} more are in {found.folder / 'search.json'}."
    yield "\n".join([endings(found), _savings_line(found)])
    yield choice_text(found, target)


def _table(title: str, found: Found, numbers: list[int]) -> RenderableType:
    passed = {each.number: "failed a gate" if each.problem else "passed" for each in found.validated}
    names = [short_name(name) for name in found.objectives]
    table = make_table(title, "trial", "recipe", *names, "validated", numbers=0)
    for column in table.columns[2:-1]:
        column.justify = "right"
    for number in numbers:
        outcome = found.outcomes[number]
        if outcome.figures is None:
            continue
        values = [figure_text(name, outcome.figures.of(name)) for name in found.objectives]
        chosen = "  <- chosen" if number == found.chosen else ""
        name = "yours" if number == BASELINE else str(number)
        table.add_row(name, outcome.recipe, *values, f"{passed.get(number, '')}{chosen}")
    return table


def short_name(objective: str) -> str:
    """Return an objective's name as the heading of a column."""
    return objective.removesuffix(" instructions")


def figure_text(objective: str, value: float) -> str:
    """Return a value of an objective as tables show it."""
    return f"{value:.2f}" if is_maximized(objective) else short(round(value))


def _score(outcome: Outcome) -> float:
    return outcome.figures.score if outcome.figures else 0.0


def endings(found: Found) -> str:
    """Say how the trials ended."""
    trials = {number: outcome for number, outcome in found.outcomes.items() if number != BASELINE}
    states = Counter(outcome.state for outcome in trials.values())
    beyond = sum(1 for each in trials.values() if each.state == "complete" and not each.is_feasible)
    parts = [f"{len(trials)} trials: {states['complete']} complete ({beyond} beyond a limit)"]
    parts += [f"{states['stopped']} stopped early"] if states["stopped"] else []
    parts += [f"{states['refused']} with a recipe that does not suit the model"] if states["refused"] else []
    return ", ".join(parts)


def _savings_line(found: Found) -> str:
    spent, saved = seconds(found.outcomes)
    return f"Stages took {spent:,.0f} s; {saved:,.0f} s more were saved, because trials share them"


def seconds(outcomes: dict[int, Outcome]) -> tuple[float, float]:
    """Return the seconds of the stages that ran, and those that stages from the store would have taken."""
    times = stage_times(outcomes)
    return sum(each.spent for each in times), sum(each.saved for each in times)


def stage_times(outcomes: dict[int, Outcome]) -> list[StageTime]:
    """Return what stages took and saved over all trials, that with the most seconds first."""
    steps = [step for outcome in outcomes.values() for step in outcome.steps]
    ran = {(step["stage"], step["key"]): step["seconds"] for step in steps if not step["cached"]}
    runs: dict[str, int] = defaultdict(int)
    reused: dict[str, int] = defaultdict(int)
    spent: dict[str, float] = defaultdict(float)
    saved: dict[str, float] = defaultdict(float)
    for (stage, _), took in ran.items():
        runs[stage] += 1
        spent[stage] += took
    for step in steps:
        if step["cached"]:
            reused[step["stage"]] += 1
            saved[step["stage"]] += ran.get((step["stage"], step["key"]), 0.0)
    found = [
        StageTime(stage=stage, runs=runs[stage], reused=reused[stage], spent=spent[stage], saved=saved[stage])
        for stage in {**runs, **reused}
    ]
    return sorted(found, key=lambda each: -(each.spent + each.saved))


def choice_text(found: Found, target: str) -> str:
    """Say which candidate was chosen and why, with the commands that come next."""
    if found.chosen is None:
        return "No candidate passed every gate."
    figures, base = found.outcomes[found.chosen].figures, baseline(found.outcomes)
    assert figures is not None
    built = next(each for each in found.validated if each.number == found.chosen)
    lines = [f"Chosen: {found.outcomes[found.chosen].recipe}, the cheapest that passed every gate"]
    if found.chosen == BASELINE:
        lines[0] = "Chosen: your own settings; nothing cheaper passed every gate"
    elif base is not None:
        costs = ", ".join(
            f"{name} {figures.of(name) / base.of(name):.2f}x"
            for name in found.objectives
            if not is_maximized(name) and base.of(name)
        )
        better, worse = beats(found.outcomes[found.chosen], base, found.objectives)
        ratio = cost_ratio(figures, base, found.objectives)
        lines.append(f"against your settings: {costs}; {ratio:.2f}x in the mean")
        lines.append(
            f"{figures.metric} on held-out samples {figures.score:.2f}, yours {base.score:.2f}; better in "
            f"{better} and worse in {worse} of {len(found.objectives)} figures"
        )
    lines += [f"release {built.folder}", f"digest  {built.digest}"]
    lines += [
        f"build it again: pipeline build --target {target} --config {found.folder / 'pipeline.toml'}",
        f"see all trials: optuna-dashboard sqlite:///{found.folder / 'study.db'}",
    ]
    return "\n".join(lines)


def to_dict(found: Found) -> dict[str, Any]:
    """Return the result as JSON-like values."""
    return {
        "objectives": list(found.objectives),
        "trials": {str(number): outcome.to_dict() for number, outcome in sorted(found.outcomes.items())},
        "front": list(found.front),
        "validated": [
            {
                "number": each.number,
                "folder": str(each.folder),
                "digest": each.digest,
                "problem": each.problem,
            }
            for each in found.validated
        ],
        "chosen": found.chosen,
    }
