"""Costs on an emulated core: they repeat to the instruction, add up, and a slower model is found."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.costing.predict import cost_table, predict
from pipeline.emulation.emulator import provision
from pipeline.flatbuffer import read_tflite
from pipeline.runtimes.runtime import emulated_runtime
from pipeline.runtimes.session import Session
from pipeline.targets import get_device
from pipeline.validation.against import InstructionChange
from pipeline.validation.breakdown import assemble, measure_parts, write_parts
from pipeline.validation.costs import count_emulated
from pipeline.validation.devices import run_on_device
from pipeline.validation.model_under_test import Golden, InputSpec, ModelUnderTest

pytestmark = pytest.mark.xdist_group("emulated")

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Golden(None, 4, 0)


@pytest.fixture(scope="module", autouse=True)
def provisioned():
    provision()


@pytest.fixture(scope="module")
def tiny(tiny_tflite_file):
    return ModelUnderTest.open(tiny_tflite_file)


@pytest.fixture(scope="module")
def tiny_tflite_file(tmp_path_factory):
    """Two convolutions, an addition of what goes round the second, and a softmax over what is left."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    path = tmp_path_factory.mktemp("costs") / "net.tflite"
    builder = flatbuffers.Builder()
    builder.Finish(_net(schema).Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def _net(schema):
    import numpy as np

    rng = np.random.default_rng(0)
    kernel = rng.integers(-127, 128, (16, 3, 3, 16)).astype(np.int8)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    for data in (kernel, np.zeros(16, np.int32)):
        buffer = schema.BufferT()
        buffer.data = data.view(np.uint8).ravel()
        model.buffers.append(buffer)

    def tensor(name, shape, kind, buffer=0, scales=(0.1,)):
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, kind, buffer
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = np.array(scales, np.float32)
        made.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        return made

    int8, image = schema.TensorType.INT8, [1, 16, 16, 16]
    graph.tensors = [
        tensor("input", image, int8),
        tensor("kernel", [16, 3, 3, 16], int8, 1, [0.01] * 16),
        tensor("bias", [16], schema.TensorType.INT32, 2, [0.001] * 16),
        tensor("net/first/Conv2D", image, int8),
        tensor("net/second/Conv2D", image, int8),
        tensor("net/sum/add", image, int8),
    ]
    for name in ("CONV_2D", "ADD"):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = 3 if name == "CONV_2D" else 2
        model.operatorCodes = [*(model.operatorCodes or []), code]

    def operator(code, inputs, output, kind, options):
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, inputs, [output]
        made.builtinOptionsType, made.builtinOptions = getattr(schema.BuiltinOptions, kind), options
        return made

    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    graph.operators = [
        operator(0, [0, 1, 2], 3, "Conv2DOptions", options),
        operator(0, [3, 1, 2], 4, "Conv2DOptions", options),
        operator(1, [3, 4], 5, "AddOptions", schema.AddOptionsT()),
    ]
    graph.inputs, graph.outputs = [0], [5]
    return model


def test_two_workers_count_the_same_within_a_ten_thousandth(tiny):
    counts = []
    for _ in range(2):
        with Session(emulated_runtime(get_device("rpi5")), tiny.path) as session:
            counts.append(count_emulated(session, tiny, GOLDEN))

    assert counts[0].kind == "emulated instructions"
    assert counts[0].instructions == pytest.approx(counts[1].instructions, rel=1e-4)
    assert counts[0].store_bytes == pytest.approx(counts[1].store_bytes, rel=1e-3)


def test_the_same_model_does_not_grow_from_the_first_count_of_a_worker_to_the_next(tiny, tmp_path):
    given = {"data": None, "inputs": InputSpec((), 4, 0), "runtime": emulated_runtime(get_device("rpi5"))}
    candidate, reference = run_on_device(tiny.source, tiny.source, **given, out=tmp_path).costs

    assert abs(InstructionChange(candidate=candidate, reference=reference).growth) < 1e-4


def test_a_second_bench_measures_times_again_and_counts_nothing_again(pipeline, tiny, tmp_path, monkeypatch):
    started = []
    enter = Session.__enter__

    def record(self):
        started.append(self.runtime.kind)
        return enter(self)

    monkeypatch.setattr(Session, "__enter__", record)
    asked = ("--device", "rpi5", "--against", tiny.path, "--operators", "--threads", 1, "--runs", 5, "--json")
    first, again = [], []
    for found in (first, again):
        started.clear()
        ended = pipeline("bench", tiny.path, *asked, "--store", tmp_path)
        assert ended.code == 0, ended.err
        found += [json.loads(ended.out), set(started)]

    assert (first[1], again[1]) == ({"host", "emulated"}, {"host"})
    assert first[0]["emulated"] == again[0]["emulated"]
    assert first[0]["emulated"][0]["instructions"] > 0
    assert first[0]["against"]["devices"] == again[0]["against"]["devices"]
    assert first[0]["host"] != again[0]["host"]
    assert first[0]["operators"]["host"] != again[0]["operators"]["host"]
    assert first[0]["operators"]["devices"] == again[0]["operators"]["devices"]


def test_operators_add_up_to_the_whole(tiny, tmp_path):
    found = assemble(tiny, [measure_parts(emulated_runtime(get_device("rpi5")), write_parts(tiny, tmp_path))])

    [whole] = found.devices
    assert whole.share == pytest.approx(1, abs=0.05)
    assert [row.layer for row in found.operators] == ["first", "second", "sum"]
    assert found.operators[0].instructions["rpi5"] > found.operators[2].instructions["rpi5"] > 0
    assert all(row.load_bytes["rpi5"] > row.store_bytes["rpi5"] > 0 for row in found.operators)
    assert (found.host, found.operators[0].host_us) == (None, None)


def test_one_more_layer_is_found_and_the_same_model_is_not(tiny):
    program = ROOT / "benchmarks/validation/regression.py"
    done = subprocess.run(
        [sys.executable, program, tiny.path, "--runs", "1"], capture_output=True, text=True, cwd=ROOT
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"slower model found 1 of 1, the same model 0 of 1", done.stdout)


def test_the_table_of_costs_predicts_what_is_counted(tmp_path):
    """The short form of benchmarks/compression/instruction_costs.py."""
    benchmark = runpy.run_path(str(ROOT / "benchmarks/compression/instruction_costs.py"))
    wanted, written = list(benchmark["measurables"](few=True)), tmp_path / "rpi5.jsonl"

    benchmark["count"]("rpi5", wanted, written, jobs=1)

    counts = {row["name"]: row["instructions"] for row in map(json.loads, written.read_text().splitlines())}
    for each in wanted:
        predicted = predict(read_tflite(each.file()), cost_table("rpi5")).instructions
        assert counts[each.name] == pytest.approx(predicted, rel=0.25), each.name
