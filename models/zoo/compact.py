"""How the zoo's data ships: compressed as well as .npz allows, and with equal bytes for equal arrays."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


def write_npz(arrays: Mapping[str, NDArray[Any]], out: Path) -> None:
    """Write the arrays as an LZMA-compressed .npz, which ``numpy.load`` reads."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), stream.getvalue(), zipfile.ZIP_LZMA)
