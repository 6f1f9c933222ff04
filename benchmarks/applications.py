"""How far ten architectures of keras.applications come: bridge, prune, QAT, int8, XNNPACK.

Usage: python benchmarks/applications.py [NAME ...]

Each is built with random weights and taken through in a child process of its own. Writes the table in
docs/reference/applications.md; where a step fails, its cell says why and the later ones are empty.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
PAGE = ROOT / "docs" / "reference" / "applications.md"
TIMEOUT_S = 900.0
CLASSES = 10
SAMPLES = 4
SIZES = {
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "EfficientNetB0": 32,
    "ResNet50V2": 32,
    "DenseNet121": 32,
    "NASNetMobile": 32,
    "Xception": 71,
    "ConvNeXtTiny": 32,
    "VGG16": 32,
}
COLUMNS = ("input", "bridge", "prune", "QAT", "int8", "XNNPACK")
HEAD = """# Architectures of keras.applications

`python benchmarks/applications.py` creates each architecture with Keras 3 and random weights, saves it as
`.keras` and runs the steps of a build without training. Random weights say nothing about accuracy; the table
shows which steps work.

- bridge: largest difference between the outputs of Keras 3 and of the model rebuilt in tf_keras, relative to
  the largest output
- prune: layers that TF-MOT wraps for pruning, of all layers with weights
- QAT: layers that TF-MOT wraps for quantization-aware training, of all layers
- int8: size of the full-integer `.tflite`
- XNNPACK: nodes that LiteRT delegates to XNNPACK as int8, of all nodes

"""


def main() -> None:
    """Measure the architectures named, or all, and write the page."""
    from pipeline.errors import PipelineError
    from pipeline.isolation.sandbox import run

    names = sys.argv[1:] or list(SIZES)
    rows: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            record = Path(folder) / f"{name}.json"
            record.write_text("{}")
            try:
                run(name, measure, name, str(record), timeout_s=TIMEOUT_S)
                fault = ""
            except PipelineError as error:
                fault = " ".join(str(error).split())[:200]
            rows[name] = json.loads(record.read_text())
            missing = next((column for column in COLUMNS if column not in rows[name]), None)
            if fault and missing:
                rows[name][missing] = f"fails: {fault}"
            print(name, rows[name], flush=True)
    lines = ["| architecture | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(row.get(column, "") for column in COLUMNS) + " |"
        for name, row in rows.items()
    ]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


def measure(name: str, record: str) -> None:
    """Take one architecture as far as it goes, writing down each step as it is done."""
    from pipeline.training.tfmot import tensorflow

    tensorflow()
    import keras

    from models.load import load_model
    from models.prepare import prepare

    row: dict[str, str] = {}

    def done(column: str, text: str) -> None:
        row[column] = text
        Path(record).write_text(json.dumps(row))

    shape = (SIZES[name], SIZES[name], 3)
    done("input", "x".join(map(str, shape)))
    application = getattr(keras.applications, name)
    source = application(weights=None, input_shape=shape, classes=CLASSES, classifier_activation=None)
    path = Path(record).with_suffix(".keras")
    source.save(path)
    loaded = load_model(path)
    x = np.random.default_rng(0).random((SAMPLES, *shape), np.float32) * 255
    expected, got = (np.asarray(model(x, training=False)) for model in (source, loaded))
    done("bridge", f"{np.abs(expected - got).max() / np.abs(expected).max():.1e}")
    prepared, *_ = prepare(loaded)
    done("prune", _pruned(prepared))
    aware = _aware(prepared, done)
    written = _converted(aware, x, Path(record).with_suffix(".tflite"))
    done("int8", f"{written.stat().st_size:,} bytes")
    done("XNNPACK", _delegated(written))


def _pruned(model: Any) -> str:
    import tf_keras

    from pipeline.compress.weights import prunable_layers
    from pipeline.training.tfmot import tensorflow_model_optimization

    names = prunable_layers(model)
    prune = tensorflow_model_optimization().sparsity.keras.prune_low_magnitude

    def wrap(layer: Any) -> Any:
        clone = type(layer).from_config(layer.get_config())
        return prune(clone) if layer.name in names else clone

    tf_keras.models.clone_model(model, clone_function=wrap)
    return f"{len(names)} of {sum(bool(layer.weights) for layer in model.layers)}"


def _aware(model: Any, done: Any) -> Any:
    from pipeline.quantize.qat import fake_quantized

    aware = fake_quantized(model)
    wrapped = sum(hasattr(layer, "quantize_config") for layer in aware.layers)
    done("QAT", f"{wrapped} of {len(model.layers) - len(model.inputs)}")
    return aware


def _converted(model: Any, x: Any, written: Path) -> Path:
    import tensorflow as tf

    sample = tf.TensorSpec((1, *x.shape[1:]), tf.float32)  # an open batch leaves shape arithmetic behind
    infer = tf.function(lambda inputs: model(inputs, training=False)).get_concrete_function(sample)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([infer], model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[np.newaxis]] for sample in x)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    written.write_bytes(converter.convert())
    return written


def _delegated(model: Path) -> str:
    from pipeline.runtimes.runtime import host_runtime
    from pipeline.runtimes.session import Session

    with Session(host_runtime("litert"), model) as session:
        nodes = session.describe().nodes
    left = sorted({node.op for node in nodes if node.placement != "xnnpack-int8"})
    taken = sum(node.placement == "xnnpack-int8" for node in nodes)
    return f"{taken} of {len(nodes)}" + (f", not {', '.join(left)}" if left else "")


if __name__ == "__main__":
    main()
