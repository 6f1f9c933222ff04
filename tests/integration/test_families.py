"""Models of several families, as both kinds of Keras save them, are built; benchmarks/corpus builds more."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import families as f
import formats
import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = """
[[compress]]
method = "weights"
sparsity = 0.5
min_weights = 0
training = { epochs = 2, min_steps = 1, batch_size = 16 }

[teacher]
fine_tune = "never"

[quantize]
method = "qat"
training = { epochs = 2, min_steps = 1, batch_size = 16 }

[calibration]
samples = 32

[validate]
threads = [1, 2]
operators = false

[gates]
accuracy_drop_points = 5.0
xnnpack_share = 0.0
enabled = [
    "accuracy", "per-class recall", "float baseline", "full integer", "size", "xnnpack", "bit-exactness",
    "parity", "finite outputs", "compatibility", "cross-runtime",
]
"""


@dataclass(frozen=True)
class Case:
    """What is built: a model on what it sees of the data, saved by a library, with data stored somehow."""

    model: Callable[[Any], Any]
    data: Callable[[], Any]
    store: Callable[..., str]
    task: str
    least: float = 95.0
    keras: str = "keras"
    ending: str = "keras"
    seen: Callable[[Any], Any] = lambda inputs: inputs
    format: str = "int8"
    epochs: int = 10
    gates: str = ""
    target: str = "host"


def unit(images):
    return images / np.float32(255)


def signed(images):
    return images / np.float32(127.5) - 1


CASES = {
    "mobile, IDX": Case(f.mobile, f.corners, formats.as_idx, "classification", seen=signed, target="arm64"),
    "GRU": Case(
        f.gru,
        f.waves,
        formats.as_npz,
        "classification",
        keras="tf_keras",
        ending="h5",
        epochs=20,
    ),
    "attention": Case(
        f.attention,
        f.waves,
        formats.as_npz,
        "classification",
        least=60.0,
        format="",
        epochs=20,
        gates="bit_difference_steps = 8",  # of builtin kernels, which Arm has its own of
        target="arm64",
    ),
    "video": Case(f.frames, f.movies, formats.as_npz, "classification", seen=unit, epochs=20),
    "U-Net, masks": Case(
        f.unet,
        f.masks,
        formats.as_mask_folder,
        "segmentation",
        85.0,
        seen=unit,
        epochs=6,
    ),
}


@pytest.fixture
def built(tmp_path, pipeline, monkeypatch):
    """Build what was put beside it in this process, and return the report and the release."""

    def run(model: str, data: str, *, target: str = "arm64", settings: str = SETTINGS) -> tuple[Any, Any]:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "settings.toml").write_text(
            f'[model]\npath = "{model}"\n[data]\nsource = "{data}"\n{settings}'
        )
        ended = pipeline("build", "--target", target, "--config", "settings.toml", "--out", "out", "--json")
        assert ended.code == 0, ended.err
        result = json.loads(ended.out)
        return result["report"], tmp_path / f"out/release/model-0.1.0-{target}"

    return run


@pytest.mark.parametrize("name", CASES)
def test_a_family_is_built_and_stays_as_good(name, tmp_path, built):
    case = CASES[name]
    keras = f.library(case.keras)
    inputs, targets = case.data()
    model = case.model(keras)
    seen = case.seen(inputs[: f.TRAIN])
    aim = seen if targets is None or case.task == "anomaly" else targets[: f.TRAIN]
    f.train(model, keras, seen, aim, case.epochs)
    f.save(model, tmp_path / f"model.{case.ending}")

    data = case.store(tmp_path, inputs, targets)
    report, release = built(
        f"model.{case.ending}", data, target=case.target, settings=f"{SETTINGS}{case.gates}\n"
    )

    [found] = report["accuracy"]
    primary = found["metrics"][0]
    assert found["task"] == case.task
    assert primary["baseline"] >= case.least
    assert report["format"] == (case.format or report["format"])
    for layer in report["layers"]:
        assert layer["treatment"]
        assert layer["reason"] or layer["treatment"] not in {"float", "post-training"}
    assert (release / "predict.py").is_file()


def test_two_inputs_and_two_outputs_are_built_and_each_output_is_judged(tmp_path, built):
    keras = f.library("keras")
    images, labels = f.corners()
    points, numbers = f.plane()
    seen = unit(images)
    model = f.two_headed(keras)
    f.train(model, keras, [seen[: f.TRAIN], points[: f.TRAIN]], [labels[: f.TRAIN], numbers[: f.TRAIN]], 30)
    model.save(tmp_path / "model.keras")
    arrays = {"image": seen, "profile": points, "corner": labels, "height": numbers}
    np.savez(
        tmp_path / "data.npz",
        **{f"train_{name}": values[: f.TRAIN] for name, values in arrays.items()},
        **{f"test_{name}": values[f.TRAIN :] for name, values in arrays.items()},
    )

    report, release = built("model.keras", "data.npz")

    assert [(found["output"], found["task"]) for found in report["accuracy"]] == [
        ("corner", "classification"),
        ("height", "regression"),
    ]
    contract = json.loads((release / "manifest.json").read_text())
    assert [entry["name"] for entry in contract["inputs"]] == ["image", "profile"]
    assert (release / "golden_output_1.npy").is_file()
