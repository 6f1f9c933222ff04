"""The release folder: what a board, an app or an auditor needs, with a checksum of every file."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

CHECKSUMS = "SHA256SUMS"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,191}\Z")


def release_name(name: str, version: str, target: str) -> str:
    """``NAME-VERSION-TARGET``, which is both a file's name and a word in a device's shell.

    Raises:
        DeployError: it holds anything but letters, digits, dot, dash and underscore.
    """
    joined = f"{name}-{version}-{target}"
    if not _NAME.fullmatch(joined):
        msg = f"the release name {joined!r} is not usable: letters, digits, dot, dash and underscore only"
        raise DeployError(msg)
    return joined


def write_bundle(
    folder: Path,
    name: str,
    tflite: Path,
    metadata: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    texts: Mapping[str, str],
) -> None:
    """Write the release's files into the empty ``folder``.

    Args:
        folder: where to; the caller publishes it as a whole.
        name: from ``release_name``.
        tflite: the model, copied as ``NAME.tflite``.
        metadata: labels, input and output scale and zero point, preprocessing: ``model.json``.
        arrays: golden inputs and outputs by file stem, written as .npy.
        texts: further files by name, such as reports.
    """
    shutil.copyfile(tflite, folder / f"{name}.tflite")
    (folder / "model.json").write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")
    if labels := metadata.get("labels"):
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    for stem, array in arrays.items():
        np.save(folder / f"{stem}.npy", array, allow_pickle=False)
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    sums = checksums(folder)
    (folder / CHECKSUMS).write_text("".join(f"{sums[file]}  {file}\n" for file in sums), encoding="utf-8")


def checksums(folder: Path) -> dict[str, str]:
    """sha256 of every file in ``folder`` by name, sorted; the checksum file itself is left out."""
    files = sorted(path for path in folder.iterdir() if path.name != CHECKSUMS)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
