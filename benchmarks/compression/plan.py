"""Compare predicted with counted instructions, on models that the table of costs was not fitted to.

Usage: python benchmarks/compression/plan.py [--devices rpi4,rpi5,armv7] [--out FOLDER] [NAME ...]

The models are those of the zoo, as the build prepares them, and architectures of keras.applications with
random weights; float32 and int8. Files and counts are kept in FOLDER. Prints a
Markdown table of relative errors, and the median and the largest one of each device and format; fails above
the limits.
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
from pipeline.costing.predict import cost_table, predict
from pipeline.flatbuffer import read_tflite
from pipeline.runtimes.runtime import emulated_runtime
from pipeline.runtimes.session import Session
from pipeline.targets import get_device
from pipeline.validation.costs import count_emulated
from pipeline.validation.model_under_test import Golden, ModelUnderTest

ROOT = Path(__file__).resolve().parents[2]
APPLICATIONS = ("MobileNetV2", "ResNet50V2", "DenseNet121", "EfficientNetB0")
SIDE, CLASSES = 96, 10
FORMATS = ("float32", "int8")
MEDIAN, WORST = 0.10, 0.25


def write_files(name: str, folder: Path) -> None:
    """Write NAME.float32.tflite and NAME.int8.tflite."""
    from pipeline.quantize.tflite import untrained_files

    if all(_file(folder, name, each).exists() for each in FORMATS):
        return
    for each, content in zip(FORMATS, untrained_files(_network(name)), strict=True):
        _file(folder, name, each).write_bytes(content)


def _network(name: str) -> Any:
    from pipeline.training.keras_io import start_tensorflow

    start_tensorflow(0)
    import tf_keras

    from models.load import load_model
    from models.prepare import prepare

    if name in ZOO:
        return prepare(load_model(ROOT / "models" / "zoo" / f"{name}.keras")).model
    return getattr(tf_keras.applications, name)(weights=None, input_shape=(SIDE, SIDE, 3), classes=CLASSES)


def count(device: str, files: list[Path], known: Path) -> dict[str, int]:
    """Count the instructions of files that are not in ``known`` yet."""
    counts: dict[str, int] = json.loads(known.read_text()) if known.exists() else {}
    waiting = [file for file in files if file.name not in counts]
    if waiting:
        with Session(emulated_runtime(get_device(device)), waiting[0]) as session:
            for file in waiting:
                found = count_emulated(session, ModelUnderTest.open(file), Golden(None, 2, 0), runs=2)
                counts[file.name] = found.instructions
                known.write_text(json.dumps(counts, indent=1) + "\n")
    return counts


def _file(folder: Path, name: str, form: str) -> Path:
    return folder / f"{name}.{form}.tflite"


def main() -> None:
    parser = argparse.ArgumentParser(description="Predicted and counted instructions.")
    parser.add_argument("names", nargs="*", default=[*ZOO, *APPLICATIONS])
    parser.add_argument("--devices", default="rpi4,rpi5")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    devices = options.devices.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.names:
            write_files(name, folder)
        files = {(name, form): _file(folder, name, form) for name in options.names for form in FORMATS}
        failed = False
        print("| model | format |" + "".join(f" {each}, predicted | counted | error |" for each in devices))
        print("|---|---|" + "---|---|---|" * len(devices))
        errors: dict[tuple[str, str], list[float]] = {}
        counts = {each: count(each, list(files.values()), folder / f"{each}.json") for each in devices}
        for (name, form), file in files.items():
            flat, cells = read_tflite(file), []
            for device in devices:
                predicted, counted = predict(flat, cost_table(device)), counts[device][file.name]
                error = predicted.instructions / counted - 1
                errors.setdefault((device, form), []).append(abs(error))
                cells.append(f" {predicted.instructions:,} | {counted:,} | {error:+.1%} |")
            print(f"| {name} | {form} |{''.join(cells)}")
        print()
        for (device, form), found in errors.items():
            median, worst = float(np.median(found)), max(found)
            failed |= median > MEDIAN or worst > WORST
            print(f"{device} {form}: median {median:.1%}, largest {worst:.1%} of {len(found)} models")
    sys.exit(failed)


if __name__ == "__main__":
    main()
