"""Data from the user's own function, named ``module:function`` or ``file.py:function``."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.data.arrays import parts_of_arrays
from models.data.options import TEST_NAMES, VALIDATION_NAMES, DataOptions, Parts
from models.data.rows import rows_of_array, together
from models.data.streams import batches_of_stream, by_port, is_stream, raised
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from models.data.options import Batch
    from models.ports import Port

_FORMS = (
    "return (x, y), (x_train, y_train, x_test, y_test), a dict of these names, a tf.data.Dataset or iterator "
    "of (x, y), or a pair of them to train and to test on"
)


def call_program(
    source: str,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    group: str = "",
    max_samples: int = DataOptions.max_samples,
) -> Parts:
    """Call the function and find inputs and targets in what it returns.

    A function with a parameter ``split`` is called with ``"train"`` and with ``"test"``. Call this in a
    process of its own: a user's code may crash or end it.

    Args:
        source: ``module:function`` or ``file.py:function``.
        inputs: of the model.
        outputs: of the model.
        max_samples: of one stream that it returns, which may have no end.

    Raises:
        DataError: it is not there, it failed, or it returned something else.
    """
    function = import_named(source)
    if not callable(function):
        msg = f"{source}: not a function; name one that returns the data"
        raise DataError(msg)
    reader = _Reader(source, tuple(inputs), tuple(outputs), group, max_samples)
    with raised(source):
        takes_split = "split" in inspect.signature(function).parameters
    if takes_split:
        train, test = (reader.call(function, split=part) for part in ("train", "test"))
        return reader.parts(train, test)
    return reader.find_parts(reader.call(function))


class _Reader:
    """Makes batches of what a function returned."""

    def __init__(
        self,
        source: str,
        inputs: tuple[Port, ...],
        outputs: tuple[Port, ...],
        group: str,
        max_samples: int,
    ) -> None:
        self.source = source
        self.max_samples = max_samples
        self.inputs = inputs
        self.outputs = outputs
        self.group = group
        self.notes: list[str] = []

    def call(self, function: Any, **arguments: str) -> Any:
        with raised(self.source):
            return function(**arguments)

    def find_parts(self, value: Any) -> Parts:
        if isinstance(value, dict):
            keys = {str(key).lower(): part for key, part in value.items()}
            if "train" in keys and set(keys) <= {"train", *TEST_NAMES, *VALIDATION_NAMES}:
                others = [
                    keys[next(name for name in names if name in keys)]
                    for names in (TEST_NAMES, VALIDATION_NAMES)
                    if set(names) & set(keys)
                ]
                return self.parts(keys["train"], *others)
            with raised(self.source):
                arrays = {str(name): rows_of_array(np.atleast_1d(np.asarray(a))) for name, a in value.items()}
            return parts_of_arrays(arrays, self.inputs, self.outputs, self.source, self.group)
        if isinstance(value, tuple | list) and len(value) == 4:
            return self.parts(tuple(value[:2]), tuple(value[2:]))
        if isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_set, value)):
            return self.parts(value[0], value[1])
        if isinstance(value, tuple | list | np.ndarray) or is_stream(value):
            return self.parts(value)
        msg = f"{self.source}: it returned {type(value).__name__}; {_FORMS}"
        raise DataError(msg)

    def parts(self, train: Any, test: Any = None, validation: Any = None) -> Parts:
        names = getattr(train, "class_names", None)  # set by Keras' data sets from folders
        classes = tuple(map(str, names)) if isinstance(names, list | tuple) else ()
        return Parts(
            self.batches(train, "training"),
            None if test is None else self.batches(test, "test"),
            classes,
            self.notes,
            validation=None if validation is None else self.batches(validation, "validation"),
        )

    def batches(self, value: Any, part: str) -> Iterator[Batch]:
        if is_stream(value):
            return batches_of_stream(
                value, self.inputs, self.outputs, self.source, self.notes, self.max_samples
            )
        return self._slices(value, part)

    def _slices(self, value: Any, part: str) -> Iterator[Batch]:
        """Read arrays: inputs, or inputs and targets."""
        pair = isinstance(value, tuple | list) and len(value) == 2
        with raised(self.source):
            arrays = by_port(value[0] if pair else value, self.inputs)
            targets = by_port(value[1], self.outputs) if pair and value[1] is not None else ()
        every = (*arrays, *targets)
        if any(array.ndim == 0 or len(array) != len(arrays[0]) for array in every):
            shapes = [", ".join(str(array.shape) for array in group) for group in (arrays, targets)]
            msg = (
                f"{self.source}: {part} inputs {shapes[0]} and labels {shapes[1]} differ in length; "
                "give one label for each sample"
            )
            raise DataError(msg)
        for pieces in together([rows_of_array(array) for array in every]):
            yield pieces[: len(arrays)], pieces[len(arrays) :]


def _is_set(value: Any) -> bool:
    """Return whether a value is a whole set, a pair or a stream, rather than an array."""
    return (isinstance(value, tuple | list) and len(value) == 2) or is_stream(value)


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


def import_named(source: str) -> Any:
    """Return what ``module:name`` or ``file.py:name`` names, by importing the module.

    Raises:
        DataError: there is no such module or name, or importing it failed.
    """
    name = source.rpartition(":")[2]
    module = _import(source)
    if not hasattr(module, name):
        msg = f"{source}: no {name!r} in {module.__name__}; give module:name or file.py:name"
        raise DataError(msg)
    return getattr(module, name)


def _import(source: str) -> ModuleType:
    module = source.rpartition(":")[0]
    path = program_file(source)
    with raised(source, "importing it"):
        if not module.endswith(".py"):
            return importlib.import_module(module)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError(path)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
    return loaded


def _search_here() -> None:
    """Make modules next to the user's configuration importable, like ``python -m``."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
