"""The release folder: what a board, an app or an auditor needs, the same bytes from the same inputs."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.contents import CHECKSUMS, checksums, is_listed, sums_text
from deploy.errors import DeployError
from deploy.layouts import write_debian_package
from deploy.manifest import Manifest, digest_of, write_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

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


def labels_text(labels: Sequence[str]) -> str:
    """Return the labels, one line each whatever is in them: a control character becomes its escape."""
    lines = ("".join(c if c.isprintable() else ascii(c)[1:-1] for c in label) for label in labels)
    return "".join(f"{line}\n" for line in lines)


def write_bundle(
    folder: Path,
    manifest: Manifest,
    tflite: Path,
    arrays: Mapping[str, NDArray[Any]],
    texts: Mapping[str, str | bytes],
) -> str:
    """Write the release's files into the empty ``folder`` and return the release's digest.

    Args:
        folder: where to; the caller publishes it as a whole.
        manifest: all but ``files``, which is filled in.
        tflite: the model, copied under the manifest's name for it.
        arrays: golden inputs and outputs by file stem, written as .npy.
        texts: further files by their path in the release, such as reports.
    """
    shutil.copyfile(tflite, folder / manifest.model)
    if manifest.labels:
        (folder / "labels.txt").write_text(labels_text(manifest.labels), encoding="utf-8")
    for stem, array in arrays.items():
        np.save(folder / f"{stem}.npy", array, allow_pickle=False)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return seal(folder, manifest)


def seal(folder: Path, manifest: Manifest) -> str:
    """Write what follows from the files in ``folder``, and return the release's digest.

    That is ``manifest.json``, the Debian package around it where there can be one, and ``SHA256SUMS``.

    Raises:
        SignatureError: the folder holds what a release cannot.
        DeployError: dpkg-deb fails.
    """
    found = checksums(folder)
    listed = manifest.model_copy(update={"files": {name: found[name] for name in found if is_listed(name)}})
    write_manifest(listed, folder)
    write_debian_package(folder, listed)
    (folder / CHECKSUMS).write_text(sums_text(checksums(folder)), encoding="utf-8")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return digest_of(folder)
