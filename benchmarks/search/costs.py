"""Measure what recipes leave of a model before training, for the surrogate of a search.

Usage: python benchmarks/search/costs.py [--model zoo:resnet8] [--target arm64] [--out FILE]

Each recipe is applied without its trainings, as ``pipeline plan`` does it, and converted to int8. The
table has the size, the download, the memory and the instructions of each step at each amount, and of some
recipes of several steps, with which ``surrogate.py`` compares its product of ratios. Takes about five
minutes on two slow cores; the table is kept in benchmarks/results/search/costs.json.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Source
from pipeline.compress.steps import COMPRESS
from pipeline.costing.memory import live_bytes
from pipeline.costing.predict import cost_table, predict
from pipeline.errors import PipelineError
from pipeline.flatbuffer import read_tflite
from pipeline.isolation.child import in_child
from pipeline.loading.load import load_model, model_digest
from pipeline.planning.candidates import prepare_shapes, try_recipe
from pipeline.run import Run
from pipeline.searching.space import AMOUNTS, STEPS
from pipeline.settings import make_config, zoo_settings
from pipeline.store import Store
from pipeline.targets import get_target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.artifacts import KerasModel
    from pipeline.targets import Target

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "benchmarks" / "results" / "search" / "costs.json"
CHECKS = 10
"""Recipes of several steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Costs of recipes before training.")
    parser.add_argument("--model", default="zoo:resnet8")
    parser.add_argument("--target", default="arm64")
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    target = get_target(options.target)
    with tempfile.TemporaryDirectory() as folder:
        model = prepared(options.model, Path(folder))
        rows = [row(model, amounts, target, Path(folder)) for amounts in recipes()]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {"model": options.model, "target": options.target, "rows": rows}
    options.out.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{len(rows)} recipes in {options.out}")


def prepared(name: str, folder: Path) -> KerasModel:
    """Load a model of the zoo or a file, and rewrite it as a build does."""
    raw = zoo_settings(name.removeprefix("zoo:")) if name.startswith("zoo:") else {"model": {"path": name}}
    config = make_config({"model": raw["model"], "data": raw.get("data", {"source": name})}, name).model
    source = Source(location=str(config.path), digest=model_digest(config))
    with Store(folder / "store") as store:
        run = Run(folder / "run", store)
        loaded = run.step(load_model, source, config=config)
        return run.step(in_child(prepare_shapes), loaded)


def recipes() -> Iterator[dict[str, Any]]:
    """Yield the amounts of each recipe, without those that are left out."""
    yield {}
    for step in STEPS:
        yield from ({step: amount} for amount in AMOUNTS[step].values[1:])
    dice = random.Random(0)
    for _ in range(CHECKS):
        steps = sorted(dice.sample(STEPS[:-1], dice.randint(2, 4)), key=STEPS.index)
        yield {step: dice.choice(AMOUNTS[step].values[1:]) for step in steps}


def row(model: KerasModel, amounts: dict[str, Any], target: Target, folder: Path) -> dict[str, Any]:
    """Return what a recipe costs; without costs if it does not suit the model."""
    tables = [{"method": step, COMPRESS[step].notation.key: amounts[step]} for step in amounts]
    steps = tuple(COMPRESS[table["method"]].config.model_validate(table) for table in tables)
    try:
        made = try_recipe(model, steps=steps, out=folder)
    except PipelineError:
        return {"amounts": amounts}
    path = folder / "int8.tflite"
    flat = read_tflite(path)
    print(amounts, made.download_bytes, file=sys.stderr, flush=True)
    return {
        "amounts": amounts,
        "size": made.size_bytes,
        "download": made.download_bytes,
        "memory": live_bytes(flat),
        **{
            f"{each.name} instructions": predict(flat, cost_table(each.name)).instructions
            for each in target.devices
        },
    }


if __name__ == "__main__":
    main()
