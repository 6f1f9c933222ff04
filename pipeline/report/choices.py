"""Tables of the choices that a build made on held-out samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from pipeline.choices import Baselines, Candidate, Precision, Repair


def choice_tables(
    baselines: Baselines | None,
    candidates: tuple[Candidate, ...],
    repairs: tuple[Repair, ...],
    precision: Precision | None,
) -> Iterator[RenderableType]:
    """Return what fine-tuning does for the float model, and the models, repairs and layers tried."""
    if baselines is not None:
        yield Text(baselines_line(baselines))
    if candidates:
        kind = "held-out" if candidates[0].held_out else "training"
        title = f"Quantized models, on {candidates[0].samples:,} {kind} samples"
        columns = (candidates[0].metric, "against the best", "corrupted", "download")
        table = make_table(title, "", *columns, numbers=4)
        for column in table.columns[1:]:
            column.no_wrap = True
        for each in candidates:
            score = "" if each.score is None else f"{each.score:.2f}"
            gains = (difference(each.difference), difference(each.corrupted))
            named = ": ".join(filter(None, (each.name, note(each))))
            table.add_row(named, score, *gains, f"{each.download_bytes:,}")
        yield table
    if repairs:
        title = f"Repairs without training, SQNR on {repairs[0].samples:,} training samples"
        table = make_table(title, "", "dB before", "dB after", "", numbers=2)
        for repair in repairs:
            before, after = f"{repair.before_db:.1f}", f"{repair.after_db:.1f}"
            table.add_row(repair.name, before, after, "applied" if repair.applied else repair.reason)
        yield table
    if precision is not None:
        yield precision_table(precision)


def precision_table(found: Precision) -> RenderableType:
    """Return the layers and formats that were tried, with what they gain and cost."""
    if not found.tried and not found.widths:
        return Text(f"precision: {found.reason}")
    metric = f"{found.metric}, points" if found.metric else ""
    title = f"Layers in a wider format, on {found.samples:,} training samples"
    where = f"{found.cost_unit} {found.device}".strip()
    table = make_table(title, "", "SQNR, dB", metric, where, "", numbers=4)
    table.add_row("int8 throughout", f"{found.int8_sqnr_db:.1f}", points(found.int8_change), "", "")
    for layer in found.tried:
        cost = "" if layer.cost is None else more(layer.cost, found)
        chosen = "chosen" if layer.chosen else ""
        table.add_row(layer.layer, f"{layer.sqnr_db:.1f}", points(layer.change), cost, chosen)
    for width in found.widths:
        cost = "" if width.cost is None else more(width.cost - found.int8_cost, found)
        note = "released" if width.chosen else width.problem
        table.add_row(f"{', '.join(found.layers)} in {width.width}", "", points(width.change), cost, note)
    return table


def points(change: float | None) -> str:
    """Return a change of a metric; "" if there is none."""
    return "" if change is None else f"{change:+.2f}"


def more(cost: float, found: Precision) -> str:
    """Return an additional cost of an inference as a share of that in int8."""
    return f"{cost / max(found.int8_cost, 1.0):+.2%}"


def baselines_line(found: Baselines) -> str:
    """Return in one line what the float model has on the test samples, as given and fine-tuned alike."""
    rounds = "" if found.rounds == 1 else f" in {found.rounds} rounds"
    set_aside = f"; {found.set_aside:,} test samples are held out to choose on" if found.set_aside else ""
    return (
        f"float {found.metric} on test samples: {found.given:.2f} as given, {found.fine_tuned:.2f} "
        f"fine-tuned on the labels{rounds}, without quantization{set_aside}"
    )


def difference(found: tuple[float, float, float] | None) -> str:
    """Return a difference from the best candidate, with its interval."""
    if found is None:
        return ""
    gain, low, high = found
    return f"{gain:+.2f} [{low:+.2f}, {high:+.2f}]"


def note(candidate: Candidate) -> str:
    """Return "released" for the candidate that was taken, or why another one could not be."""
    return "released" if candidate.chosen else candidate.reason
