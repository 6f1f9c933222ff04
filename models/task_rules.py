"""Rules for reading data, one row per task.

The pipeline's own row (``pipeline.tasks.spec``) extends this one by how a task is trained, scored and judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.data import target_forms as forms

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.data.target_forms import Change
    from models.data.target_stats import TargetStats
    from models.ports import Port

Strata = Literal["", "ids", "means"]


@dataclass(frozen=True, kw_only=True)
class TaskRule:
    """Rules for reading the data of a task.

    Attributes:
        stored: given the task, the output, statistics of its raw targets and the normal class id, returns
            the function from a batch of raw targets to stored ones; None if no targets are stored.
        needs_targets: whether it cannot be trained or judged without.
        of_classes: whether an output holds scores of classes or labels; else it holds numbers.
        of_input: whether an output is compared with the first input.
        class_ids: whether the targets are ids of classes that exclude each other.
        has_positions: whether there is a class for each position of a sample, or none (``NO_CLASS``).
        only_normal: whether only samples whose target is 0 are trained on.
        strata: what a split keeps in proportion: the targets as ids, the tenths of their means, or nothing.
        names: given the names of the labels, the output and the id of the normal class, returns the names of
            the classes that the stored targets have.
        range_note: returns a note on targets that the output cannot reach, or "".
        recognizes: given statistics of the targets, the output, and whether they are the input, returns why
            they can be of no other task, or ""; None leaves that to ``models.data.tasks``.
    """

    stored: Callable[[str, Port, TargetStats, int], Change] | None
    needs_targets: bool = True
    of_classes: bool = False
    of_input: bool = False
    class_ids: bool = False
    has_positions: bool = False
    only_normal: bool = False
    strata: Strata = ""
    names: Callable[[tuple[str, ...], Port, int], tuple[str, ...]] = forms.no_names
    range_note: Callable[[TargetStats, Port], str] | None = None
    recognizes: Callable[[TargetStats, Port, bool], str] | None = None

    @property
    def one_class(self) -> bool:
        """Whether each sample is of one class."""
        return self.class_ids and not self.has_positions


TASK_RULES: dict[str, TaskRule] = {
    # one of several classes; targets int64 (n,) class ids
    "classification": TaskRule(
        stored=forms.class_ids, of_classes=True, class_ids=True, strata="ids", names=forms.every_class
    ),
    # one of two, by a single output; int64 (n,) of 0 and 1
    "binary": TaskRule(
        stored=forms.zero_one, of_classes=True, class_ids=True, strata="ids", names=forms.every_class
    ),
    # any of several classes; uint8 (n, classes) of 0 and 1
    "multi-label": TaskRule(stored=forms.label_rows, of_classes=True, names=forms.every_class),
    # numbers; float32 (n, *output_shape)
    "regression": TaskRule(stored=forms.numbers, strata="means", range_note=forms.check_range),
    # the input itself (an autoencoder); no targets are stored
    "reconstruction": TaskRule(
        stored=None, needs_targets=False, of_input=True, recognizes=forms.are_the_input
    ),
    # the input itself, judged by how badly that succeeds; int64 (n,), 1 for an anomaly, 0 in training samples
    "anomaly": TaskRule(
        stored=forms.anomalies, of_input=True, only_normal=True, strata="ids", names=forms.normal_and_other
    ),
    # a class for each position; int64 (n, *positions) class ids, -1 where there is none
    "segmentation": TaskRule(
        stored=forms.masks, of_classes=True, class_ids=True, has_positions=True, names=forms.every_class
    ),
    # a vector that is compared with others; int64 (n,) or none
    "embedding": TaskRule(stored=forms.class_ids, needs_targets=False, strata="ids", names=forms.as_given),
}

if TYPE_CHECKING:
    Task = str
else:
    Task = Literal[tuple(TASK_RULES)]  # for checks at run time
"""A key of ``TASK_RULES``: what one output of a model is for."""
