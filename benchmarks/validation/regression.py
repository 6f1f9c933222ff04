"""Does the instruction gate find a model that is 3 % slower, each time, and the same model never?

Usage: python benchmarks/validation/regression.py FILE.tflite [--runs 100] [--device rpi5] [--growth 0.03]

The slower model is FILE with one more layer: a pooling that keeps the shape, behind the operator where it
costs nearest to ``--growth``. Each run is a worker of its own that counts FILE twice and the slower model.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.config import GatesConfig
from pipeline.runtimes.runtime import emulated_runtime
from pipeline.runtimes.session import Session
from pipeline.targets import get_device
from pipeline.validation.against import InstructionChange
from pipeline.validation.costs import count_emulated
from pipeline.validation.model_under_test import Golden, ModelUnderTest

if TYPE_CHECKING:
    from pipeline.flatbuffer import TfliteModel
    from pipeline.runtimes.runtime import Runtime

GOLDEN = Golden(None, 4, 0)


def main() -> None:
    """Run the gate on the slower model and on the same one."""
    parser = argparse.ArgumentParser(description="What the instruction gate finds.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--device", default="rpi5")
    parser.add_argument("--growth", type=float, default=0.03)
    options = parser.parse_args()
    runtime, allowed = emulated_runtime(get_device(options.device)), GatesConfig().instruction_growth
    original = ModelUnderTest.open(options.file)
    with tempfile.TemporaryDirectory() as folder:
        slower, growth = choose_slower(runtime, original, Path(folder), options.growth)
        print(f"one more layer: {growth:+.2%} emulated instructions on {options.device}", flush=True)
        found = alarms = 0
        for run in range(options.runs):
            with Session(runtime, original.path) as session:
                first, again, worse = (
                    count_emulated(session, under_test, GOLDEN) for under_test in (original, original, slower)
                )
            same = InstructionChange(candidate=again, reference=first)
            more = InstructionChange(candidate=worse, reference=first)
            found += more.growth > allowed
            alarms += same.growth > allowed
            print(f"{run + 1}: slower {more.growth:+.4%}, the same {same.growth:+.5%}", flush=True)
    print(f"slower model found {found} of {options.runs}, the same model {alarms} of {options.runs}")
    sys.exit(found < options.runs or alarms > 0)


def choose_slower(
    runtime: Runtime, original: ModelUnderTest, folder: Path, target: float
) -> tuple[ModelUnderTest, float]:
    """Return the model with one more layer whose growth is nearest to what is wanted, and its growth."""
    places = [
        operator.index
        for operator in original.flat.operators
        if len(original.flat.tensors[operator.outputs[0]].shape) == 4
    ]
    if not places:
        sys.exit(f"{original.path}: no operator gives an image that a pooling could follow")
    candidates = {}
    for place in places:
        path = folder / f"slower-{place}.tflite"
        path.write_bytes(with_pooling(original.flat, place))
        candidates[place] = ModelUnderTest.open(path)
    with Session(runtime, original.path) as session:
        reference = count_emulated(session, original, GOLDEN)
        growths = {
            place: InstructionChange(
                candidate=count_emulated(session, under_test, GOLDEN), reference=reference
            ).growth
            for place, under_test in candidates.items()
        }
    chosen = min(growths, key=lambda place: abs(growths[place] - target))
    return candidates[chosen], growths[chosen]


def with_pooling(flat: TfliteModel, place: int) -> bytes:
    """Return the file with a 3x3 pooling of stride 1 behind the operator at ``place``."""
    model = schema.ModelT.InitFromPackedBuf(flat.content, 0)
    graph = model.subgraphs[0]
    before = int(graph.operators[place].outputs[0])
    after = len(graph.tensors)
    graph.tensors.append(copy.copy(graph.tensors[before]))
    graph.tensors[after].name = b"one_more_layer/MaxPool"
    for operator in graph.operators[place + 1 :]:
        operator.inputs = [after if index == before else index for index in operator.inputs]
    graph.outputs = [after if index == before else index for index in graph.outputs]

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MAX_POOL_2D
    code.version = 2
    model.operatorCodes.append(code)
    options = schema.Pool2DOptionsT()
    options.strideW = options.strideH = 1
    options.filterWidth = options.filterHeight = 3
    options.padding = schema.Padding.SAME
    pooling = schema.OperatorT()
    pooling.opcodeIndex, pooling.inputs, pooling.outputs = len(model.operatorCodes) - 1, [before], [after]
    pooling.builtinOptionsType, pooling.builtinOptions = schema.BuiltinOptions.Pool2DOptions, options
    graph.operators.insert(place + 1, pooling)
    model.signatureDefs = []  # they name tensors by index
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


if __name__ == "__main__":
    main()
