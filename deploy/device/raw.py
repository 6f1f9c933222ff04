"""Raw samples: out of the requests of clients, and held against those that the release was tested on.

Part of every release; needs numpy, and nothing of this project.
"""

# ruff: noqa: B905  zip(strict=) is of Python 3.10, and boards have 3.9

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:
    from deploy.device import resizing
else:
    import resizing

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PICTURE_BYTES = 8 << 20  # of a picture in a request, encoded or as an array
MARGIN = 0.25  # share of the range of the test samples beyond which values are suspicious


def check(values: NDArray[Any], contract: dict[str, Any]) -> None:
    """Refuse values that are quantized already, where samples are not.

    Raises:
        ValueError: they are int8, and the samples that the release was tested on were not.
    """
    tested = contract.get("raw")
    if tested and values.dtype == np.int8 != tested["dtype"]:
        msg = (
            f"{contract['name']}: int8 values, the samples are {tested['dtype']}; give raw samples: "
            "golden_input files are quantized already"
        )
        raise ValueError(msg)


def suspicion(values: NDArray[Any], contract: dict[str, Any]) -> str:
    """Return a line that says how samples (n, ...) differ from those of the tests; "" if they do not."""
    tested = contract.get("raw")
    if not tested or not values.size:
        return ""
    low, high = float(values.min()), float(values.max())
    room = MARGIN * (tested["high"] - tested["low"])
    is_far = low < tested["low"] - room or high > tested["high"] + room
    is_other = values.dtype.kind == "f" and np.dtype(tested["dtype"]).kind in "iu"
    if not (is_far or is_other):
        return ""
    return (
        f"{contract['name']}: {values.dtype} values from {low:g} to {high:g}; the release was tested on "
        f"{tested['dtype']} from {tested['low']:g} to {tested['high']:g}: give raw samples as they were then"
    )


def largest_request(contract: dict[str, Any]) -> int:
    """Return the bytes that the request of a raw sample has at most."""
    ports = contract["inputs"]
    size: int = sum(8 * math.prod(port["shape"]) + 16_384 for port in ports)
    is_picture = len(ports) == 1 and ports[0]["preprocessing"]["resize"] is not None
    return max(size, MAX_PICTURE_BYTES) if is_picture else size


def decode(request: bytes, contract: dict[str, Any]) -> list[NDArray[Any]]:
    """Read one raw sample from the bytes of a .npy, or of a .npz that has an array for each input.

    An image of uint8 may have any size; it is resized as the training data were.

    Nothing is unpickled, and no memory is taken before the sizes were found to be right.

    Raises:
        ValueError: it is no such file, or not of real numbers of the model's shapes.
    """
    ports = contract["inputs"]
    if request[:4] != b"PK\x03\x04":
        if len(ports) != 1:
            msg = f"not a .npz of {', '.join(port['name'] for port in ports)}"
            raise ValueError(msg)
        return [_decode_array(request, ports[0])]
    import zipfile  # slow to import

    arrays = []
    most = largest_request(contract)
    try:
        with zipfile.ZipFile(io.BytesIO(request)) as members:
            for port in ports:
                with members.open(f"{port['name']}.npy") as member:
                    arrays.append(member.read(most + 1))
    except Exception as error:  # zipfile and zlib raise six kinds for a damaged file
        msg = (
            f"not a .npz of {', '.join(port['name'] for port in ports)}: {' '.join(str(error).split())[:200]}"
        )
        raise ValueError(msg) from error
    return [_decode_array(content, port) for content, port in zip(arrays, ports)]


def _decode_array(content: bytes, port: dict[str, Any]) -> NDArray[Any]:
    stream, layout = io.BytesIO(content), np.lib.format
    try:
        version = layout.read_magic(stream)  # type: ignore[no-untyped-call]
        read: Any = {(1, 0): layout.read_array_header_1_0, (2, 0): layout.read_array_header_2_0}[version]
        shape, column_major, dtype = read(stream)
    except Exception as error:  # its header is Python, and so are the errors of a wrong one
        msg = f"{port['name']}: not a .npy file"
        raise ValueError(msg) from error
    expected = port["shape"][1:]
    resize = port["preprocessing"]["resize"]
    is_picture = resize and dtype == np.uint8 and len(shape) == 3 and shape[2] == expected[2] and all(shape)
    fits = is_picture or list(shape) in (expected, [1, *expected])
    if not fits or dtype.kind not in "biuf" or dtype.itemsize > 8:
        msg = f"{port['name']}: {dtype} of shape {shape}, the model takes numbers of shape {tuple(expected)}"
        raise ValueError(msg)
    start, count = stream.tell(), math.prod(shape)
    if len(content) - start != count * dtype.itemsize:
        msg = f"{port['name']}: {len(content) - start} bytes where {count * dtype.itemsize} should be"
        raise ValueError(msg)
    target = shape if is_picture else expected
    values = np.frombuffer(content, dtype, count, start).reshape(target, order="F" if column_major else "C")
    if is_picture and list(shape) != expected:
        values = resizing.resized(values, resize)
    if dtype.kind == "f" and not np.isfinite(values).all():
        msg = f"{port['name']}: not all values are finite"
        raise ValueError(msg)
    return values
