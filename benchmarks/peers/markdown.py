"""Results as Markdown."""

from __future__ import annotations

from typing import Any

import numpy as np
from comparisons import mean
from rows import BASELINES, ROWS

COLUMNS = (
    *("contender", "metric", "against float", "against float fine-tuned", "bytes", ".zst", "zeros"),
    *("seconds", "CPU seconds", "peak MB", "seeds"),
)
MARK = "<!-- Below: written by benchmarks/peers.py --report -->"


def page(models: list[dict[str, Any]]) -> str:
    """Return all tables."""
    return "\n\n".join([recipes(), *map(of_model, models)]) + "\n"


def recipes() -> str:
    lines = [f"| {row.title} | {row.recipe} |" for row in ROWS.values()]
    return "\n".join(["| contender | how the file is made |", "|---|---|", *lines])


def of_model(found: dict[str, Any]) -> str:
    """Return the tables of one model."""
    plan, rows = found["training"], []
    metric = next(iter(each for cell in found["cells"] for each in cell["against"].values()), [{}])[0]
    for name in ROWS:
        cells = [cell for cell in found["cells"] if cell["row"] == name]
        if cells:
            rows.append(of_row(name, cells))
    quantize, prune = plan["quantize"], plan["prune"]
    dates = sorted({cell["date"] for cell in found["cells"]})
    setting = (
        f"{metric.get('metric', 'metric')} on {found['test_samples']:,} test samples, in points; "
        f"{found['train_samples']:,} training and {found['calibration_samples']:,} calibration samples. "
        f"QAT: {_plan(quantize)}. Pruning: {_plan(prune)}, {prune['sparsity']:.0%}. "
        f"Run from {dates[0]} to {dates[-1]}."
    )
    lines = [
        f"## {found['name']}",
        "",
        setting,
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
        *rows,
    ]
    if found["duels"]:
        lines += [
            "",
            "| | against | difference [95 %] | |",
            "|---|---|---|---|",
            *map(of_duel, found["duels"]),
        ]
    notes = sorted(
        {f"- {ROWS[cell['row']].title}: {said}" for cell in found["cells"] for said in remarks(cell)}
    )
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def remarks(cell: dict[str, Any]) -> list[str]:
    """Return what the numbers of a cell do not say: why there are none, and what a build chose."""
    if "failed" in cell:
        return [cell["failed"]]
    said = []
    if cell["code"]:
        said.append("the accuracy gate failed, so that the build releases nothing")
    chosen = [each["name"] for each in cell.get("candidates") or () if each["chosen"]]
    if chosen:
        said.append(f"released is {chosen[0]} (seed {cell['seed']})")
    return said


def of_row(name: str, cells: list[dict[str, Any]]) -> str:
    """Return one line of a table: means over the seeds."""
    title, made = ROWS[name].title, [cell for cell in cells if "failed" not in cell]
    if not made:
        return f"| {title} | failed |{' |' * (len(COLUMNS) - 2)}"
    values = [cell["value"] for cell in made if cell["value"] is not None]
    shown = f"{np.mean(values):.2f}" if values else ""
    ends = [f"{each(values):.2f}" for each in (min, max)] if values else []
    shown += f" ({' to '.join(ends)})" if len(set(ends)) > 1 else ""
    against = []
    for baseline in BASELINES:
        found = [cell["against"][baseline][0] for cell in made if baseline in cell["against"]]
        against.append("" if baseline == name or not found else _interval(mean(found)))
    floats = "" if name in BASELINES or name == "ours-none" or not made[0]["float_operators"] else " (1)"
    average = {
        key: float(np.mean([cell[key] for cell in made])) for key in ("size_bytes", "zst_bytes", "zeros")
    }
    usage = []
    for key, unit in (("seconds", 1), ("cpu_seconds", 1), ("peak_bytes", 1e6)):
        known = [cell[key] for cell in made if cell[key] is not None]  # none where builds shared stages
        usage.append(f"{np.mean(known) / unit:,.0f}" if known else "")
    cells_of_line = [
        *(title + floats, shown, *against),
        *(f"{average['size_bytes']:,.0f}", f"{average['zst_bytes']:,.0f}", f"{average['zeros']:.0%}"),
        *(*usage, str(len(made))),
    ]
    return f"| {' | '.join(cells_of_line)} |"


def of_duel(duel: dict[str, Any]) -> str:
    verdict = "better" if duel["low"] > 0 else "worse" if duel["high"] < 0 else "no difference shown"
    names = f"{ROWS[duel['row']].title} | {ROWS[duel['against']].title}"
    return f"| {names} | {_interval(duel)} | {verdict} |"


def _interval(found: dict[str, float]) -> str:
    return f"{found['gain']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"


def _plan(plan: dict[str, Any]) -> str:
    return (
        f"{plan['epochs']} epochs of {plan['samples']:,} samples in batches of {plan['batch_size']} "
        f"from {plan['learning_rate']:g}"
    )


def renewed(text: str, tables: str) -> str:
    """Return a page with new tables below its mark."""
    return f"{text.partition(MARK)[0].rstrip()}\n\n{MARK}\n\n{tables}"
