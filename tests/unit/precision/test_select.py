"""Selective precision on real files: an int8 model with one spoiled layer, its float file, and labels."""

from __future__ import annotations

import numpy as np
import pytest

from models.ports import Port
from pipeline.artifacts import Baseline, QuantizedModel
from pipeline.config import GatesConfig
from pipeline.errors import ConfigError, InputError
from pipeline.flatbuffer import float_operators, read_tflite
from pipeline.flatbuffer.simulation import dequantized, simulate
from pipeline.layer_records import LayerRecord
from pipeline.precision import trials
from pipeline.precision.config import PrecisionConfig
from pipeline.precision.select import require_known, select_precision
from pipeline.runtimes.quantization import run_real
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session

RANDOM = np.random.default_rng(0).random((4000, 4, 4, 1), np.float32)
CODES = np.random.default_rng(1).integers(-127, 128, (2, 192)).astype(np.int8)
RECORDS = (
    LayerRecord(name="conv", kind="Conv2D", made_of="features"),
    *(LayerRecord(name=name, kind="Dense") for name in ("flat", "dense", "probabilities")),
)


def fine(flat):
    flat.buffers[1].data = CODES[0, :36].view(np.uint8)
    flat.buffers[4].data = CODES[1].view(np.uint8)
    flat.subgraphs[0].tensors[6].quantization.scale = np.array([0.002], np.float32)


def coarse_convolution(flat):
    """Leave three values to the weights of the convolution."""
    fine(flat)
    flat.buffers[1].data = (np.rint(CODES[0, :36] / 90) * 90).astype(np.int8).view(np.uint8)


def coarse_logits(flat):
    """Give one step to all logits."""
    fine(flat)
    flat.subgraphs[0].tensors[8].quantization.scale = np.array([20.0], np.float32)


@pytest.fixture
def given(tmp_path, tiny_tflite_with, store_dataset, prepared_model):
    """A function that returns an int8 model with one spoiled part, and what else the stage takes."""

    def make(spoil, **changes):
        float_ = simulate(read_tflite(tiny_tflite_with(fine)), {}, (), inputs=[0])
        content = tiny_tflite_with(spoil)
        quantized = QuantizedModel(
            folder=tmp_path / "int8", size_bytes=len(content), sha256="", sparsity=0.0, format="int8",
            reason="", layers=RECORDS,
        )  # fmt: skip
        baseline = Baseline(folder=tmp_path / "float", sha256="")
        for folder in (quantized.folder, baseline.folder, tmp_path / "out"):
            folder.mkdir()
        quantized.tflite.write_bytes(content)
        for path in (quantized.original, baseline.tflite):
            path.write_bytes(float_)
        with Session(host_runtime("litert"), baseline.tflite) as session:
            outputs = run_real(session, [RANDOM], batches=True)[0]
        is_clear = np.sort(outputs)[:, -2] < 0.2  # int8 does not flip such a sample by itself
        samples, labels = (each[is_clear][:450] for each in (RANDOM, outputs.argmax(1)))
        facts = {"inputs": (Port("image", (4, 4, 1)),), "layers": RECORDS} | changes
        prepared = prepared_model(tmp_path / "prepared", **facts)
        data = store_dataset(tmp_path / "data", samples, labels)
        return quantized, prepared, baseline, data

    return make


def selected(given, folder, **settings):
    return select_precision(
        *given,
        config=PrecisionConfig(**settings),
        gates=GatesConfig(),
        devices=(),
        seed=0,
        out=folder / "out",
    )


def test_auto_widens_the_one_layer_that_loses_and_says_what_it_gains_and_costs(given, tmp_path):
    found = selected(given(coarse_convolution), tmp_path, layers=("auto",))

    chosen = found.precision
    assert chosen.layers == ("features",)
    assert chosen.int8_change < -1 < -0.1 < next(w.change for w in chosen.widths if w.chosen)
    assert [each.layer for each in chosen.tried if each.chosen] == ["features"]
    assert chosen.tried[0].layer == "features"
    assert chosen.tried[0].sqnr_db > chosen.int8_sqnr_db + 10
    assert (chosen.cost_unit, chosen.device) == ("estimated operations", "")
    assert found.format == "int8 with wider layers"
    assert found.reason == f"'features' in {chosen.width}, found by [precision] layers"
    [record] = [layer for layer in found.layers if layer.quantization == "float"]
    assert (record.made_of, record.reason) == ("features", f"{chosen.width} (found by [precision] layers)")
    flat = read_tflite(found.tflite)
    assert [each.name for each in float_operators(flat) if not each.is_cast] == ["CONV_2D"]
    assert (found.sha256, found.size_bytes) == (flat.sha256, flat.size_bytes)
    assert found.original.exists()
    assert (found.counterpart.problem, found.expected.exists()) == ("", True)


def test_auto_widens_neighbours_where_what_is_between_them_has_too_few_steps(given, tmp_path):
    found = selected(given(coarse_logits), tmp_path, layers=("auto",))

    assert found.precision.layers == ("dense", "probabilities")
    assert [tensor.dtype for tensor in read_tflite(found.tflite).outputs] == ["float32"]


def test_auto_leaves_a_model_that_passes_in_int8(given, tmp_path):
    given_model = given(fine)

    found = selected(given_model, tmp_path, layers=("auto",))

    assert (found.precision.layers, found.format, found.reason) == ((), "int8", "")
    assert found.tflite.read_bytes() == given_model[0].tflite.read_bytes()
    assert "no layer needs a wider format than int8" in found.findings[0]


def test_auto_needs_targets_to_judge_outputs_by(given, tmp_path):
    quantized, prepared, baseline, data = given(fine)
    data.target(0).unlink()

    with pytest.raises(InputError, match="needs training samples with targets; name the layers instead"):
        selected((quantized, prepared, baseline, data), tmp_path, layers=("auto",))


def test_layers_that_are_named_are_widened_whatever_they_gain(given, tmp_path):
    found = selected(given(fine), tmp_path, layers=("feat*", "dense"), width="int16")

    assert (found.precision.layers, found.precision.width) == (("features", "dense"), "int16")
    assert found.reason == "'features', 'dense' in int16, [precision] layers"
    wide = "int16 activations"
    assert [layer.quantization for layer in found.layers] == [wide, None, wide, None]


def test_a_format_that_a_runtime_computes_wrong_is_not_taken(given, tmp_path, monkeypatch):
    right = trials.widen

    def wrong_in_float16(model, exact, wide, width, **more):
        if width == "float16":
            weights = [each for each in model.tensors if each.is_constant and each.scales]
            exact = {each.index: 2 * dequantized(model, each) for each in weights}
        return right(model, exact, wide, width, **more)

    monkeypatch.setattr(trials, "widen", wrong_in_float16)
    found = selected(given(fine), tmp_path, layers=("dense",))

    assert found.precision.width == "float32"
    [refused] = [each for each in found.precision.widths if each.width == "float16"]
    assert "litert" in refused.problem
    assert "of the range in layer 'dense'" in refused.problem


def test_a_name_that_no_layer_has_is_refused_with_the_nearest_before_any_work():
    with pytest.raises(ConfigError, match="the model has no layer 'feature'; did you mean 'features'"):
        require_known(("dense", "feature"), RECORDS)


def test_auto_stands_alone():
    with pytest.raises(ValueError, match='"auto" stands alone'):
        PrecisionConfig(layers=("auto", "dense"))
