"""Where data come from: an ``.npz`` file, a folder of class folders of images, or the user's function."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.data.dataset import Data, make_data
from models.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def load_data(
    source: str | Path,
    *,
    input_shape: tuple[int | None, ...] | None = None,
    seed: int = 0,
    test_fraction: float = 0.2,
) -> Data:
    """Load labelled data; inputs keep the dtype of the source.

    Args:
        source: a ``.npz`` file, a folder of class folders of images, or ``module:function``.
        input_shape: the model's, without the batch: images are scaled to it, a missing or superfluous last
            axis of size 1 is mended.
        seed: of the split, where the source has no test samples.
        test_fraction: how much of each class is then kept for testing.

    Raises:
        DataError: the source cannot be used; the message says what, where and how to mend it.
    """
    if _is_program(source):
        from models.data.program import call_program

        train, test, names = call_program(str(source))
    else:
        path = _existing(source)
        if path.is_dir():
            from models.data.images import read_folder

            train, test, names = read_folder(path, input_shape)
        else:
            from models.data.npz import pick_arrays, read_npz

            train, test, names = pick_arrays(read_npz(path), str(path))
    where = str(source)
    data = make_data(train, test, where=where, seed=seed, test_fraction=test_fraction, class_names=names)
    return replace(
        data,
        train_inputs=_with_channel(data.train_inputs, input_shape),
        test_inputs=_with_channel(data.test_inputs, input_shape),
    )


def fingerprint(source: str | Path) -> str:
    """Return the SHA-256 of the source's content, without decoding it: a key for caching.

    Of ``module:function`` it covers the file of the module, not what that file reads.

    Raises:
        DataError: the source does not exist.
    """
    if _is_program(source):
        from models.data.program import program_file

        path = program_file(str(source))
        return hashlib.sha256(f"{source}\n{_file_hash(path)}".encode()).hexdigest()
    path = _existing(source)
    if not path.is_dir():
        return _file_hash(path)
    from models.data.images import image_files

    lines = (f"{file.relative_to(path).as_posix()}\0{_file_hash(file)}\n" for file in image_files(path))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _is_program(source: str | Path) -> bool:
    return isinstance(source, str) and ":" in source and not Path(source).exists()


def _existing(source: str | Path) -> Path:
    path = Path(source)
    if not path.exists():
        msg = f"{path}: no such file or folder; give a .npz, a folder of class folders, or module:function"
        raise DataError(msg)
    return path


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _with_channel(inputs: NDArray[Any], input_shape: tuple[int | None, ...] | None) -> NDArray[Any]:
    """Add or drop a last axis of size 1 where that is all that separates the data from the model."""
    if input_shape is not None and (*inputs.shape[1:], 1) == input_shape:
        return inputs[..., None]
    if input_shape is not None and inputs.shape[1:] == (*input_shape, 1):
        return inputs[..., 0]
    return inputs
