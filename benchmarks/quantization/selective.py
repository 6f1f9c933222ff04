"""Selective precision on a model with one sabotaged layer: int8 fails the gates, "auto" finds the layer.

Usage: python benchmarks/quantization/selective.py [MODEL ...] [--target arm64] [--strength 100]
           [--formats] [--store FOLDER]

The last dense layer of a reference model gets the same large weights for all classes. Softmax ignores what
all logits share, so the float model computes the same. In int8 one scale serves all logits, so that the
differences between them are lost, which no repair can help. The model is built with post-training
quantization, first in int8 throughout and then with [precision] layers = "auto"; the gates judge the whole
test set. Prints two Markdown tables for each model: the builds, and the layers and formats tried.
--formats takes the models as they are, and prints what all layers in each format cost on each emulated
device, and whether the device's runtime computes every layer right.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.building import build
from pipeline.compiling import Inputs, compile_model
from pipeline.errors import GateFailed
from pipeline.precision.search import Units
from pipeline.precision.select import WIDTHS, int8_model
from pipeline.precision.trials import Costs, wrong_on
from pipeline.run import Run
from pipeline.runtimes.runtime import runtime_of
from pipeline.samples import Samples
from pipeline.settings import make_config, nested, overlay, zoo_settings
from pipeline.store import Store, user_store
from pipeline.targets import get_target, load_devices
from pipeline.validation.report import read_report

if TYPE_CHECKING:
    from pipeline.choices import Precision
    from pipeline.targets import Target
    from pipeline.validation.report import Report

MODELS = ("lenet5", "ds_cnn")
GATES = ["accuracy", "per-class recall", "full integer", "size"]
SABOTAGE = """
import sys
import keras
import numpy as np
source, strength, out = sys.argv[1:]
model = keras.saving.load_model(source, compile=False)
layer = next(each for each in reversed(model.layers) if isinstance(each, keras.layers.Dense))
kernel, bias = layer.get_weights()
shared = np.random.default_rng(0).random((len(kernel), 1)).astype(kernel.dtype)
layer.set_weights([kernel + float(strength) * np.abs(kernel).mean() * shared, bias])
model.save(out)
print(layer.name)
"""


def sabotaged(source: Path, strength: float, out: Path) -> str:
    """Write a model that computes the same with a last layer that int8 spoils; returns the layer's name."""
    command = [sys.executable, "-c", SABOTAGE, str(source), str(strength), str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.split()[-1]


def built(model: str, path: Path, layers: list[str], target: Target, store: Store, folder: Path) -> Report:
    """Return the report of a build, whether its gates passed or not."""
    given = {
        "model.path": str(path), "quantize.method": "ptq", "compress": [], "precision.layers": layers,
        "gates.enabled": GATES,
    }  # fmt: skip
    config = make_config(overlay(zoo_settings(model), nested(given)), model)
    try:
        return build(target, config, Run(folder, store)).report
    except GateFailed:
        [found] = (folder / "report").glob("*/report.json")
        return read_report(found)


def row(name: str, report: Report, seconds: float) -> str:
    """Return a row of the first table."""
    metric = report.accuracy[0].primary
    failed = ", ".join(report.failed_gates) or "none"
    cells = (
        name, f"{metric.baseline:.2f}", f"{metric.quantized:.2f}", f"{metric.difference:+.2f}", failed,
        f"{report.quantized.size_bytes:,}", f"{seconds:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def tried(found: Precision) -> list[str]:
    """Return the second table: single layers, then formats of the chosen ones."""
    unit = f"{found.cost_unit} {found.device}".strip()
    lines = [f"| wider | SQNR, dB | {found.metric}, points | {unit} | bytes | |", f"|{'---|' * 6}"]
    rows = [("none", found.int8_sqnr_db, found.int8_change, found.int8_cost, found.int8_size_bytes, "")]
    for layer in found.tried:
        cost = None if layer.cost is None else found.int8_cost + layer.cost
        rows.append((layer.layer, layer.sqnr_db, layer.change, cost, 0, "chosen" if layer.chosen else ""))
    for width in found.widths:
        note = "taken" if width.chosen else width.problem
        name = f"{', '.join(found.layers)} in {width.width}"
        rows.append((name, 0.0, width.change, width.cost, width.size_bytes, note))
    for name, sqnr, change, cost, size, note in rows:
        cells = (
            name, f"{sqnr:.1f}" if sqnr else "", "" if change is None else f"{change:+.2f}",
            f"{cost:,.0f} ({cost / found.int8_cost - 1:+.2%})" if cost else "",
            f"{size:,}" if size else "", note,
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def formats(model: str, store: Store, folder: Path) -> list[str]:
    """Return a table of the formats, with all layers of a model in each."""
    given = {"quantize.method": "ptq", "compress": []}
    config = make_config(overlay(zoo_settings(model), nested(given)), model)
    compiled = compile_model(Inputs.of(config, get_target("host")), config, Run(folder, store))
    int8 = int8_model(compiled.quantized)
    samples = Samples.of(compiled.data, "train", compiled.prepared.preprocessing).take(slice(0, 4))
    values, units = samples.model_inputs(), Units(int8.units)
    lines = ["| model | device | format | instructions | of int8 | bytes | right |", f"|{'---|' * 7}"]
    for device in (each for each in load_devices().values() if not each.is_host):
        runtime = runtime_of(device)
        wrong = wrong_on(int8, units, WIDTHS, values, [runtime])
        with Costs(int8, [runtime], values) as costs:
            before = costs.of(Units(), "float32")
            sizes = {width: len(int8.file(units, width)) for width in WIDTHS}
            rows = [("int8", before, len(int8.flat.content), "")]
            rows += [(width, costs.of(units, width), sizes[width], wrong[width]) for width in WIDTHS]
        for name, cost, size, problem in rows:
            cells = (device.name, name, f"{cost:,.0f}", f"{cost / before:.2f}", f"{size:,}", problem or "yes")
            lines.append(f"| {model} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--target", default="arm64")
    parser.add_argument("--strength", type=float, default=100.0)
    parser.add_argument("--formats", action="store_true")
    parser.add_argument("--store", type=Path, default=user_store())
    given = parser.parse_args()
    target = get_target(given.target)
    with Store(given.store, 20 * 10**9) as store, tempfile.TemporaryDirectory() as folder:
        for model in given.models:
            if given.formats:
                print(*formats(model, store, Path(folder) / model), sep="\n", flush=True)
                continue
            path = Path(folder) / f"{model}.keras"
            layer = sabotaged(Path(zoo_settings(model)["model"]["path"]), given.strength, path)
            print(f"\n{model}, sabotaged: {layer}\n")
            print("| layers | float | released | points | gates failed | bytes | seconds |")
            print(f"|{'---|' * 7}")
            for name, layers in {"int8": [], '"auto"': ["auto"]}.items():
                began = time.monotonic()
                report = built(model, path, layers, target, store, Path(folder) / f"{model}-{len(layers)}")
                print(row(name, report, time.monotonic() - began), flush=True)
            if report.precision is not None:
                print("", *tried(report.precision), sep="\n", flush=True)
                print(f"\n{report.precision.reason}; {report.precision.sets} files measured")


if __name__ == "__main__":
    main()
