"""A release folder as an input: the model in it, and what it says of how to feed and judge that."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploy.contents import check_manifest, check_sums
from deploy.errors import DeployError
from deploy.manifest import MANIFEST, read_manifest
from pipeline.artifacts import Transform
from pipeline.errors import InputError, leaf_errors_mapped

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.manifest import Manifest


@dataclass(frozen=True)
class Released:
    """A release whose files are as its checksums and its manifest say; who signed it was not looked at."""

    folder: Path
    manifest: Manifest

    @property
    def model(self) -> Path:
        """The .tflite file."""
        return self.folder / self.manifest.model

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """How the raw values of each input become the model's, in the order of the file's inputs."""
        return tuple(
            Transform(
                scale=steps.scale,
                offset=steps.offset,
                reverse_channels=steps.reverse_channels,
                indices=steps.indices,
                reason="as the release's manifest.json says",
            )
            for steps in (port.preprocessing for port in self.manifest.inputs)
        )

    @property
    def data_settings(self) -> dict[str, Any]:
        """Data settings of the release, as keys of ``[data]``."""
        resizes = [port.preprocessing.resize for port in self.manifest.inputs]
        found: dict[str, Any] = {"task": tuple(port.task for port in self.manifest.outputs)}
        if self.manifest.labels:
            found["labels"] = self.manifest.labels
        for resize in resizes:
            if resize is not None:
                found["interpolation"] = resize.interpolation
        return found


def open_release(folder: Path) -> Released:
    """Open a release folder.

    Raises:
        InputError: it is not a release, or cannot be read.
        IntegrityError: a file is missing, changed or too many, or the folder has another name.
    """
    if not os.path.isfile(folder / MANIFEST):  # noqa: PTH113 - is_file() raises what it cannot read
        msg = (
            f"{folder}: a folder without {MANIFEST} is not a release; give a release folder or a .tflite file"
        )
        raise InputError(msg)
    with leaf_errors_mapped():
        return Released(folder, check_manifest(folder, check_sums(folder)))


def release_of(file: Path, sha256: str) -> Released | None:
    """Return the release that a .tflite file lies in; None if it is not the model of a manifest beside it."""
    try:
        manifest = read_manifest(file.parent)
    except DeployError:
        return None
    return Released(file.parent, manifest) if manifest.files.get(file.name) == sha256 else None


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; of one that cannot be looked at the reader of files will say why."""
    return os.path.isdir(path)  # noqa: PTH112 - likewise


def model_file(path: Path) -> Path:
    """Return the .tflite file of a release folder, or ``path`` where it is a file.

    Raises: as ``open_release``.
    """
    return open_release(path).model if is_folder(path) else path
