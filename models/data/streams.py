"""Batches from what a user's program yields: ``tf.data``, a Keras ``Sequence``, or any iterator."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

from models.data.store import matches
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.data.options import Array, Batch
    from models.ports import Port

_BATCH_BYTES = 4 << 20
_MAX_BATCH = 1024


def is_stream(value: Any) -> bool:
    """Return whether a value gives its samples one after another, rather than being an array."""
    if isinstance(value, str | bytes | dict | list | tuple | set) or hasattr(value, "__array__"):
        return False
    return hasattr(value, "__iter__") or (hasattr(value, "__len__") and hasattr(value, "__getitem__"))


@contextlib.contextmanager
def raised(source: str, what: str = "it") -> Iterator[None]:
    """Return in one line what the user's code raised, or that it tried to exit.

    Raises:
        DataError: in place of any other exception.
    """
    try:
        yield
    except (DataError, GeneratorExit):
        raise
    except SystemExit as error:
        msg = f"{source}: {what} called sys.exit({error.code!r:.60}); return the data instead"
        raise DataError(msg) from error
    except BaseException as error:
        text = " ".join(str(error).split())[:200]
        msg = f"{source}: {what} raised {type(error).__name__}: {text}; correct it"
        raise DataError(msg) from error


def by_port(value: Any, ports: Sequence[Port]) -> tuple[Array, ...]:
    """Return an array for each input or output, from a dict by name or a tuple in order.

    Raises:
        DataError: a name is missing, or there are too few.
    """
    if isinstance(value, dict):
        lacking = [port.name for port in ports if port.name not in value]
        if len(ports) == 1 and len(value) == 1:
            return (np.asarray(next(iter(value.values()))),)
        if lacking:
            msg = (
                f"no {lacking[0]!r} among {sorted(map(str, value))}; name the arrays after the model's ports"
            )
            raise DataError(msg)
        return tuple(np.asarray(value[port.name]) for port in ports)
    if len(ports) == 1:
        lone = isinstance(value, tuple) and len(value) == 1
        return (np.asarray(value[0] if lone else value),)
    if not isinstance(value, tuple | list) or len(value) != len(ports):
        msg = f"{type(value).__name__} for {[port.name for port in ports]}; give a dict with these names"
        raise DataError(msg)
    return tuple(np.asarray(array) for array in value)


def batches_of_stream(
    stream: Any,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    source: str,
    notes: list[str],
    max_samples: int,
) -> Iterator[Batch]:
    """Read samples or batches, distinguished by the model's input shape.

    Args:
        stream: yields x or (x, y) or (x, y, weights).
        inputs: of the model.
        outputs: of the model.
        source: for messages.
        notes: get one on weights, which are not used.
        max_samples: how many it may yield.

    Raises:
        DataError: it raised, has no end, or yields something else.
    """
    count = 0
    waiting: list[tuple[tuple[Array, ...], tuple[Array, ...]]] = []
    items = _items(stream, source)
    while True:
        with raised(source):
            try:
                item = next(items)
            except StopIteration:
                break
            x, y = _split(item, inputs, outputs, notes)
            arrays = by_port(x, inputs)
            targets = () if y is None else by_port(y, outputs)
        is_sample = _is_sample(arrays[0].shape, inputs[0].shape)
        count += 1 if is_sample else len(arrays[0])
        if count > max_samples:
            msg = (
                f"{source}: more than {max_samples:,} samples; let it end after one pass over the data, "
                "or allow more: [data] max_samples"
            )
            raise DataError(msg)
        if not is_sample:
            yield arrays, targets
            continue
        waiting.append((arrays, targets))
        if len(waiting) >= min(_MAX_BATCH, 1 + _BATCH_BYTES // max(1, sum(a.nbytes for a in arrays))):
            yield _stack(waiting, source)
            waiting = []
    if waiting:
        yield _stack(waiting, source)


def _items(stream: Any, source: str) -> Iterator[Any]:
    with raised(source):
        if hasattr(stream, "cardinality") and int(stream.cardinality()) == -1:
            msg = f"{source}: the data set has no end; leave out repeat()"
            raise DataError(msg)
        if hasattr(stream, "as_numpy_iterator"):
            return iter(stream.as_numpy_iterator())
        if hasattr(stream, "__len__") and hasattr(stream, "__getitem__"):
            return (stream[index] for index in range(len(stream)))
        return iter(stream)


def _split(item: Any, inputs: Sequence[Port], outputs: Sequence[Port], notes: list[str]) -> tuple[Any, Any]:
    if isinstance(item, dict):
        targets = [port.name for port in outputs if port.name in item]
        given = {name: item[name] for name in targets} if len(targets) == len(outputs) else None
        return ({name: value for name, value in item.items() if name not in targets}, given)
    if not isinstance(item, tuple | list):
        return item, None
    if len(item) == 3:
        notes.append("sample weights are not used")
    if len(item) > 3 or not item:
        msg = f"it yielded {len(item)} values; yield (x, y)"
        raise DataError(msg)
    return item[0], item[1] if len(item) > 1 else None


def _is_sample(shape: tuple[int, ...], port: tuple[int | None, ...]) -> bool:
    if matches(shape, port):
        return True
    if shape and _nearly(shape[1:], port):
        return False
    return _nearly(shape, port) or len(shape) <= len(port)


def _nearly(shape: tuple[int, ...], port: tuple[int | None, ...]) -> bool:
    return (
        matches(shape, port)
        or matches((*shape, 1), port)
        or (shape[-1:] == (1,) and matches(shape[:-1], port))
    )


def _stack(samples: list[tuple[tuple[Array, ...], tuple[Array, ...]]], source: str) -> Batch:
    try:
        inputs, targets = (list(zip(*column, strict=True)) for column in zip(*samples, strict=True))
        return tuple(map(np.stack, inputs)), tuple(map(np.stack, targets))
    except ValueError as error:
        msg = f"{source}: samples of different shapes, or some without targets; give all the same"
        raise DataError(msg) from error
