"""What distillation recovers of the accuracy that a small model trained on labels alone does not reach.

Usage: python benchmarks/compression/distillation.py [NAME ...] [--seeds N] [--epochs N] [--out FOLDER]

The teacher is a reference model. The student has the same architecture at half the width, which needs about
a quarter of the multiply-accumulates, and starts from fresh weights. It is trained on the labels alone, and
with the same schedule, samples and augmentation by distillation. Both are scored on the whole test set.
Prints a Markdown table; ``recovered`` is the share of the points between the teacher and the student without
distillation. The runs that are in ``--out`` are not repeated. Fails if less than half is recovered, by the
mean over the seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Source
from pipeline.command_settings import build_settings
from pipeline.compress.distill import DistillConfig, costs, distill_model
from pipeline.content import sha256_of
from pipeline.loading.load import model_digest, source_of
from pipeline.opening import open_inputs
from pipeline.run import Run
from pipeline.samples import Samples
from pipeline.store import Store, user_store
from pipeline.training.held_out import HeldOut
from pipeline.training.keras_io import open_model, start_tensorflow
from pipeline.training_config import AugmentationConfig, TrainingConfig

if TYPE_CHECKING:
    from pipeline.opening import Opened

NAMES = ("resnet8", "ds_cnn")
COLUMNS = ("model", "seed", "MACs", "teacher", "labels alone", "distilled", "recovered", "minutes")
BAR = 0.5
WIDTH = 0.5
NO_LIMIT = 100.0  # of the points that the student may lose: it is always scored


def opened(name: str, store: Store) -> Opened:
    """Load and prepare a reference model with its data."""
    config = build_settings(None, {"model": f"zoo:{name}", "data": None})
    with tempfile.TemporaryDirectory() as folder:
        return open_inputs(
            Source(location=str(config.model.path), digest=model_digest(config.model)),
            source_of(config.data), None, config, Run(Path(folder), store),
        )  # fmt: skip


def score(network: Any, given: Opened) -> float:
    """Return the accuracy on the whole test set, in points."""
    model = given.prepared.keras
    test = HeldOut(Samples.of(given.data, "test", model.preprocessing), model)
    found = test.score(test.outputs(network))
    assert found is not None
    return found


def run(given: Opened, config: DistillConfig, seed: int) -> dict[str, Any]:
    """Train one student; returns its score, and its multiply-accumulates and those of the teacher."""
    model, started = given.prepared.keras, time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        made = distill_model(model, model, given.data, config=config, seed=seed, out=Path(folder))
        student = open_model(made.model)
    seconds = time.process_time() - started
    macs = [costs(each)[1] for each in (open_model(model.model), student)]
    return {"score": score(student, given), "macs": macs, "seconds": seconds}


def stored(folder: Path, key: Any, make: Any) -> dict[str, Any]:
    """Return the result of a run, from its file if it was done before."""
    file = folder / f"{sha256_of(key)[:16]}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"run": key, "found": make()}, indent=1))
    found: dict[str, Any] = json.loads(file.read_text())["found"]
    return found


def configs(options: argparse.Namespace) -> tuple[DistillConfig, DistillConfig]:
    """Return the settings of training on labels alone, and of distillation."""
    training = TrainingConfig(
        epochs=options.epochs,
        min_steps=1,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        distillation=0.0,
        augmentation=AugmentationConfig(mirror=options.mirror, shift=options.shift),
    )
    taught = training.model_copy(update={"distillation": options.share, "temperature": options.temperature})
    plain = DistillConfig(width=WIDTH, max_drop_points=NO_LIMIT, training=training)
    return plain, plain.model_copy(update={"training": taught, "features": options.features})


def measure(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return a row of the table."""
    given = opened(name, options.store)
    start_tensorflow(0)
    teacher = score(open_model(given.prepared.keras.model), given)
    found = []
    for config in configs(options):
        key = [name, seed, config.model_dump(mode="json")]
        found.append(stored(options.out, key, partial(run, given, config, seed)))
    plain, distilled = found
    return {
        "model": name,
        "seed": seed,
        "MACs": f"{plain['macs'][0]:,} -> {plain['macs'][1]:,}",
        "teacher": teacher,
        "labels alone": plain["score"],
        "distilled": distilled["score"],
        "recovered": (distilled["score"] - plain["score"]) / (teacher - plain["score"]),
        "minutes": " + ".join(f"{each['seconds'] / 60:.1f}" for each in found),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, help="reference models")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--mirror", choices=["none", "horizontal"], default="horizontal")
    parser.add_argument("--shift", type=int, default=1, help="pixels of augmentation")
    parser.add_argument("--share", type=float, default=0.9, help="of the teacher in the loss")
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--features", choices=["none", "hints", "attention"], default="none")
    parser.add_argument("--out", type=Path, default=Path("distillation"), help="folder of finished runs")
    parser.add_argument("--store", type=lambda path: Store(Path(path)), default=Store(user_store()))
    options = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|", sep="\n", flush=True)
    missed = []
    for name in options.names:
        rows = [measure(name, seed, options) for seed in range(options.seeds)]
        for row in rows:
            cells = (f"{row[key]:.3f}" if isinstance(row[key], float) else str(row[key]) for key in COLUMNS)
            print("| " + " | ".join(cells) + " |", flush=True)
        if mean(row["recovered"] for row in rows) < BAR:
            missed.append(name)
    if missed:
        msg = f"distillation recovers less than {BAR:.0%} for {', '.join(missed)}"
        raise SystemExit(msg)


if __name__ == "__main__":
    main()
