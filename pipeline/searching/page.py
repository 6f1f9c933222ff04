"""The result of a search as files: ``search.html``, a page with plots, and ``search.json``.

Nothing is fetched and no script runs, so that the page can be mailed and archived.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from pipeline.content import write_whole
from pipeline.report.html import render, report_html
from pipeline.searching.front import BASELINE, baseline, beats
from pipeline.searching.objectives import INSTRUCTIONS, cost_ratio, is_maximized
from pipeline.searching.plots import Plot, Point, progress_plot, scatter
from pipeline.searching.report import endings, figure_text, short_name, stage_times, to_dict
from pipeline.searching.result import front_folder
from pipeline.validation.report import read_report

if TYPE_CHECKING:
    from pipeline.searching.objectives import Outcome
    from pipeline.searching.result import Found

PAGE, VALUES = "search.html", "search.json"
MAX_STAGES = 12
MAX_SHOWN = 1000
"""Trials in the table and the plots: of more, those on the front and the newest."""


class Row(NamedTuple):
    """A trial in the table.

    Attributes:
        name: its number, "yours" for the user's own settings.
        kind: as in the plots; "" if it has no figures.
        words: "on the front", "dominated", "beyond a limit", "stopped" or "refused".
        reason: why, and which gates failed; "" if there is nothing to say.
        figures: of the objectives, as text; "" if there are none.
        validated: "passed", "failed" or "".
    """

    name: str
    recipe: str
    kind: str
    words: str
    reason: str
    figures: tuple[str, ...]
    seconds: float
    validated: str
    is_chosen: bool


class Comparison(NamedTuple):
    """A figure of the chosen candidate beside that of the user's own settings."""

    name: str
    chosen: str
    own: str
    change: str


def write_result(found: Found, target: str, planned: int | None = None) -> None:
    """Write the page and the values to the folder of the search.

    Args:
        target: its name.
        planned: how many trials there will be, if the search still runs.

    Raises:
        OSError: a file cannot be written.
    """
    write_whole(found.folder / VALUES, json.dumps(to_dict(found)))
    write_whole(found.folder / PAGE, search_html(found, target, planned))
    for each in found.validated:
        _add_plots(found, each.number)


def _add_plots(found: Found, number: int) -> None:
    """Draw the trade-offs of the search on the page of a candidate that was validated."""
    trial = "your own settings" if number == BASELINE else f"trial {number}"
    for file in (found.folder / front_folder(number) / "report").glob("*/report.json"):
        page = report_html(read_report(file), _plots(found, _shown(found)), trial)
        write_whole(file.with_name("report.html"), page)


def search_html(found: Found, target: str, planned: int | None = None) -> str:
    """Return the result as a page of its own; arguments as for ``write_result``."""
    times = stage_times(found.outcomes)
    ratios = best_ratios(found)
    trials = len(found.outcomes.keys() - {BASELINE})
    shown = _shown(found)
    return render(
        "search.html.j2",
        found=found,
        target=target,
        verdict=_verdict(found, planned),
        coming=max((planned or 0) - trials, 0),
        endings=endings(found),
        chosen=None if found.chosen is None else found.outcomes[found.chosen],
        is_own=found.chosen == BASELINE,
        built=next((each for each in found.validated if each.number == found.chosen), None),
        summary=_summary(found),
        comparisons=_comparisons(found),
        plots=_plots(found, shown),
        growth=progress_plot("lowest cost so far", "trials", ratios) if len(ratios) > 1 else None,
        columns=[short_name(name) for name in found.objectives],
        rows=[_row(found, number) for number in shown],
        missing=len(found.outcomes) - len(shown),
        times=times[:MAX_STAGES],
        most=max((each.spent + each.saved for each in times), default=0) or 1,
        stages=len(times),
        spent=sum(each.spent for each in times),
        saved=sum(each.saved for each in times),
    )


def _shown(found: Found) -> list[int]:
    """Return the numbers of the trials that the page has."""
    numbers = sorted(found.outcomes)
    best = {BASELINE, *found.front, *(each.number for each in found.validated)} & found.outcomes.keys()
    newest = numbers[-max(MAX_SHOWN - len(best), 1) :]
    return numbers if len(numbers) <= MAX_SHOWN else sorted({*best, *newest})


def _verdict(found: Found, planned: int | None) -> tuple[str, str]:
    """Return the words of the badge and its class."""
    if planned is not None:
        return "running", "inconclusive"
    return ("FAILED", "failed") if found.chosen is None else ("passed", "passed")


def _kind(found: Found, number: int) -> str:
    """Return how a trial is drawn; "" if it has no figures."""
    outcome = found.outcomes[number]
    if outcome.figures is None:
        return ""
    if number == found.chosen:
        return "chosen"
    if not outcome.is_feasible:
        return "infeasible"
    if number == BASELINE:
        return "own"
    return "front" if number in found.front else "dominated"


def _name(number: int) -> str:
    return "yours" if number == BASELINE else str(number)


def _row(found: Found, number: int) -> Row:
    outcome = found.outcomes[number]
    built = next((each for each in found.validated if each.number == number), None)
    figures = [
        "" if outcome.figures is None else figure_text(name, outcome.figures.of(name))
        for name in found.objectives
    ]
    reasons = [outcome.reason, _missed(outcome), built.problem if built else ""]
    return Row(
        name=_name(number),
        recipe=outcome.recipe,
        kind=_kind(found, number),
        words=_words(found, number),
        reason="; ".join(filter(None, reasons)),
        figures=tuple(figures),
        seconds=outcome.seconds,
        validated="" if built is None else "failed" if built.problem else "passed",
        is_chosen=number == found.chosen,
    )


def _words(found: Found, number: int) -> str:
    outcome = found.outcomes[number]
    if outcome.state != "complete":
        return {"stopped": "stopped early"}.get(outcome.state, outcome.state)
    if not outcome.is_feasible:
        return "beyond a limit"
    return "on the front" if number in found.front else "dominated"


def _missed(outcome: Outcome) -> str:
    """Return which limits are missed, and by how much of themselves."""
    missed = {name: value for name, value in outcome.missed.items() if value > 0}
    return ", ".join(f"{name} is {value:.0%} beyond its limit" for name, value in missed.items())


def _summary(found: Found) -> str:
    """Say why the chosen candidate was chosen, or why none was."""
    if found.chosen is None:
        if not found.front:
            return "Every complete trial is beyond a limit."
        return f"No candidate passed every gate; validated: {len(found.validated)}."
    if found.chosen == BASELINE:
        return "Your own settings: nothing cheaper passed every gate."
    figures, base = found.outcomes[found.chosen].figures, baseline(found.outcomes)
    reason = f"The cheapest that passed every gate, of {len(found.validated)} that were validated"
    if figures is None or base is None:
        return f"{reason}."
    better, worse = beats(found.outcomes[found.chosen], base, found.objectives)
    ratio = cost_ratio(figures, base, found.objectives)
    return (
        f"{reason}: {ratio:.2f}x the costs of your settings in the geometric mean; better in {better} and "
        f"worse in {worse} of {len(found.objectives)} figures."
    )


def _comparisons(found: Found) -> list[Comparison]:
    """Compare the chosen candidate with the user's own settings, figure by figure."""
    base = baseline(found.outcomes)
    if found.chosen in {None, BASELINE} or base is None:
        return []
    assert found.chosen is not None
    figures = found.outcomes[found.chosen].figures
    assert figures is not None
    rows = []
    for name in found.objectives:
        own, other = base.of(name), figures.of(name)
        change = f"{other / own:.2f}x" if own else ""
        if is_maximized(name):
            change = f"{other - own:+.2f} points"
        rows.append(Comparison(name, figure_text(name, other), figure_text(name, own), change))
    return rows


def _plots(found: Found, shown: list[int]) -> list[Plot]:
    """Return scores over download bytes, and over the instructions of each device."""
    figures = {number: each for number in shown if (each := found.outcomes[number].figures) is not None}
    if not figures:
        return []
    devices = next(iter(figures.values())).instructions
    costs = {"download": "bytes", **{f"{device} {INSTRUCTIONS}": INSTRUCTIONS for device in devices}}
    plots = []
    for name, unit in costs.items():
        points = []
        for number, each in figures.items():
            kind, recipe = _kind(found, number), found.outcomes[number].recipe
            value = each.of(name)
            title = f"{_name(number)}: {recipe}; score {each.score:.2f}, {value:,.0f} {unit}"
            label = _name(number) if kind in {"chosen", "own", "front"} or number == BASELINE else ""
            points.append(Point(value, each.score, kind, label, title))
        heading = name if name.endswith(INSTRUCTIONS) else "download in bytes"
        plots.append(scatter(heading, unit, points))
    return plots


def best_ratios(found: Found) -> list[float]:
    """Return the lowest cost so far after each trial, as a share of the user's own settings.

    The first is before any trial; none if the user's own settings gave no model.
    """
    base, best, ratios = baseline(found.outcomes), 1.0, []
    if base is None:
        return []
    ratios.append(best)
    for number in sorted(found.outcomes.keys() - {BASELINE}):
        outcome = found.outcomes[number]
        if outcome.is_feasible and outcome.figures is not None:
            best = min(best, cost_ratio(outcome.figures, base, found.objectives))
        ratios.append(best)
    return ratios
