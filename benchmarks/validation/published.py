"""MobileNetV2 1.0 224 in int8 against fp32 on the core of a Raspberry Pi 5, beside what Arm published.

Usage: python benchmarks/validation/published.py [--models FOLDER]

Arm's figures are times of a real Raspberry Pi 5 on one thread: 10.89 ms in fp32 and 4.01 ms in int8, 2.71
times faster. Ours are instructions of the same core, emulated. The ratio of instructions shows that the
kernels picked are the ones that make the difference. It shows no time: caches, memory and clock are not
emulated. Weights are random, which neither the kernels nor their instructions depend on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from pipeline.flatbuffer import read_tflite
from pipeline.runtimes.runtime import emulated_runtime
from pipeline.runtimes.session import Session
from pipeline.targets import get_device

PUBLISHED = {"fp32": 10.89, "int8": 4.01}
"""Milliseconds of MobileNetV2 1.0 224 on a Raspberry Pi 5."""
TOLERANCE = 0.15
SIDE = 224
CALIBRATION = 16


def convert(folder: Path) -> None:
    """Write fp32.tflite and int8.tflite."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from pipeline.training.tfmot import tensorflow

    tf = tensorflow()
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    model = tf_keras.applications.MobileNetV2(input_shape=(SIDE, SIDE, 3), weights=None)
    (folder / "fp32.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    rng = np.random.default_rng(0)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [rng.uniform(-1, 1, (1, SIDE, SIDE, 3)).astype(np.float32)] for _ in range(CALIBRATION)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    (folder / "int8.tflite").write_bytes(converter.convert())


def count(path: Path, device: str) -> int:
    """Instructions of one warm inference on an emulated core."""
    read_tflite(path)
    with Session(emulated_runtime(get_device(device)), path) as session:
        (taken,) = session.describe().inputs
        noise = np.random.default_rng(0).integers(-128, 128, taken.shape)
        sample = noise.astype(taken.dtype) if taken.scale else (noise / 128).astype(taken.dtype)
        return session.count_instructions([sample], runs=2, warmup_runs=1).instructions


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", type=Path, help="Keep the two files here, and take them if they are there."
    )
    folder = parser.parse_args().models or Path(tempfile.mkdtemp(prefix="mobilenet-"))
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "int8.tflite").exists():
        convert(folder)
    published = PUBLISHED["fp32"] / PUBLISHED["int8"]
    print("| core | fp32 instructions | int8 instructions | fewer | Arm published, time | apart |")
    print("|---|---|---|---|---|---|")
    apart = {}
    for device in ("rpi4", "rpi5"):
        before, after = (count(folder / f"{kind}.tflite", device) for kind in PUBLISHED)
        apart[device] = before / after / published - 1
        beside = f"{published:.2f}x | {apart[device]:+.1%}" if device == "rpi5" else "not this core |"
        print(f"| {device} | {before:,} | {after:,} | {before / after:.2f}x | {beside} |", flush=True)
    if abs(apart["rpi5"]) > TOLERANCE:
        msg = f"the ratio on rpi5 is {apart['rpi5']:+.1%} from the published one, allowed {TOLERANCE:.0%}"
        raise SystemExit(msg)


if __name__ == "__main__":
    main()
