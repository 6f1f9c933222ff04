"""``pipeline inspect``: the content of a model file, without running it and without TensorFlow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import click

from pipeline.cli.groups import examples
from pipeline.cli.paths import UserPath

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from pipeline.flatbuffer import Operator, Tensor, TfliteModel
    from pipeline.terminal import Terminal

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
MODEL_STARTS = (b"PK\x03\x04", b"\x89HDF")
"""How a .keras file, which is a ZIP archive, and an HDF5 file begin."""
# From this width on, operators are listed with the names of their outputs.
WIDE_COLUMNS = 100
NO_OUTPUT = {"name": "", "shape": (), "dtype": ""}


@click.command(
    epilog=examples(
        "pipeline inspect model.keras",
        "pipeline inspect build/release/fashion-resnet8-1.0.0-arm64 --json",
    )
)
@click.argument("file", type=UserPath())
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object instead of tables.")
def inspect(file: Path, as_json: bool) -> None:
    """List the layers or operators of a model, with quantization and sizes.

    FILE is a .tflite, .keras or Keras .h5 file, or a release folder.
    """
    from pipeline.release.released import model_file

    file = model_file(file)
    found = _keras(file) if _is_keras(file) else _tflite(file)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from pipeline.terminal import Terminal

    console = Terminal(highlight=False)
    console.print(_summary(found))
    console.print()
    console.print(_layers(found) if "layers" in found else _operators(found, console))


def _is_keras(file: Path) -> bool:
    """Return whether a file is a Keras model: by its suffix, else by its first bytes.

    Raises:
        InputError: it is neither a Keras nor a TFLite file.
    """
    from pipeline.errors import InputError
    from pipeline.flatbuffer.reader import IDENTIFIER

    suffix = file.suffix.lower()
    if suffix in (*KERAS_SUFFIXES, ".tflite") or not file.is_file():
        return suffix in KERAS_SUFFIXES
    with file.open("rb") as stream:
        head = stream.read(8)
    if head[:4] not in MODEL_STARTS and head[4:] != IDENTIFIER:
        msg = f"{file}: cannot inspect {suffix or 'this file'}; pass a .tflite, .keras or .h5 file"
        raise InputError(msg)
    return head[:4] in MODEL_STARTS


def _tflite(file: Path) -> dict[str, Any]:
    """Return what ``--json`` prints for a .tflite file."""
    from deploy.download import compress
    from pipeline.flatbuffer import count_zeros, float_operators, integer_io, kernels, read_tflite

    # Listing runs nothing, so unsupported operators are allowed.
    model = read_tflite(file, allow_custom=None)
    kernel_of = kernels(model.subgraphs[0])
    counts = [count_zeros(model, tensor) for tensor in kernel_of.values()]
    float_left = float_operators(model)
    return {
        "file": str(file),
        "format": "tflite",
        "description": model.description,
        "size_bytes": model.size_bytes,
        "compressed_bytes": len(compress(file.read_bytes())),
        "sha256": model.sha256,
        "full_integer": not float_left and integer_io(model),
        "float_operators": [str(operator) for operator in float_left],
        "kernel_weights": sum(count.total for count in counts),
        "kernel_zeros": sum(count.zeros for count in counts),
        "subgraphs": len(model.subgraphs),
        "metadata": model.metadata,
        "signatures": model.signatures,
        "inputs": [_tensor(tensor) for tensor in model.inputs],
        "outputs": [_tensor(tensor) for tensor in model.outputs],
        "operators": [
            _operator(model, operator, kernel_of.get(operator.index)) for operator in model.operators
        ],
    }


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": tensor.shape,
        "shape_signature": tensor.shape_signature,
        "dtype": tensor.dtype,
        "scale": tensor.scales[0] if tensor.scales else None,
        "zero_point": tensor.zero_points[0] if tensor.zero_points else None,
    }


def _operator(model: TfliteModel, operator: Operator, weights: Tensor | None) -> dict[str, Any]:
    from pipeline.flatbuffer import count_zeros

    constants = [model.tensors[index] for index in operator.inputs if index >= 0]
    return {
        "index": operator.index,
        "name": operator.name,
        "version": operator.version,
        "outputs": [_tensor(model.tensors[index]) for index in operator.outputs],
        "constant_bytes": sum(tensor.size_bytes for tensor in constants),
        "weights": weights
        and {
            "name": weights.name,
            "dtype": weights.dtype,
            "quantization": weights.quantization,
            "shape": weights.shape,
            "zeros": count_zeros(model, weights).fraction,
        },
    }


def _keras(file: Path) -> dict[str, Any]:
    """Return what ``--json`` prints for a Keras file."""
    from dataclasses import asdict

    from models.summary import describe_model
    from pipeline.errors import leaf_errors_mapped

    with leaf_errors_mapped():
        summary = describe_model(file)
    return {"file": str(file), "format": "keras", **asdict(summary)}


def _summary(found: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")

    def row(name: str, value: str) -> None:
        table.add_row(name, _literal(value))

    row("file", found["file"])
    if "layers" in found:
        row("written by", found["keras"])
        row("size", f"{found['size_bytes']:,} bytes")
        row("parameters", f"{found['parameters']:,} in {len(found['layers'])} layers")
        return table
    row("size", f"{found['size_bytes']:,} bytes, {found['compressed_bytes']:,} compressed")
    row("sha256", found["sha256"])
    total, left = len(found["operators"]), len(found["float_operators"])
    row(
        "arithmetic",
        "full integer" if found["full_integer"] else f"floating point in {left} of {total} operators",
    )
    if found["kernel_weights"]:
        share = found["kernel_zeros"] / found["kernel_weights"]
        row("sparsity", f"{share:.1%} of {found['kernel_weights']:,} kernel weights are zero")
    for kind in ("input", "output"):
        for tensor in found[f"{kind}s"]:
            scale, zero_point = tensor["scale"], tensor["zero_point"]
            scaling = "" if scale is None else f", scale {scale:.6g}, zero point {zero_point}"
            row(kind, f"{tensor['dtype']} {_shape(tensor['shape_signature'])}{scaling} ({tensor['name']})")
    return table


def _operators(found: dict[str, Any], console: Terminal) -> Table:
    wide = console.width >= WIDE_COLUMNS
    columns = (">#", "operator", ">v", "output", "dtype", "weights", ">bytes", ">zeros")
    table = _listing(*columns, *["~tensor"] * wide)
    for operator in found["operators"]:
        output = (operator["outputs"] or [NO_OUTPUT])[0]
        weights = operator["weights"]
        table.add_row(
            str(operator["index"]),
            _literal(operator["name"]),
            str(operator["version"]),
            _shape(output["shape"]),
            output["dtype"],
            f"{weights['dtype']} {weights['quantization']}" if weights else "",
            f"{operator['constant_bytes']:,}" if operator["constant_bytes"] else "",
            f"{weights['zeros']:.1%}" if weights else "",
            *[_literal(output["name"])] * wide,
        )
    return table


def _layers(found: dict[str, Any]) -> Table:
    table = _listing("layer", "class", "output", "dtype", ">params")
    for layer in found["layers"]:
        shape = layer["output_shape"]
        table.add_row(
            _literal(layer["name"]),
            layer["class_name"],
            _shape(shape) if shape else "",
            layer["dtype"],
            f"{layer['parameters']:,}" if layer["parameters"] else "",
        )
    return table


def _listing(*columns: str) -> Table:
    """Return an empty table: ``>`` before a column's name aligns it right, ``~`` gives it the width left."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        justify: Literal["left", "right"] = "right" if column.startswith(">") else "left"
        table.add_column(column.lstrip(">~"), justify=justify, no_wrap=True, overflow="ellipsis")
        if column.startswith("~"):
            table.expand, table.columns[-1].ratio = True, 1
    return table


def _literal(text: str) -> str:
    """Escape text from a file, for the terminal and for rich's markup."""
    from rich.markup import escape

    from pipeline.flatbuffer import printable

    return escape(printable(text))


def _shape(shape: tuple[int | None, ...]) -> str:
    """Return e.g. ``"?x28x28x1"``; a free dimension is a question mark."""
    return "x".join("?" if size in (-1, None) else str(size) for size in shape) or "scalar"
