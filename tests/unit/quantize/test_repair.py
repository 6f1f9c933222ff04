"""Repairs of a float file before its quantization: those that help are kept, with what each gains."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from float_graphs import RELU, Arrays, FloatGraph, quantized

from models.ports import Port
from pipeline.artifacts import CalibrationSet, KerasModel, Ranges, Transform
from pipeline.config import CalibrationConfig
from pipeline.errors import StageError, StageKilledError, StageTimeoutError
from pipeline.flatbuffer import read_tflite
from pipeline.isolation import sandbox
from pipeline.layer_records import LayerRecord
from pipeline.quantize import repair
from pipeline.quantize.activations import statistics
from pipeline.quantize.backends import BACKENDS, Backend, tflite_converter
from pipeline.quantize.methods import PtqConfig
from pipeline.quantize.ranges import read_ranges
from pipeline.quantize.repair import AUTO, REPAIRS, Samplings, repair_model, write_repaired
from pipeline.quantize.repairs.kernels import find_kernels
from pipeline.quantize.shared_scales import ranges_from

RNG = np.random.default_rng(3)
CONFIG = CalibrationConfig(ranges="min-max")


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def samples(*shape, count=120):
    return Arrays((np.abs(normal(count, *shape)),))


def damaged():
    """Two convolutions and a dense layer; the channels between the first two have scales from 2^-6 to 2^6."""
    graph, scales = FloatGraph(), np.exp2(np.linspace(-6, 6, 8)).astype(np.float32)
    first, second = normal(8, 3, 3, 2) * scales[:, None, None, None], normal(6, 3, 3, 8) / scales
    hidden = graph.conv(graph.input(8, 8, 2), first, normal(8) * scales, activation=RELU)
    hidden = graph.conv(hidden, second, normal(6), activation=RELU)
    return graph.file(graph.dense(graph.mean(hidden), normal(3, 6), normal(3)))


@pytest.fixture
def backend(monkeypatch):
    """A converter that needs no TensorFlow."""
    monkeypatch.setitem(BACKENDS, "stand-in", Backend(None, quantized))
    return "stand-in"


def stored(folder, content, calibration):
    """A float file with min-max ranges, as ``find_ranges`` makes it."""
    folder.mkdir()
    source = Ranges(folder=folder)
    source.tflite.write_bytes(content)
    found = ranges_from(content, statistics(content, calibration), "min-max", 100.0)
    source.table.write_text(json.dumps({"ranges": [each._asdict() for each in found]}))
    return source


def repaired(tmp_path, content, given, names, backend, layers=()):
    source, made = stored(tmp_path / "ranges", content, given.calibration), Ranges(folder=tmp_path)
    done, _ = write_repaired(source, given, layers, names, CONFIG, backend, made)
    return done, made


def test_auto_repairs_a_model_with_spread_channel_scales(tmp_path, backend):
    given = Samplings(samples(8, 8, 2), samples(8, 8, 2))

    done, made = repaired(tmp_path, damaged(), given, (AUTO,), backend)

    assert [each.name for each in done] == list(REPAIRS)
    equalization, *others = done
    assert equalization.applied
    assert equalization.before_db < 10 < 20 < equalization.after_db
    assert all(each.applied or each.reason == "no measurable gain" for each in others)
    assert {each.tensor for each in read_ranges(made)} == {0, 3, 6, 8, 11}
    assert str(equalization).startswith("equalization ")


def test_repairs_that_are_named_are_made_and_no_others(tmp_path, backend):
    given, content = Samplings(samples(8, 8, 2), samples(8, 8, 2)), damaged()

    done, made = repaired(tmp_path, content, given, ("rounding",), backend)

    assert [(each.name, each.applied) for each in done] == [("rounding", True)]
    kernels = [find_kernels(read_tflite(each)) for each in (content, made.tflite.read_bytes())]
    for before, after in zip(*(found.values() for found in kernels), strict=True):
        np.testing.assert_array_equal(before.bias, after.bias)
        assert (before.weights != after.weights).any()


def test_a_repair_without_a_gain_is_left_out_with_its_reason(tmp_path, backend, monkeypatch):
    monkeypatch.setattr(repair, "repair_kernels", lambda content, *_: content)
    graph = FloatGraph()
    content = graph.file(graph.dense(graph.input(4), normal(3, 4)))

    done, made = repaired(tmp_path, content, Samplings(samples(4), samples(4)), (AUTO,), backend)

    assert [each.reason for each in done] == [
        "no two layers can exchange scales",
        "no measurable gain",
        "no measurable gain",
    ]
    assert not any(each.applied for each in done)
    assert made.tflite.read_bytes() == content


def test_layers_that_must_keep_their_values_only_get_other_biases(tmp_path, backend):
    given = Samplings(samples(8, 8, 2), samples(8, 8, 2))
    layers = (LayerRecord(name="conv", kind="Conv2D", levels=4),)

    done, made = repaired(tmp_path, content := damaged(), given, REPAIRS, backend, layers)

    assert [each.applied for each in done] == [False, True, False]
    assert done[0].reason == "the weights must keep their few values"
    kernels = [find_kernels(read_tflite(each)) for each in (content, made.tflite.read_bytes())]
    for before, after in zip(*(found.values() for found in kernels), strict=True):
        np.testing.assert_array_equal(before.weights, after.weights)


def test_a_model_with_two_inputs_is_repaired_on_both_in_the_models_order(tmp_path, backend):
    graph = FloatGraph()
    one, other = graph.input(4), graph.input(6)
    graph.graph.inputs = [other, one]  # as a converter may write them
    hidden = graph.sum(graph.dense(one, normal(5, 4)), graph.dense(other, normal(5, 6)))
    content = graph.file(graph.dense(hidden, normal(3, 5)))
    given = Samplings(*(Arrays((normal(100, 4), normal(100, 6))) for _ in range(2)))

    done, _ = repaired(tmp_path, content, given, ("bias-correction", "rounding"), backend)

    assert all(each.applied for each in done)
    assert done[0].before_db > 20
    assert done[-1].after_db > 20  # inputs in another order give outputs of another function


def test_the_converter_writes_the_chosen_integers(tmp_path):
    given, content = Samplings(samples(8, 8, 2), samples(8, 8, 2)), damaged()

    _, made = repaired(tmp_path, content, given, ("rounding",), "tflite-converter")

    model = read_tflite(made.tflite.read_bytes())
    int8 = read_tflite(tflite_converter.quantize(model.content, read_ranges(made), "int8"))
    writers = {int8.tensors[each.outputs[0]].name: each for each in int8.operators}
    for kernel in find_kernels(model).values():
        matrix = kernel.matrix()
        chosen = kernel.weights_of(matrix / (np.abs(matrix).max(axis=-1, keepdims=True) / 127))
        writer = writers[model.tensors[kernel.operator.outputs[0]].name]
        found = int8.constant(int8.tensors[writer.inputs[1]])
        np.testing.assert_allclose(found, chosen, atol=0.01)


class TestStage:
    """``repair_model`` around the child process."""

    MODEL = KerasModel(
        inputs=(Port("image", (4, 4, 1)),),
        outputs=(Port("output", (3,), activation="softmax"),),
        tasks=("classification",),
        from_logits=(False,),
        preprocessing=(Transform(reason="declared"),),
    )

    @pytest.fixture
    def given(self, tmp_path, store_dataset, tiny_tflite):
        """A model, calibration samples, data and ranges."""
        images = np.random.default_rng(0).random((60, 4, 4, 1), np.float32)
        data = store_dataset(tmp_path / "data", images, np.arange(60) % 3)
        calibration = CalibrationSet(folder=tmp_path, samples=16)
        np.save(calibration.indices, np.arange(16))
        (tmp_path / "ranges").mkdir()
        ranges = Ranges(folder=tmp_path / "ranges")
        ranges.tflite.write_bytes(tiny_tflite)
        ranges.table.write_text('{"ranges": []}')
        return self.MODEL, calibration, data, ranges

    def run(self, given, out):
        out.mkdir()
        settings = {"repairs": (AUTO,), "config": CONFIG, "backend": "tflite-converter", "timeout_s": 7.0}
        return repair_model(*given, **settings, out=out)

    def test_what_each_repair_gains_is_a_finding(self, given, tmp_path, monkeypatch):
        done = (
            repair.Repair(name="rounding", before_db=24.06, after_db=26.3, samples=44, applied=True),
            repair.Repair(
                name="equalization", before_db=24.0, after_db=24.0, samples=44, applied=False, reason="why"
            ),
        )
        monkeypatch.setattr(sandbox, "run", lambda *_, timeout_s: (done, ""))

        made = self.run(given, tmp_path / "out")

        assert made.repairs == done
        [finding] = made.findings
        assert "rounding 24.1 -> 26.3 dB; equalization not applied: why" in finding

    def test_a_model_that_cannot_be_repaired_is_left_as_it_is_with_a_note(self, given, tmp_path, monkeypatch):
        def fail(*_, timeout_s):
            raise StageError("repair_model", "op FOO is unknown", "")

        monkeypatch.setattr(sandbox, "run", fail)

        made = self.run(given, tmp_path / "out")

        assert made.notes == ("no repairs without training: op FOO is unknown",)
        assert made.tflite.read_bytes() == given[-1].tflite.read_bytes()
        assert read_ranges(made) == []

    @pytest.mark.parametrize("error", [StageTimeoutError, StageKilledError])
    def test_a_process_that_ended_for_another_reason_is_an_error(self, given, tmp_path, monkeypatch, error):
        def end(*_, timeout_s):
            raise error("repair_model", "it ended", "try again")

        monkeypatch.setattr(sandbox, "run", end)

        with pytest.raises(error):
            self.run(given, tmp_path / "out")

    def test_without_ranges_there_is_nothing_to_repair(self, given, tmp_path):
        *others, ranges = given
        made = self.run((*others, replace(ranges, problem="op FOO")), tmp_path / "out")

        assert (made.problem, made.repairs) == ("op FOO", ())

    def test_held_out_samples_are_none_of_the_calibration_samples(self, given):
        model, _, data, _ = given

        many = Samplings.of(data, model, np.arange(16))
        few = Samplings.of(data, model, np.arange(40))

        assert (len(many.calibration), len(many.held_out)) == (16, 44)
        assert (len(few.calibration), len(few.held_out)) == (30, 10)
        for each in (many, few):
            assert not set(each.calibration.rows) & set(each.held_out.rows)


def test_auto_stands_alone_in_the_settings():
    assert PtqConfig(repairs="rounding").repairs == ("rounding",)
    assert PtqConfig(repairs=[]).repairs == ()
    with pytest.raises(ValueError, match="stands alone"):
        PtqConfig(repairs=["auto", "rounding"])
