"""Which runtimes run each storage format of weights and activations, and which compute it right.

Usage: python benchmarks/quantization/formats.py

Builds files of one operator each, with weights per output channel in each format, runs them in a process of
its own on each runtime, and compares the outputs with the exact result for the same stored numbers. Prints a
Markdown table; a difference is the largest one, as a share of the range of the outputs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

TYPES = schema.TensorType
# Operator -> the shape of its kernel, and the axis of its output channels.
KERNELS = {
    "CONV_2D": ((16, 3, 3, 8), 0), "DEPTHWISE_CONV_2D": ((1, 3, 3, 8), 3), "FULLY_CONNECTED": ((16, 64), 0),
}  # fmt: skip
OPERATORS = tuple(KERNELS)
BITS = {"int2": 2, "int4": 4, "int8": 8}
# Largest difference that rounding explains, as a share of the outputs' range.
ALLOWED = {"int8": 1.5 / 255, "int16": 1e-3, "float32": 1e-5, "float16": 1e-3, "dynamic": 0.02}
# Versions of OPERATORS that a format needs, by the rules of TFLite's converter.
VERSIONS = {
    "float": (1, 1, 1), "int8": (3, 3, 4), "int16": (4, 5, 7), "dynamic int8": (5, 6, 12),
    "dynamic int8 per tensor": (2, 4, 3), "int4": (7, 7, 10), "int2": (9, 8, 14),
}  # fmt: skip


@dataclass(frozen=True)
class Format:
    """How weights and activations are stored.

    Attributes:
        weights: a key of ``TYPES`` in lower case.
        activations: likewise.
        largest: the largest code of the weights; 0: all that the type has.
        output_bits: of a rounded output.
        version: a key of ``VERSIONS``.
    """

    weights: str
    activations: str
    version: str
    largest: int = 0
    output_bits: int = 0


FORMATS = {
    "float32": Format("float32", "float32", "float"),
    "float16 weights": Format("float16", "float32", "float"),
    "int8": Format("int8", "int8", "int8"),
    "int8 with the values of 4-bit weights": Format("int8", "int8", "int8", 7),
    "int8 with the values of 3-bit weights": Format("int8", "int8", "int8", 3),
    "int8 with the values of ternary weights": Format("int8", "int8", "int8", 1),
    "int8 with 4-bit outputs": Format("int8", "int8", "int8", output_bits=4),
    "int8 with 2-bit outputs": Format("int8", "int8", "int8", output_bits=2),
    "int4 weights, int8 activations": Format("int4", "int8", "int4"),
    "int2 weights, int8 activations": Format("int2", "int8", "int2"),
    "int8 weights, int16 activations": Format("int8", "int16", "int16"),
    "int8 weights, float activations": Format("int8", "float32", "dynamic int8"),
    "the same, operators versioned for one scale": Format("int8", "float32", "dynamic int8 per tensor"),
    "int4 weights, float activations": Format("int4", "float32", "float"),
}
RUNTIMES = {
    "LiteRT, XNNPACK": ("ai_edge_litert.interpreter", "AUTO"),
    "LiteRT, built-in kernels": ("ai_edge_litert.interpreter", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
    "tflite-runtime 2.14": ("tflite_runtime.interpreter", "AUTO"),
    "tflite-runtime 2.14, reference kernels": ("tflite_runtime.interpreter", "BUILTIN_REF"),
}
PROBE = """
import importlib, sys
import numpy as np
module, kernels, model, given, found = sys.argv[1:]
interpreter = importlib.import_module(module)
kind = getattr(interpreter.OpResolverType, kernels)
runner = interpreter.Interpreter(model_path=model, experimental_op_resolver_type=kind, num_threads=1)
runner.allocate_tensors()
runner.set_tensor(runner.get_input_details()[0]["index"], np.load(given))
runner.invoke()
np.save(found, runner.get_tensor(runner.get_output_details()[0]["index"]))
print(*(each["op_name"] for each in runner._get_ops_details()))
"""


@dataclass
class File:
    """A .tflite file under construction."""

    model: Any = field(default_factory=schema.ModelT)
    graph: Any = field(default_factory=schema.SubGraphT)

    def __post_init__(self) -> None:
        self.model.version, self.model.subgraphs = 3, [self.graph]
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.graph.tensors, self.graph.operators = [], []

    def tensor(
        self, name: str, shape: tuple[int, ...], kind: str, data: bytes | None = None,
        scales: Any = (), zero: int = 0, axis: int = 0,
    ) -> int:  # fmt: skip
        """Add a tensor; returns its index."""
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), getattr(TYPES, kind.upper()), 0
        if len(scales):
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.asarray(scales, np.float32)
            made.quantization.zeroPoint = np.full(len(scales), zero, np.int64)
            made.quantization.quantizedDimension = axis
        if data is not None:
            buffer = schema.BufferT()
            buffer.data, made.buffer = np.frombuffer(data, np.uint8), len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def operator(
        self, name: str, version: int, inputs: list[int], outputs: list[int], table: str = "", **options: Any
    ) -> None:
        """Add an operator."""
        code, node = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = version
        node.opcodeIndex, node.inputs, node.outputs = len(self.model.operatorCodes), inputs, outputs
        if table:
            node.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            node.builtinOptions = getattr(schema, f"{table}T")()
            for key, value in options.items():
                setattr(node.builtinOptions, key, value)
        self.model.operatorCodes.append(code)
        self.graph.operators.append(node)

    def content(self, inputs: list[int], outputs: list[int]) -> bytes:
        """Return the file."""
        self.graph.inputs, self.graph.outputs = inputs, outputs
        builder = flatbuffers.Builder()
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


@dataclass(frozen=True)
class Case:
    """One operator in one format.

    Attributes:
        content: the file.
        given: the input, as it is stored.
        exact: the output for the stored numbers, real.
        scale: of the stored output.
        zero: its zero point.
    """

    content: bytes
    given: NDArray[Any]
    exact: NDArray[np.float64]
    scale: float
    zero: int


def packed(codes: NDArray[np.int8], bits: int) -> bytes:
    """Return codes with the first one in the lowest bits of a byte."""
    if bits == 8:
        return codes.tobytes()
    per_byte = 8 // bits
    flat = codes.ravel().astype(np.uint8) & (2**bits - 1)
    rows = np.pad(flat, (0, -len(flat) % per_byte)).reshape(-1, per_byte)
    return bytes(np.bitwise_or.reduce(rows << np.arange(0, 8, bits, dtype=np.uint8), axis=1))


def computed(operator: str, x: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exact output of an operator without padding."""
    if operator == "FULLY_CONNECTED":
        return x @ w.T
    windows = sliding_window_view(x, (3, 3), (1, 2))  # type: ignore[call-overload]
    if operator == "CONV_2D":
        return np.einsum("nhwcij,oijc->nhwo", windows, w)
    return np.einsum("nhwcij,ijc->nhwc", windows, w[0])


def case(operator: str, chosen: Format) -> Case:
    """Build a file, its input and the exact output."""
    rng, file = np.random.default_rng(0), File()
    shape, axis = KERNELS[operator]
    real = rng.normal(size=(1, 64) if operator == "FULLY_CONNECTED" else (1, 8, 8, 8))
    channels, is_float = shape[axis], chosen.activations == "float32"
    along = [-1 if at == axis else 1 for at in range(len(shape))]
    if chosen.weights in BITS:
        largest = chosen.largest or 2 ** (BITS[chosen.weights] - 1) - 1
        codes = rng.integers(-largest, largest + 1, shape)
        widest = 2 ** (BITS[chosen.weights] - 1) - 1
        stored = np.rint(codes * (widest / largest)).astype(np.int8)
        scales = rng.uniform(0.5, 2, channels).astype(np.float32) / widest
        w, data = stored * scales.astype(np.float64).reshape(along), packed(stored, BITS[chosen.weights])
    else:
        kept, scales = rng.normal(size=shape).astype(chosen.weights), np.empty(0, np.float32)
        w, data = kept.astype(np.float64), kept.tobytes()
    step = 4 / {"float32": 1, "int8": 127, "int16": 32767}[chosen.activations]
    given = real.astype(np.float32) if is_float else np.rint(np.clip(real, -4, 4) / step)
    x = given.astype(np.float64) * (1 if is_float else np.float64(np.float32(step)))
    bias = rng.normal(size=channels)
    if is_float:
        bias_data = bias.astype(np.float32)
    else:
        bias_data = np.rint(bias / (np.float32(step) * scales)).astype(
            "int64" if chosen.activations == "int16" else "int32"
        )
        bias = bias_data * (np.float64(np.float32(step)) * scales)
    exact = computed(operator, x, w) + bias
    scale, zero = float(np.abs(exact).max()) / {"int16": 32767}.get(chosen.activations, 127), 0
    if chosen.output_bits:
        high = float(np.quantile(exact, 0.98))
        scale, zero = high / (2**chosen.output_bits - 1), 128 - 2**chosen.output_bits
        exact = np.clip(exact, 0, high)
    version = VERSIONS[chosen.version][OPERATORS.index(operator)]
    quantized = () if is_float else ([step], 0)
    source = file.tensor("x", x.shape, chosen.activations, None, *quantized)
    kernel = file.tensor("w", shape, chosen.weights, data, scales, 0, axis)
    bias_kind = "float32" if is_float else str(bias_data.dtype)
    offset = file.tensor("b", bias.shape, bias_kind, bias_data.tobytes(), () if is_float else step * scales)
    output = file.tensor("y", exact.shape, chosen.activations, None, *(() if is_float else ([scale], zero)))
    if chosen.weights == "float16":
        wide = file.tensor("w32", shape, "float32")
        file.operator("DEQUANTIZE", 3, [kernel], [wide])
        kernel = wide
    relu = schema.ActivationFunctionType.RELU if chosen.output_bits else 0
    table, options = {
        "CONV_2D": ("Conv2DOptions", {"strideW": 1, "strideH": 1, "padding": 1}),
        "DEPTHWISE_CONV_2D": (
            "DepthwiseConv2DOptions", {"strideW": 1, "strideH": 1, "padding": 1, "depthMultiplier": 1}
        ),
        "FULLY_CONNECTED": ("FullyConnectedOptions", {}),
    }[operator]  # fmt: skip
    file.operator(
        operator, version, [source, kernel, offset], [output], table, fusedActivationFunction=relu, **options
    )
    return Case(file.content([source], [output]), given.astype(chosen.activations), exact, scale, zero)


def outcome(made: Case, chosen: Format, runtime: str, folder: Path) -> str:
    """Run a file on a runtime; returns "right", the difference, or why it does not run."""
    model, given, found = (folder / name for name in ("model.tflite", "given.npy", "found.npy"))
    model.write_bytes(made.content)
    np.save(given, made.given)
    found.unlink(missing_ok=True)
    command = [sys.executable, "-c", PROBE, *RUNTIMES[runtime], *map(str, (model, given, found))]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if run.returncode:
        return "crashes" if run.returncode < 0 else "refused"
    outputs = np.load(found).astype(np.float64)
    if chosen.activations != "float32":
        outputs = (outputs - made.zero) * np.float64(np.float32(made.scale))
    reach = float(np.ptp(made.exact))
    difference = float(np.abs(outputs - made.exact).max()) / reach
    dynamic = chosen.activations == "float32" and chosen.weights in BITS
    allowed = ALLOWED[
        "dynamic" if dynamic else chosen.weights if chosen.weights == "float16" else chosen.activations
    ]
    if chosen.output_bits:  # half a step, and rounding may be on either side
        allowed = 0.51 * made.scale / reach
    if not difference <= allowed:
        return f"**wrong** ({difference:.0%})" if np.isfinite(difference) else "**wrong** (not finite)"
    return "right" if "XNNPACK" not in runtime or "DELEGATE" in run.stdout else "right, without XNNPACK"


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    print(f"| weights and activations | {' | '.join(RUNTIMES)} |\n|{'---|' * (len(RUNTIMES) + 1)}")
    with tempfile.TemporaryDirectory() as folder:
        for name, chosen in FORMATS.items():
            cells = []
            for runtime in RUNTIMES:
                found = {
                    each: outcome(case(each, chosen), chosen, runtime, Path(folder)) for each in OPERATORS
                }
                alike = len(set(found.values())) == 1
                cells.append(found["CONV_2D"] if alike else "; ".join(f"{k}: {v}" for k, v in found.items()))
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
