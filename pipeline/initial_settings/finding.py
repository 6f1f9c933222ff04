"""Find the model and the data of a folder."""

from __future__ import annotations

import os
from pathlib import Path

from models.data.forms import source_form
from models.data.images import SUFFIXES as IMAGES
from models.data.layout import is_ignored
from pipeline.errors import InputError

MODELS = (".keras", ".h5", ".hdf5")
WEIGHTS = ".weights.h5"
NOT_DATA = frozenset({"build", "dist", "venv", "node_modules", "release", "tests", "docs"})
OF_A_RUN = ("run.json", "pyvenv.cfg", "saved_model.pb", "manifest.json")
"""Files of folders that are no data: a build, an environment, a model, a release."""
MAX_FILES = 200
USAGE = "pipeline init MODEL DATA"


def find_model(folder: Path) -> Path:
    """Return the only Keras model in a folder.

    Raises:
        InputError: there is none, or there are several.
    """
    found = [path for path in _entries(folder) if _is_model(path)]
    return _only(found, folder, "Keras model (.keras, .h5 or a SavedModel)", USAGE)


def find_data(folder: Path, model: Path) -> Path:
    """Return the only data set in a folder: a file of a known form, or a folder with such files or images.

    Raises:
        InputError: there is none, or there are several.
    """
    found = [
        path
        for path in _entries(folder)
        if path.absolute() != model.absolute() and not _is_model(path) and _is_data(path)
    ]
    advice = f"pipeline init {model.name} DATA; for the parts of one data set, the folder with both"
    return _only(found, folder, "data set", advice)


def _only(found: list[Path], folder: Path, what: str, usage: str) -> Path:
    if len(found) == 1:
        return found[0]
    where = "this folder" if folder == Path() else str(folder)
    if not found:
        msg = f"no {what} in {where}; name it: {usage}"
        raise InputError(msg)
    names = ", ".join(path.name for path in found[:5]) + (", ..." if len(found) > 5 else "")
    msg = f"{len(found)} candidates for the {what} in {where}: {names}; name one: {usage}"
    raise InputError(msg)


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_ignored(path.name))


def _is_model(path: Path) -> bool:
    if path.is_dir():
        return (path / "saved_model.pb").exists()
    name = path.name.lower()
    return name.endswith(MODELS) and not name.endswith(WEIGHTS)


def _is_data(path: Path) -> bool:
    if path.is_file():
        return not path.name.lower().endswith(WEIGHTS) and source_form(path) != ""
    if path.name in NOT_DATA or any((path / name).exists() for name in OF_A_RUN):
        return False
    seen = 0
    for place, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        for name in filter(lambda each: not is_ignored(each), names):
            if Path(name).suffix.lower() in IMAGES or source_form(Path(place, name)):
                return True
            seen += 1
        if seen > MAX_FILES:
            break
    return False
