"""Find the share of zeros that a model bears."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.training.evidence import Evidence
from pipeline.training.held_out import lost_points
from pipeline.training.keras_io import predict

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.compress.pruning import Pruned, Pruning

    Judge = Callable[[Any], tuple[str, bool]]
    """Says of a pruned model how much it lost, and whether that is borne."""

MIN_STEP = 0.02
"""Between sparsities: a smaller difference is not worth a training."""
HALVINGS = 4
"""Of what is tried without a training."""


def highest_borne(pruning: Pruning) -> tuple[Pruned | None, list[str]]:
    """Prune with the highest sparsity that the model bears.

    Returns:
        The pruned model, None if it bears no zeros; and what it did not bear, or what they cost.
    """
    config = pruning.config
    if not config.is_searched:
        return _bisected(pruning, _by_evidence(pruning) if config.is_found else _by_points(pruning))
    best, refused, notes = _at_no_cost(pruning, _by_evidence(pruning))
    needed, reached = config.min_sparsity, 0.0 if best is None else best.sparsity
    if reached >= needed:
        return best, notes
    tried = refused if refused is not None and refused.sparsity == needed else pruning.in_training(needed)
    found, is_borne = _by_points(pruning)(tried.student)
    note = f"at the {needed:.0%} zeros that are needed {found}"
    return (tried, [note]) if is_borne else (best, [f"{note}, more than max_drop_points"])


def _bisected(pruning: Pruning, judge: Judge) -> tuple[Pruned | None, list[str]]:
    """Try what was asked for, and then a bisection below it; N:M has one sparsity only."""
    config = pruning.config
    best: Pruned | None = None
    notes: list[str] = []
    low, high, sparsity = 0.0, config.most, config.most
    for _ in range(1 if config.zeros_of[1] else config.tries):
        if notes and high - low < MIN_STEP:
            break
        tried = pruning.in_training(sparsity)
        found, is_borne = judge(tried.student)
        if is_borne:
            best, low = tried, sparsity
        else:
            high = sparsity
            notes.append(f"at {sparsity:.0%} zeros {found}")
        if low == config.most:
            break
        sparsity = (low + high) / 2
    return best, notes


def _at_no_cost(pruning: Pruning, judge: Judge) -> tuple[Pruned | None, Pruned | None, list[str]]:
    """Begin with what the model bears without training.

    Half of the way from there to the highest sparsity is trained, or what is needed if that is more, and the
    whole way if that was borne: one training where a model bears little.

    Returns:
        The highest sparsity that is borne, what was trained and is not borne, and why.
    """
    needed = pruning.config.min_sparsity
    low, high = 0.0, pruning.config.most
    best: Pruned | None = None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        tried = pruning.at_once(middle)
        if judge(tried.student)[1]:
            best, low = tried, middle
        else:
            high = middle
    most = max(pruning.config.most, needed)
    for sparsity in dict.fromkeys((max((low + most) / 2, needed), most)):
        tried = pruning.in_training(sparsity)
        found, is_borne = judge(tried.student)
        if not is_borne:
            return best, tried, [f"at {sparsity:.0%} zeros {found}"]
        best = tried
    return best, None, []


def _by_points(pruning: Pruning) -> Judge:
    def judge(student: Any) -> tuple[str, bool]:
        lost = lost_points(pruning.given, student, pruning.teacher, pruning.data)
        return f"the model lost {lost:.1f} points on held-out samples", lost <= pruning.config.max_drop_points

    return judge


def _by_evidence(pruning: Pruning) -> Judge:
    evidence = Evidence.of(pruning.data, pruning.teacher)
    before = evidence.answers(lambda inputs: predict(pruning.given, inputs)[0])

    def judge(student: Any) -> tuple[str, bool]:
        gains = evidence.gains(before, evidence.answers(lambda inputs: predict(student, inputs)[0]))
        return f"the model has {gains}", gains.costs_nothing

    return judge
