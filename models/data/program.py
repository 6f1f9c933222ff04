"""Data from the user's own function, named ``module:function`` or ``file.py:function``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.data.npz import pick_arrays
from models.errors import DataError

if TYPE_CHECKING:
    from types import ModuleType

    from models.data.npz import Pair

_FORMS = "return (x_train, y_train, x_test, y_test), ((x, y), (x, y)), (x, y) or a dict of these names"


def call_program(source: str) -> tuple[Pair, Pair | None, tuple[str, ...] | None]:
    """Call the function and find inputs and labels in what it returns.

    Raises:
        DataError: it is not there, it failed, or it returned something else.
    """
    name = source.rpartition(":")[2]
    module = _import(source)
    function = getattr(module, name, None)
    if not callable(function):
        msg = f"{source}: no function {name!r} in {module.__name__}; name one that returns the data"
        raise DataError(msg)
    try:
        value = function()
    except Exception as error:
        msg = f"{source}: it raised {type(error).__name__}: {' '.join(str(error).split())[:200]}; correct it"
        raise DataError(msg) from error
    return _pairs(value, source)


def program_file(source: str) -> Path:
    """Return the file that the function is in, without running it.

    Raises:
        DataError: there is none.
    """
    module = source.rpartition(":")[0]
    if module.endswith(".py"):
        path = Path(module)
    else:
        _search_here()
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            spec = None
        path = Path(spec.origin) if spec is not None and spec.origin else Path(module)
    if not path.is_file():
        msg = f"{source}: no module {module!r} here; give module:function or file.py:function"
        raise DataError(msg)
    return path


def _import(source: str) -> ModuleType:
    module = source.rpartition(":")[0]
    path = program_file(source)
    try:
        if not module.endswith(".py"):
            return importlib.import_module(module)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError(path)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    except Exception as error:
        msg = f"{source}: importing it raised {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise DataError(msg) from error
    return loaded


def _search_here() -> None:
    """Let modules beside the user's configuration be found, as ``python -m`` would."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def _pairs(value: Any, source: str) -> tuple[Pair, Pair | None, tuple[str, ...] | None]:
    if isinstance(value, dict):
        return pick_arrays(value, source)
    if isinstance(value, tuple | list):
        if len(value) == 4:
            return (value[0], value[1]), (value[2], value[3]), None
        if len(value) == 2 and all(isinstance(part, tuple | list) and len(part) == 2 for part in value):
            return tuple(value[0]), tuple(value[1]), None
        if len(value) == 2:
            return (value[0], value[1]), None, None
    msg = f"{source}: it returned {type(value).__name__}; {_FORMS}"
    raise DataError(msg)
