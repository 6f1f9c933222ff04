"""Tables of the choices that a build made on held-out samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from pipeline.report.tables import make_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from pipeline.choices import Baselines, Candidate, Repair


def choice_tables(
    baselines: Baselines | None, candidates: tuple[Candidate, ...], repairs: tuple[Repair, ...]
) -> Iterator[RenderableType]:
    """Return what fine-tuning does for the float model, and the quantized models and repairs compared."""
    if baselines is not None:
        yield Text(baselines_line(baselines))
    if candidates:
        title = f"Quantized models, on {candidates[0].samples:,} held-out training samples"
        table = make_table(title, "", candidates[0].metric, "against the best", "download", "", numbers=4)
        for each in candidates:
            score = "" if each.score is None else f"{each.score:.2f}"
            table.add_row(each.name, score, difference(each), f"{each.download_bytes:,}", note(each))
        yield table
    if repairs:
        title = f"Repairs without training, SQNR on {repairs[0].samples:,} training samples"
        table = make_table(title, "", "dB before", "dB after", "", numbers=2)
        for repair in repairs:
            before, after = f"{repair.before_db:.1f}", f"{repair.after_db:.1f}"
            table.add_row(repair.name, before, after, "applied" if repair.applied else repair.reason)
        yield table


def baselines_line(found: Baselines) -> str:
    """Return in one line what the float model has on the test samples, as given and fine-tuned alike."""
    return (
        f"float {found.metric} on test samples: {found.given:.2f} as given, {found.fine_tuned:.2f} "
        "fine-tuned like the int8 model, without quantization"
    )


def difference(candidate: Candidate) -> str:
    """Return the difference from the best candidate, with its interval."""
    if candidate.difference is None:
        return ""
    points, low, high = candidate.difference
    return f"{points:+.2f} [{low:+.2f}, {high:+.2f}]"


def note(candidate: Candidate) -> str:
    """Return "released" for the candidate that was taken, or why another one could not be."""
    if candidate.chosen:
        return "released"
    if candidate.within_limits:
        return ""
    return "beyond [gates] size_ratio" if candidate.format == "int8" else candidate.format
