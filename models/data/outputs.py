"""Find the task of an output and store its targets, with the names of its classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.data.ignored import ignored_note, without_ignored
from models.data.rows import rows_of_file
from models.data.store import input_file, raw_target_file
from models.data.target_forms import threshold_of
from models.data.target_stats import same, scan
from models.data.targets import (
    Place,
    normal_class,
    number_classes,
    order_words,
    write_targets,
)
from models.data.tasks import Answer, infer
from models.errors import DataError
from models.task_rules import TASK_RULES

if TYPE_CHECKING:
    from pathlib import Path

    from models.data.options import DataOptions
    from models.data.store import Stored
    from models.data.target_stats import TargetStats
    from models.ports import Port
    from models.task_rules import Task


@dataclass(frozen=True)
class Target:
    """One output's raw targets.

    Attributes:
        index: of the output.
        output: of the model.
        inputs: of the model.
        folder: that holds the raw targets and gets the stored ones.
        stored: what else was written there.
        outputs: how many the model has.
    """

    index: int
    output: Port
    inputs: tuple[Port, ...]
    folder: Path
    stored: Stored
    outputs: int = 1

    @property
    def raw(self) -> Path:
        """The file of the raw targets."""
        return raw_target_file(self.folder, self.index)


def target_file(folder: Path, index: int) -> Path:
    return folder / f"target_{index}.npy"


def store_target(
    target: Target, names: tuple[str, ...], options: DataOptions, notes: list[str], findings: list[str]
) -> tuple[Task, tuple[str, ...]]:
    """Infer the task, unless it was given, and write the targets in its form.

    Args:
        target: of one output; its raw file is removed.
        names: of the classes in order, as the user or else the source gives them; may be empty.
        options: with the task, if given.
        notes: get what the user may not expect.
        findings: get the task and the reason, where it was inferred.

    Returns:
        The task and the names of its classes, if it has classes with names.

    Raises:
        DataError: the targets do not fit the output or the task.
    """
    given = options.task(target.index)
    if target.stored.targets == 0:
        if given is not None and not TASK_RULES[given].needs_targets:
            return given, ()
        if given is not None:
            msg = f"no labels, which {given} needs; add them to the data"
            raise DataError(msg)
        answer = infer(None, target.output, target.inputs, same_as_input=False, normal=False)
        _report(target, answer, notes, findings)
        return answer.task, ()
    words = target.stored.words.get(target.index, ())
    labels = options.labels if names else ()  # they are of the first output with classes
    if words:
        names = _write_ids(target.raw, words, names, labels)
    stats, ignore = without_ignored(scan(target.raw, words=bool(words)), target.output, options.ignore)
    only = _only_class(target) if stats.scalar else None
    normal = normal_class(names, labels, only if words else None)
    task = given
    if task is None:
        answer = infer(
            stats,
            target.output,
            target.inputs,
            same_as_input=_is_input(target) and not words,
            normal=normal is not None,
            one_class=only == 0,
        )
        _report(target, answer, notes, findings)
        task = answer.task
    numbering = number_classes(task, target.output, stats, labels)
    names = names or numbering.names
    found = TASK_RULES[task].names(names, target.output, normal or 0) if names else ()
    ignore = ignore if TASK_RULES[task].has_positions else None
    notes += filter(None, (numbering.note, _range_note(task, target.output, stats), ignored_note(ignore)))
    write_targets(
        target.raw,
        target_file(target.folder, target.index),
        task,
        target.output,
        stats,
        place=Place(target.stored.train_rows),
        normal=normal,
        numbering=numbering,
        ignore=ignore,
    )
    target.raw.unlink()
    return task, found


def check_names(names: tuple[str, ...]) -> None:
    """Refuse names of classes that a list of labels, one a line, cannot hold.

    Raises:
        DataError: a name is empty, has a character that cannot be printed, or occurs twice.
    """
    for index, name in enumerate(names):
        if not name.strip() or not name.isprintable():
            problem = "has a character that cannot be printed" if name.strip() else "is empty"
            msg = f"the name of class {index}, {name!r}, {problem}; rename the class in the data or in labels"
            raise DataError(msg)
        if name in names[:index]:
            both = f"classes {names.index(name)} and {index} are both named {name!r}"
            msg = f"{both}; give each a name of its own in labels"
            raise DataError(msg)


def _report(target: Target, answer: Answer, notes: list[str], findings: list[str]) -> None:
    of = f" of {target.output.name!r}" if target.outputs > 1 else ""
    findings.append(f"task{of}: {answer.task} ({answer.reason})")
    notes += [answer.note] if answer.note else []


def _range_note(task: Task, output: Port, stats: TargetStats) -> str:
    """Return a note on values that are thresholded, or that the model cannot reach; else an empty string."""
    rule = TASK_RULES[task]
    if rule.range_note:
        return rule.range_note(stats, output)
    threshold = threshold_of(output, stats) if rule.has_positions else None
    if threshold is None or stats.painted:
        return ""
    return f"masks with values from {stats.low:g} to {stats.high:g} were thresholded at {threshold:g}"


def _write_ids(
    raw: Path, words: tuple[str, ...], names: tuple[str, ...], given: tuple[str, ...]
) -> tuple[str, ...]:
    """Replace the indices of words by class ids; return the names in their order."""
    ordered = order_words(words, () if given else names, given)
    ids = np.array([ordered.index(word) for word in words], np.int64)
    np.save(raw, ids[np.load(raw)])
    return given if len(given) == len(ordered) else ordered


def _only_class(target: Target) -> int | None:
    """Return the one class that the samples to train on have, where those to test on are apart."""
    if target.stored.test_rows is None:
        return None
    found = np.unique(np.load(target.raw)[: target.stored.train_rows])
    return int(found[0]) if len(found) == 1 else None


def _is_input(target: Target) -> bool:
    path = input_file(target.folder, 0)
    return rows_of_file(path).shape[1:] == rows_of_file(target.raw).shape[1:] and same(path, target.raw)
