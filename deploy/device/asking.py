"""A client of a release's socket: ``runner.py ask`` sends the samples of files and prints the answers.

Part of every release; needs numpy, but no runtime.
"""

# ruff: noqa: B905  zip(strict=) is of Python 3.10, and boards have 3.9

from __future__ import annotations

import io
import json
import socket
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TIMEOUT_S = 30.0


class Client:
    """A connection to the socket of ``runner.py run --socket PATH``.

    Args:
        path: of the socket.

    Raises:
        OSError: nothing answers there.
    """

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT_S)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            msg = f"{path}: {error.strerror or error}; start the service, or join the group edge-models"
            raise OSError(msg) from error

    def ask(self, request: bytes) -> dict[str, Any]:
        """Send a request (docs/reference/on-the-device.md) and return the answer.

        Raises:
            OSError: the connection was closed.
            ValueError: the request was refused; the service's reason.
        """
        self._socket.sendall(len(request).to_bytes(4, "big") + request)
        answer: dict[str, Any] = json.loads(self._receive(int.from_bytes(self._receive(4), "big")))
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _receive(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            part = self._socket.recv(size - len(content))
            if not part:
                msg = "the service closed the connection"
                raise OSError(msg)
            content += part
        return bytes(content)


def encode(samples: Sequence[NDArray[Any]], contract: dict[str, Any]) -> bytes:
    """Return the request for a raw sample of each input."""
    content = io.BytesIO()
    if len(samples) == 1:
        np.save(content, samples[0], allow_pickle=False)
    else:
        np.savez(content, **{port["name"]: array for port, array in zip(contract["inputs"], samples)})
    return content.getvalue()


def line(title: str, answer: dict[str, Any]) -> str:
    """Return the line that is printed of an answer: the likeliest classes, else the values."""
    words = []
    for output in answer["outputs"]:
        if output["top"]:
            said = ", ".join(f"{found['label']} ({_number(found['value'])})" for found in output["top"])
        else:
            values = np.array(output["values"], object).reshape(-1)
            said = " ".join(map(_number, values[:8])) + (
                f" ... {values.size} values" if values.size > 8 else ""
            )
            said = f"{output['label']} ({said})" if output["label"] is not None else said
        words.append(f"{output['name']}: {said}")
    return f"{title}  {'; '.join(words)}"


def _number(value: Any) -> str:
    return "nan" if value is None else f"{value:.3g}"
