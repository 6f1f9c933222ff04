"""Arrays from .npy files, read from several threads at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

    from numpy.typing import NDArray

# NumPy parses a file's header as Python, and two threads that parse at the same moment may end in
# "SystemError: AST constructor recursion depth mismatch" (CPython issue 106905; seen on 3.11.2 and 3.11.7).
_parsing = threading.Lock()


def read_array(file: Path | IO[bytes]) -> NDArray[Any]:
    """Read one array.

    Raises:
        ValueError: it is not a .npy file, or holds Python objects.
        EOFError: it is empty.
    """
    with _parsing:
        array: NDArray[Any] = np.load(file, allow_pickle=False)
    return array


def map_array(path: Path) -> NDArray[Any]:
    """Map one array, read-only, without reading it."""
    with _parsing:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array
