"""Where data come from, and how any of them becomes files of one form."""

from __future__ import annotations

import hashlib
import os
import warnings
from typing import TYPE_CHECKING

import numpy as np

from models.data.forms import existing, is_program, read, source_files
from models.data.options import DataOptions, StoredData
from models.data.outputs import Target, check_names, store_target, target_file
from models.data.rows import rows_of_file, together
from models.data.splits import bins, make_split, without_shared
from models.data.store import store
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.data.store import Stored
    from models.ports import Port, Task

    Indices = NDArray[np.int64]

_STRATIFIED = ("classification", "binary", "anomaly", "embedding", "regression")


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
            ``target_0.npy`` ... in the form of each task (:data:`models.ports.Task`; none of a reconstruction
            or of an embedding without labels), ``train.npy`` and ``test.npy``: int64 rows, ascending.
        inputs: of the model.
        outputs: of the model.
        options: what cannot be told from the data.
        seed: of the split, where the source has no test samples.

    Raises:
        DataError: the source cannot be used; the message says what, where and how to mend it.
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
    train, test = _choose_rows(folder, tuple(tasks), stored, options.test_fraction, seed, notes)
    np.save(folder / "train.npy", train)
    np.save(folder / "test.npy", test)
    return StoredData(
        tuple(tasks),
        class_names,
        len(train),
        len(test),
        notes=tuple(dict.fromkeys(map(_printable, notes))),
        findings=tuple(map(_printable, findings)),
    )


def _printable(text: str) -> str:
    """Names from a user's file may hold anything, also what a terminal obeys."""
    return "".join(character if character.isprintable() else " " for character in text)


def _choose_rows(
    folder: Path, tasks: tuple[Task, ...], stored: Stored, test_fraction: float, seed: int, notes: list[str]
) -> tuple[Indices, Indices]:
    """Return the rows to train on and those to test on."""
    count = len(stored.digests)
    strata, anomalous = np.zeros(count, np.int64), np.zeros(count, bool)
    for index in reversed(range(len(tasks))):  # the first output that can tell decides
        if target_file(folder, index).exists() and tasks[index] in _STRATIFIED:
            strata = _strata(target_file(folder, index), tasks[index])
        if tasks[index] == "anomaly":
            anomalous |= np.load(target_file(folder, index)) == 1
    if stored.test_rows is None:
        train, test = make_split(strata, stored.digests, test_fraction, seed)
        repeated = count - len(np.unique(stored.digests))
        if repeated:
            notes.append(
                f"samples that repeat others: {repeated}; equal ones were kept on one side of the split"
            )
        test = np.union1d(test, np.flatnonzero(anomalous))
    else:
        train, test = np.arange(stored.train_rows), np.arange(stored.train_rows, count)
    unfit = int(anomalous[train].sum())
    if unfit:
        where = "are there to test on" if stored.test_rows is None else "were left out"
        notes.append(f"{unfit} anomalies among the training samples {where}: only normal ones are trained on")
    train = train[~anomalous[train]]
    train, shared = without_shared(train, test, stored.digests)
    if shared:
        notes.append(f"{shared} training samples are also test samples and were left out")
    if not len(train):
        msg = "no training samples are left; give normal samples to train on"
        raise DataError(msg)
    return train, test


def _strata(path: Path, task: Task) -> Indices:
    if task != "regression":
        return np.asarray(np.load(path), np.int64)
    means = [piece.reshape(len(piece), -1).mean(axis=1) for (piece,) in together([rows_of_file(path)])]
    return bins(np.concatenate(means))


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
