"""After the conversion: the file is asked what it is, and the next format is tried where it is not int8."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from models.ports import Port
from pipeline.artifacts import CalibrationSet, KerasModel, QatModel, Transform
from pipeline.errors import PipelineError, StageError, StageKilledError, StageTimeoutError
from pipeline.isolation import sandbox
from pipeline.layer_records import LayerRecord
from pipeline.quantize.convert import (
    STAGE,
    ConvertConfig,
    _answers,
    convert_quantized,
    convert_unquantized,
)

LAYERS = (
    LayerRecord(name="image", kind="InputLayer"),
    LayerRecord(name="dense", kind="Dense", operations=("quantization-aware",)),
    LayerRecord(name="other", kind="Dense", operations=("quantization-aware",), weights=196, sparsity=0.5),
)
MODEL = {
    "inputs": (Port("image", (4, 4, 1)),),
    "outputs": (Port("output", (3,), activation="softmax"),),
    "tasks": ("classification",),
    "from_logits": (False,),
    "preprocessing": (Transform(reason="declared"),),
    "layers": LAYERS,
}
TRAINED = QatModel(**MODEL)
UNTRAINED = KerasModel(**MODEL | {"layers": tuple(replace(layer, operations=()) for layer in LAYERS)})
WITH_LOOP = replace(TRAINED, layers=(replace(LAYERS[1], without_int8="a loop crashes the converter"),))
CRASH = StageError(STAGE, "the child process was killed by SIGSEGV", "run again")


@pytest.fixture
def convert(monkeypatch, tmp_path, store_dataset):
    """Run the stage with a converter that writes these bytes, or fails so, one after another."""
    images = np.random.default_rng(0).random((8, 4, 4, 1), np.float32)
    data = store_dataset(tmp_path / "data", images, np.arange(8) % 3)
    samples = CalibrationSet(folder=tmp_path, samples=4)
    np.save(samples.indices, np.arange(4))

    def run(*contents, model=TRAINED, stage=convert_quantized, answers=None, **config):
        left = list(contents)

        def written(*arguments, **options):
            content, (original, tried, said, _, path) = left.pop(0), arguments[-5:]
            if isinstance(content, Exception):
                raise content
            path.write_bytes(content)
            original.write_bytes(b"float")
            expected = [np.zeros((len(tried), 3))]
            with suppress(PipelineError):
                expected = _answers(path, tried, "litert")
            np.savez(said, **{"000": expected[0] if answers is None else answers})

        monkeypatch.setattr(sandbox, "run", written)
        return stage(model, samples, data, config=ConvertConfig(**config), out=tmp_path)

    return run


def float_softmax(model):
    """Leave the logits and the probabilities float."""
    for tensor in (8, 9):
        model.subgraphs[0].tensors[tensor].type = schema.TensorType.FLOAT32
        model.subgraphs[0].tensors[tensor].quantization = None


def test_size_hash_and_sparsity_are_the_files_own(convert, tiny_tflite, tmp_path):
    found = convert(tiny_tflite)

    assert (found.format, found.reason, found.layers) == ("int8", "", LAYERS)
    assert found.size_bytes == len(tiny_tflite)
    assert found.sha256 == hashlib.sha256(tiny_tflite).hexdigest()
    assert found.sparsity == pytest.approx(98 / 228)
    assert sorted(path.name for path in tmp_path.glob("*.tflite")) == ["float.tflite", "model.tflite"]
    assert found.original.name == "float.tflite"


def test_where_nothing_less_is_allowed_the_layer_that_stays_float_is_named(convert, tiny_tflite_with):
    with pytest.raises(
        StageError, match="int8: layer 'dense' has no int8 kernel for FULLY_CONNECTED; int8 without"
    ):
        convert(*[tiny_tflite_with(float_softmax)] * 2, formats=("int8",))


def test_an_operator_of_no_known_layer_is_named_itself(convert, tiny_tflite_with):
    with pytest.raises(StageError, match=r"int8: a float operator is left: 2 FULLY_CONNECTED .*; replace"):
        convert(tiny_tflite_with(float_softmax), formats=("int8",), model=replace(TRAINED, layers=()))


def test_a_layer_that_is_known_to_have_no_int8_form_is_the_reason_without_a_trial(convert, tiny_tflite):
    found = convert(tiny_tflite, model=WITH_LOOP)

    assert found.format == "int8 with float operators"
    assert found.reason == "int8: layer 'dense': a loop crashes the converter"


def test_answers_that_are_not_the_models_are_a_reason(convert, tiny_tflite):
    other = np.random.default_rng(1).random((4, 3))

    with pytest.raises(StageError, match=r"its outputs differ from the Keras model's \(correlation"):
        convert(tiny_tflite, tiny_tflite, answers=other, formats=("int8",))


def test_formats_that_leave_out_int8_are_the_reason_of_a_float_file(convert, tiny_tflite):
    found = convert(tiny_tflite, formats=("float16",))

    assert (found.format, found.reason) == ("float16", "[convert] formats leaves out int8")


def test_a_crash_of_the_converter_is_a_reason_and_the_next_format_is_taken(convert, tiny_tflite):
    found = convert(CRASH, CRASH, tiny_tflite, model=UNTRAINED)

    assert found.format == "float16"
    assert found.reason == (
        "int8: the child process was killed by SIGSEGV; "
        "int8 with float operators: the child process was killed by SIGSEGV"
    )
    assert [layer.treatment for layer in found.layers] == ["none", "float", "float"]


KILLED = StageKilledError(STAGE, "the child process was killed by SIGKILL", "if memory ran out: free some")


@pytest.mark.parametrize("contents", [(KILLED,), (CRASH, KILLED)], ids=["at once", "after a crash"])
def test_no_format_is_given_up_for_a_converter_that_was_killed(convert, contents, tiny_tflite):
    with pytest.raises(
        StageKilledError, match=r"int8.*: the child process was killed by SIGKILL; free memory"
    ):
        convert(*contents, tiny_tflite)


def test_no_format_is_given_up_for_a_runtime_that_was_killed(convert, tiny_tflite, monkeypatch):
    def killed(written, samples, package):
        raise KILLED

    monkeypatch.setattr("pipeline.quantize.convert._answers", killed)
    with pytest.raises(StageKilledError, match=r"int8: .* killed by SIGKILL"):
        convert(tiny_tflite, tiny_tflite, tiny_tflite)


def test_int8_is_quantized_after_training_before_a_lower_format_is_tried(
    convert, tiny_tflite, tiny_tflite_with
):
    pruned = replace(LAYERS[2], operations=("pruned", "quantization-aware"))

    found = convert(
        tiny_tflite_with(float_softmax), tiny_tflite, model=replace(TRAINED, layers=(*LAYERS[:2], pruned))
    )

    assert (found.format, found.reason) == ("int8", "")
    assert found.untrained == "layer 'dense' has no int8 kernel for FULLY_CONNECTED"
    [note] = found.notes
    assert "int8 by post-training quantization: the model of" in note
    assert [layer.treatment for layer in found.layers] == ["none", "post-training", "pruned, post-training"]


def test_each_way_to_int8_has_its_own_reason(convert, tiny_tflite):
    found = convert(CRASH, StageError(STAGE, "another crash", "run again"), CRASH, CRASH, tiny_tflite)

    assert found.format == "float16"
    assert found.reason.startswith(
        "int8: the child process was killed by SIGSEGV; "
        "int8 without quantization-aware training: another crash; "
    )
    assert [layer.treatment for layer in found.layers] == ["none", "float", "float"]


def test_a_reason_does_not_say_where_the_converter_was_called(convert, tiny_tflite):
    said = "ConverterError: /home/someone/confinement.py:298:1: error: 'tfl.unpack' op requires one type"

    found = convert(StageError(STAGE, said, "run again"), tiny_tflite)

    assert found.untrained == "ConverterError: 'tfl.unpack' op requires one type"


def test_int8_is_not_tried_after_training_where_a_layer_has_no_int8_form(convert, tiny_tflite):
    found = convert(CRASH, tiny_tflite, model=WITH_LOOP)

    assert found.format == "int8 with float operators"
    assert found.untrained == "the child process was killed by SIGSEGV"


def test_a_format_that_one_runtime_cannot_run_is_passed_over_for_one_that_both_can(convert, tiny_tflite):
    damaged = tiny_tflite[:900]
    found = convert(CRASH, damaged, tiny_tflite, model=UNTRAINED)

    assert found.format == "float16"
    assert "int8 with float operators: " in found.reason


def test_where_none_can_be_had_every_reason_is_told_in_one_line(convert):
    with pytest.raises(StageError, match=r"int8: the child .*; float32: the child .*; replace") as caught:
        convert(*[CRASH] * 6)
    assert "\n" not in str(caught.value)


def test_zeros_that_were_lost_on_the_way_are_an_error(convert, tiny_tflite):
    with pytest.raises(StageError, match=r"150 weights were zero before the conversion and 98 after"):
        convert(tiny_tflite, model=replace(TRAINED, layers=(replace(LAYERS[2], weights=300),)))


def test_a_conversion_that_runs_into_its_time_out_stops_and_takes_no_lower_format(convert, tiny_tflite):
    slow = StageTimeoutError(STAGE, "no result after 600 s", "allow more time, or use a smaller model")

    with pytest.raises(StageTimeoutError, match=r"int8: no result after 600 s; raise \[convert\] timeout_s"):
        convert(slow, tiny_tflite)


def test_without_quantization_the_release_is_float32_and_says_that_this_was_asked_for(convert, tiny_tflite):
    found = convert(tiny_tflite, model=UNTRAINED, stage=convert_unquantized)

    assert (found.format, found.reason) == ("float32", '[quantize] method is "none"')
    assert [layer.treatment for layer in found.layers] == ["none", "float", "float"]


def test_a_model_that_was_not_trained_for_it_is_quantized_after_training(convert, tiny_tflite):
    found = convert(tiny_tflite, model=UNTRAINED)

    assert (found.format, found.untrained, found.notes) == ("int8", "", ())
    assert [layer.treatment for layer in found.layers] == ["none", "post-training", "post-training"]


def test_an_unknown_backend_comes_with_the_nearest_one():
    with pytest.raises(ValueError, match="did you mean 'tflite-converter'"):
        ConvertConfig(backend="tflite-convertor")
