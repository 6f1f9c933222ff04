"""Models and arrays of a running program as files, in the formats that every command takes."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pipeline.errors import ConfigError, InputError, storing

if TYPE_CHECKING:
    from pathlib import Path

    import keras
    import numpy as np
    from numpy.typing import ArrayLike

    # What ``write_arrays`` takes.
    Arrays: TypeAlias = np.ndarray[Any, Any] | Mapping[str, ArrayLike] | tuple[Any, Any]

MODEL, DATA = "model.keras", "data.npz"
_KERAS = ("keras", "tf_keras")
_METADATA, _SAVED_AT = "metadata.json", "date_saved"
_ARGUMENT = "file"
"""The only name that ``numpy.savez`` has for itself."""
FORMS = "give a path, a dict of arrays by name, (x, y), or ((x_train, y_train), (x_test, y_test))"


def is_keras_model(value: object) -> bool:
    """Return whether a value is a model of Keras 3 or tf_keras, without importing either."""
    modules = [module for name in _KERAS if (module := sys.modules.get(name)) is not None]
    return any(isinstance(value, module.Model) for module in modules)


def write_model(model: keras.Model, folder: Path) -> Path:
    """Save a model as a .keras file, with the same bytes for the same model, and return its path.

    A build finds its finished stages by the content of the file, so that it must not have the time in it.

    Raises:
        InputError: Keras cannot save the model.
        StageError: the disk is full, or the folder cannot be written to.
    """
    path, part = folder / MODEL, folder / f"part-{MODEL}"
    with storing("write the model"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            model.save(part)
            _without_time(part, path)
        except (TypeError, ValueError, NotImplementedError) as error:
            msg = f"model: Keras cannot save it: {str(error).partition(chr(10))[0]:.200}"
            raise InputError(msg) from error
        finally:
            part.unlink(missing_ok=True)
    return path


def _without_time(source: Path, path: Path) -> None:
    """Copy an archive with all times left out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in sorted(old.namelist()):
            content = old.read(name)
            if name == _METADATA:
                content = json.dumps(json.loads(content) | {_SAVED_AT: ""}).encode()
            new.writestr(zipfile.ZipInfo(name), content)


def write_arrays(data: Arrays, folder: Path) -> Path:
    """Save arrays as an .npz file and return its path.

    Args:
        data: inputs alone; arrays by name, as ``pipeline help data`` lists them; inputs and targets, which
            are split; or, as ``keras.datasets`` gives them, two pairs of inputs and targets: the training
            samples and the test samples. Arrays have one row per sample.

    Raises:
        ConfigError: the data have another form.
        InputError: an array holds Python objects.
        StageError: the disk is full, or the folder cannot be written to.
    """
    import numpy as np

    arrays = {name: np.asarray(value) for name, value in _named(data).items()}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            msg = f"data: {name} holds Python objects; give an array of numbers or text"
            raise InputError(msg)
    path = folder / DATA
    with storing("write the data"):
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)
    return path


def _named(data: Any) -> dict[str, Any]:
    """Return arrays by name; errors as ``write_arrays``."""
    match data:
        case Mapping():
            if not all(isinstance(name, str) and name != _ARGUMENT for name in data):
                msg = f"data: arrays need names such as x_train, y_train, x_test and y_test; got {list(data)}"
                raise ConfigError(msg)
            return dict(data)
        case ((x_train, y_train), (x_test, y_test)) if isinstance(data, tuple):
            return {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
        case (x, y) if isinstance(data, tuple):
            return {"x": x, "y": y}
        case _ if hasattr(data, "__array__"):
            return {"x": data}
    msg = f"data: got {type(data).__name__}; {FORMS}"
    raise ConfigError(msg)
