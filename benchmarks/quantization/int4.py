"""Compare a low-bit model as int8, as the build stores it, with the same levels stored as int4.

Usage: python benchmarks/quantization/int4.py FILE.tflite

FILE is the result of a build with weights of 2 to 4 bits. Prints a Markdown table: size, download, the median
time of an inference on LiteRT with one thread, whether tflite-runtime runs the file, and the largest
difference of the outputs in steps of int8.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tflite_runtime.interpreter import Interpreter as TfliteRuntime

from deploy.download import compress

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Operators whose kernel becomes int4, the axis of its output channels, and their version with such a kernel.
KERNELS = {
    schema.BuiltinOperator.CONV_2D: (0, 7),
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: (3, 7),
    schema.BuiltinOperator.FULLY_CONNECTED: (0, 10),
}
LARGEST = 7
INFERENCES = 200


def codes_of(channel: NDArray[np.int8]) -> tuple[NDArray[np.int8], int] | None:
    """Return the codes of an output channel and the code that is stored as 127; None if it has no levels."""
    for largest in range(1, LARGEST + 1):
        codes = np.rint(channel * (largest / 127))
        if np.array_equal(np.rint(codes * (127 / largest)), channel):
            return codes.astype(np.int8), largest
    return None


def as_int4(content: bytes) -> tuple[bytes, int]:
    """Return the file with each kernel of at most 15 levels as int4, and how many kernels these are."""
    model, changed = schema.ModelT.InitFromPackedBuf(content, 0), 0
    graph = model.subgraphs[0]
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if code.builtinCode not in KERNELS:
            continue
        axis, version = KERNELS[code.builtinCode]
        tensor = graph.tensors[operator.inputs[1]]
        if tensor.type != schema.TensorType.INT8:
            continue
        stored = np.asarray(model.buffers[tensor.buffer].data).view(np.int8).reshape(tensor.shape)
        columns = np.moveaxis(stored, axis, 0)
        found = [codes_of(channel) for channel in columns]
        if None in found:
            continue
        codes = np.moveaxis(np.stack([each[0] for each in found if each]), 0, axis)
        largest = np.array([each[1] for each in found if each])
        tensor.type = schema.TensorType.INT4
        tensor.quantization.scale = (tensor.quantization.scale * (127 / largest)).astype(np.float32)
        model.buffers[tensor.buffer].data = packed(codes)
        if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
            # The scale of a bias is that of the input times that of the kernel.
            bias = graph.tensors[operator.inputs[2]]
            steps = np.asarray(model.buffers[bias.buffer].data).view(np.int32)
            bias.quantization.scale = (bias.quantization.scale * (127 / largest)).astype(np.float32)
            rounded = np.rint(steps * (largest / 127)).astype(np.int32)
            model.buffers[bias.buffer].data = rounded.view(np.uint8)
        code.version, changed = max(code.version, version), changed + 1
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), changed


def packed(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return two codes in each byte, the first in the lower half."""
    flat = codes.ravel().view(np.uint8) & 15
    pairs = np.pad(flat, (0, flat.size % 2)).reshape(-1, 2)
    return pairs[:, 0] | (pairs[:, 1] << 4)


def run(interpreter: Any, given: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """Return the outputs for samples, and the median seconds of an inference."""
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs, seconds = [], []
    for sample in given:
        interpreter.set_tensor(source, sample)
        began = time.perf_counter()
        interpreter.invoke()
        seconds.append(time.perf_counter() - began)
        outputs.append(interpreter.get_tensor(target).copy())
    return np.stack(outputs), float(np.median(seconds))


def runs_on_tflite_runtime(path: Path) -> bool:
    try:
        TfliteRuntime(model_path=str(path)).allocate_tensors()
    except (RuntimeError, ValueError):
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    content = parser.parse_args().file.read_bytes()
    narrow, changed = as_int4(content)
    shape = Interpreter(model_content=content).get_input_details()[0]["shape"]
    given = np.random.default_rng(0).integers(-128, 128, (INFERENCES, *shape)).astype(np.int8)
    expected = None
    columns = ("kernels stored as", "file, bytes", "download, bytes", "LiteRT, ms", "on tflite-runtime 2.14")
    print(f"| {' | '.join(columns)} | difference, steps |\n|{'---|' * (len(columns) + 1)}")
    with tempfile.TemporaryDirectory() as folder:
        for name, each in (("int8", content), (f"int4 ({changed} kernels)", narrow)):
            path = Path(folder) / "model.tflite"
            path.write_bytes(each)
            runner = Interpreter(model_path=str(path), num_threads=1)
            outputs, seconds = run(runner, given)
            expected = outputs if expected is None else expected
            steps = int(np.abs(outputs.astype(int) - expected).max())
            cells = (
                name, f"{len(each):,}", f"{len(compress(each)):,}", f"{1000 * seconds:.2f}",
                "yes" if runs_on_tflite_runtime(path) else "no", str(steps),
            )  # fmt: skip
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
