"""Read any data source into files of one form."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from typing import TYPE_CHECKING

import numpy as np

from models.data.forms import existing, is_program, read, source_files
from models.data.options import DataOptions, StoredData
from models.data.outputs import Target, check_names, store_target
from models.data.partition import choose_rows
from models.data.store import store
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models.ports import Port
    from models.task_rules import Task


def load_data(
    source: str | Path,
    folder: Path,
    *,
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    options: DataOptions | None = None,
    seed: int = 0,
) -> StoredData:
    """Read data of any form and write them as ``.npy`` files; memory stays bounded whatever their size.

    Args:
        source: a file, a folder, or ``module:function``; see docs/reference/data.md.
        folder: exists. It gets ``input_0.npy`` ... ``(n, *shape)`` with the source's values and dtype,
            ``target_0.npy`` ... in the form of each task (``models.task_rules``; none of a reconstruction
            or of an embedding without labels), and int64 rows, ascending, as :class:`Splits` says:
            ``train.npy``, ``test.npy`` and so on.
        inputs: of the model.
        outputs: of the model.
        options: settings that cannot be inferred from the data.
        seed: of the split, where the source has no test samples.

    Raises:
        DataError: the source cannot be used; the message says what is wrong, where, and how to fix it.
    """
    try:
        return _load(source, folder, tuple(inputs), tuple(outputs), options or DataOptions(), seed)
    except DataError as error:
        named = str(error) if str(source) in str(error) else f"{source}: {error}"
        raise DataError(_printable(named)) from error


def _load(
    source: str | Path,
    folder: Path,
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
    options: DataOptions,
    seed: int,
) -> StoredData:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # about bombs and palettes: judged here
        parts = read(source, inputs, outputs, options)
        stored = store(parts, folder, inputs, str(source))
    notes, findings = [*parts.notes, *parts.late_notes()], [*parts.findings]
    if stored.targets not in (0, len(outputs)):
        msg = f"{source}: {stored.targets} targets for {len(outputs)} outputs; give one for each output"
        raise DataError(msg)
    tasks: list[Task] = []
    names = options.labels or parts.class_names
    class_names: tuple[str, ...] = ()
    for index, output in enumerate(outputs):
        target = Target(index, output, inputs, folder, stored, len(outputs))
        task, found = store_target(target, () if class_names else names, options, notes, findings)
        tasks.append(task)
        class_names = class_names or found
    check_names(class_names)
    groups = None if parts.groups is None else parts.groups()
    splits = choose_rows(folder, tuple(tasks), stored, groups, options, seed, notes)
    for name, rows in splits._asdict().items():
        np.save(folder / f"{name}.npy", rows)
    return StoredData(
        tuple(tasks),
        class_names,
        len(splits.train),
        len(splits.test),
        notes=tuple(dict.fromkeys(map(_printable, notes))),
        findings=tuple(map(_printable, findings)),
        text_labels=bool(stored.words),
        columns=parts.columns or _named(options.columns, inputs),
    )


def _named(columns: tuple[str, ...], inputs: tuple[Port, ...]) -> tuple[tuple[str, ...], ...]:
    """Return the names of the values of each input, where the source itself has none.

    The settings name them, or else the inputs of a model that takes each number by an input of its own.
    """
    sizes = [math.prod(length or 0 for length in port.shape) for port in inputs]
    names = columns or tuple(port.name for port in inputs if sizes == [1] * len(inputs) and len(inputs) > 1)
    if len(names) != sum(sizes) or len(set(names)) < len(names):
        return ()
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    return tuple(names[start : start + size] for start, size in zip(starts, sizes, strict=True))


def _printable(text: str) -> str:
    """Names from a user's file may hold anything, also what a terminal obeys."""
    return "".join(character if character.isprintable() else " " for character in text)


def fingerprint(source: str | Path, options: DataOptions | None = None) -> str:
    """Return the SHA-256 of the source's content and the options, without decoding it: a key for caching.

    Of ``module:function`` it covers the file of the module, not what that file reads.

    Raises:
        DataError: the source does not exist.
    """
    total = hashlib.sha256(repr(options or DataOptions()).encode())
    if is_program(source):
        from models.data.program import program_file

        total.update(f"{source}\n{_file_hash(program_file(str(source)))}".encode())
        return total.hexdigest()
    path = existing(source)
    for file in source_files(path):
        name = os.path.relpath(file, path if path.is_dir() else path.parent) if file != path else ""
        total.update(f"{name}\0{_file_hash(file)}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
