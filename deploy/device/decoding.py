"""A raw sample out of the bytes of a request: an array, a picture, or a row of numbers.

Part of every release; needs numpy, and Pillow for pictures.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from deploy.device import raw, rows, samples
else:
    import raw
    import rows
    import samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARRAYS = (b"\x93NUMPY", b"PK\x03\x04")
MAX_PIXELS = 4096 * 3072  # three bytes each, twice in memory, of the 256 MiB that the service may have
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")


def decode(request: bytes, contract: dict[str, Any]) -> list[NDArray[Any]]:
    """Return the raw sample of each input.

    Args:
        request: a ``.npy``; a ``.npz`` with an array for each input; an encoded picture, if the model takes
            one; a JSON object of numbers by the names of the columns; or one row of CSV, after the names of
            the columns or without them.
        contract: what ``manifest.json`` says.

    Raises:
        ValueError: it is none of these, or not as the model takes it.
    """
    if not request.startswith(ARRAYS):
        ports = contract["inputs"]
        if request.startswith(PICTURES) and len(ports) == 1:
            return [samples.picture(io.BytesIO(request), "picture", ports[0], MAX_PIXELS)]
        if rows.are_taken(contract):
            found = _rows(request, contract)
            if len(found[0]) != 1:
                msg = f"{len(found[0])} rows in one request; send a request for each"
                raise ValueError(msg)
            return [array[0] for array in found]
    return raw.decode(request, contract)


def _rows(request: bytes, contract: dict[str, Any]) -> list[NDArray[Any]]:
    try:
        text = request.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = "not a .npy file, and not a row of numbers as text in UTF-8"
        raise ValueError(msg) from error
    if text.lstrip()[:1] in ("{", "["):
        return rows.parse_json(text, contract, "request")
    return rows.parse_csv(text, contract, "request")
