"""What weights and outputs of few bits cost in accuracy, and what they save in the download.

Usage: python benchmarks/quantization/low_bit.py [RECIPE ...] [--model resnet8] [--seeds 1]
           [--set KEY=VALUE ...] [--store FOLDER] [--out low_bit.json]

A recipe is the bits of the weights, such as 4 or ternary, or of weights and outputs, such as 4/4. Each is
built from a reference model with post-training quantization, and runs on LiteRT over the whole test set.
--set takes keys of the compression step, such as training.epochs=4. Finished stages are in the store, and
rows in the file of --out, so that an interrupted command resumes. Prints a Markdown table of all its rows.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from models.zoo.catalogue import ZOO
from pipeline.settings import make_config, nested, overlay, parse_setting, zoo_settings
from pipeline.store import Store

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from scored import build_and_score

DENSE = "8"
# Recipe -> most points lost, and most bytes of the download as a share of the dense one.
BARS = {"4": (0.5, 0.55), "3": (1.0, 0.45), "2": (3.0, 0.35), "ternary": (3.0, 0.35)}
COLUMNS = (
    *("model", "weights", "outputs", "seeds", "float", "int8", "drop, points [95 %]", "bar"),
    *("file, bytes", "download, bytes", "share of dense", "bar"),
)


def settings(model: str, recipe: str, changes: list[str]) -> dict[str, Any]:
    """Return plain settings of the build of a recipe."""
    weights, _, outputs = recipe.partition("/")
    step: dict[str, Any] = {"method": "low_bit", "weights": int(weights) if weights.isdigit() else weights}
    step |= {"activations": int(outputs)} if outputs else {}
    for change in changes:
        step = overlay(step, parse_setting(f"step.{change}")["step"])
    given = {"quantize.method": "ptq", "teacher.fine_tune": "never"}
    given["compress"] = [] if recipe == DENSE else [step]
    return overlay(zoo_settings(model), nested(given))


def measure(model: str, recipe: str, seed: int, changes: list[str], store: Store) -> dict[str, Any]:
    """Build one recipe; returns its scores and sizes."""
    config = make_config(overlay(settings(model, recipe, changes), {"seed": seed}), recipe)
    found = build_and_score(config, store)
    return {"model": model, "recipe": recipe, "seed": seed, "changes": changes} | found


def table(results: list[dict[str, Any]]) -> list[str]:
    """Return the Markdown table: one row for each model, recipe and change of settings; means over seeds."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for each in results:
        groups.setdefault((each["model"], each["recipe"], *each["changes"]), []).append(each)
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for (model, recipe, *changes), rows in groups.items():
        dense = [each for each in results if each["model"] == model and each["recipe"] == DENSE]
        weights, _, outputs = recipe.partition("/")
        points, share = BARS.get(recipe, (None, None)) if model == "resnet8" else (None, None)
        download = mean(rows, "download_bytes")
        drop, low, high = (-float(np.mean([each["gain"][at] for each in rows])) for at in (0, 2, 1))
        said = ", ".join([weights, *changes])
        cells = [
            model, said, outputs or DENSE, str(len(rows)),
            f"{mean(rows, 'float'):.2f}", f"{mean(rows, 'int8'):.2f}", f"{drop:.2f} [{low:.2f}, {high:.2f}]",
            "" if points is None else f"<= {points:g}",
            f"{mean(rows, 'size_bytes'):,.0f}", f"{download:,.0f}",
            f"{download / mean(dense, 'download_bytes'):.3f}" if dense else "",
            "" if share is None else f"<= {share:g}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def mean(rows: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([each[key] for each in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"default: {DENSE} {' '.join(BARS)}")
    parser.add_argument("--model", default="resnet8", choices=ZOO)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--store", type=Path, help="of finished stages; default: a temporary one")
    parser.add_argument("--out", type=Path, default=Path("low_bit.json"))
    options = parser.parse_args()
    results = json.loads(options.out.read_text()) if options.out.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        store = Store(options.store or Path(folder))
        for seed in range(options.seeds):
            for recipe in options.recipes or (DENSE, *BARS):
                changes = [] if recipe == DENSE else options.changes
                key = [options.model, recipe, seed, changes]
                if any(
                    [each[name] for name in ("model", "recipe", "seed", "changes")] == key for each in results
                ):
                    continue
                results.append(measure(options.model, recipe, seed, changes, store))
                options.out.write_text(json.dumps(results, indent=1) + "\n")
                print(f"{options.model} {recipe} seed {seed}: {results[-1]}", flush=True)
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
