"""Find the share of zeros that a model bears."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.training.evidence import Evidence
from pipeline.training.held_out import cost_of_training, lost_points
from pipeline.training.keras_io import predict

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.compress.pruning import Pruned, Pruning

    Judge = Callable[[Pruned], tuple[str, bool]]
    """Says of a pruned model how much it lost, and whether that is borne."""

MIN_STEP = 0.02
"""Between sparsities: a smaller difference is not worth a training."""
HALVINGS = 3
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
    found, is_borne = _by_points(pruning)(tried)
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
        found, is_borne = judge(tried)
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
    """Try the highest sparsity, then half of it, and then what the model bears without a training.

    Nothing that is less than needed is trained.

    Returns:
        The highest sparsity that is borne, the last one that was trained and is not borne, and why not.
    """
    needed, most = pruning.config.min_sparsity, pruning.config.most
    refused, notes = None, list[str]()
    for sparsity in dict.fromkeys(max(share, needed) for share in (most, most / 2)):
        tried = pruning.in_training(sparsity)
        found, is_borne = judge(tried)
        if is_borne:
            return tried, refused, notes
        refused = tried
        notes.append(f"at {sparsity:.0%} zeros {found}")
    best: Pruned | None = None
    low, high = 0.0, most / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        tried = pruning.at_once(middle)
        if judge(tried)[1]:
            best, low = tried, middle
        else:
            high = middle
    return best, refused, notes


def _by_points(pruning: Pruning) -> Judge:
    def judge(tried: Pruned) -> tuple[str, bool]:
        lost = lost_points(pruning.given, tried.student, pruning.teacher, pruning.data)
        return f"the model lost {lost:.1f} points on held-out samples", lost <= pruning.config.max_drop_points

    return judge


def _by_evidence(pruning: Pruning) -> Judge:
    evidence = Evidence.of(pruning.data, pruning.teacher)
    before = evidence.answers(lambda inputs: predict(pruning.given, inputs)[0])

    def judge(tried: Pruned) -> tuple[str, bool]:
        gains = evidence.gains(before, evidence.answers(lambda inputs: predict(tried.student, inputs)[0]))
        beyond = 0.0 if tried.history is None else cost_of_training(pruning.teacher, evidence.held_out)
        return f"the model has {gains}", gains.costs_nothing(beyond)

    return judge
