"""Choose the preprocessing of a model's inputs: as declared, else the one that fits the model best.

Builds and the validation of files use the same choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.artifacts import Transform
from pipeline.choices import InputFinding
from pipeline.preparation.input_styles import declared_style, is_table, settings_of, usual_styles
from pipeline.samples import Samples
from pipeline.tasks.label_order import label_order, put_in_order
from pipeline.tasks.scoring import against_chance, score_of
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from models.ports import Port
    from models.task_rules import Task
    from pipeline.artifacts import Dataset, Preprocessing
    from pipeline.config import InputPreprocessing, PreprocessingConfig
    from pipeline.preparation.input_styles import Style

    Arrays = list[NDArray[Any]]
    Predict = Callable[[Arrays], Arrays]
    Places = tuple[int, ...]

PROBE_SAMPLES = 512
# Another style must be better by this much before the user is warned about the chosen one.
CLEARLY_BETTER = 0.2
# A style other than a range must be better by this much and by 2 standard errors of independent samples.
STYLE_MARGIN = 0.02
MAX_PRODUCTS = 27
SHOWN = 3
FLOATS = "floats are not rescaled"


@dataclass(frozen=True)
class Choice:
    """The transforms of the inputs, with reasons.

    Attributes:
        transforms: one for each input.
        findings: one for each input that does not take indices.
        warnings: one line each.
        better: the warnings about settings that fit the model far better than the chosen ones.
    """

    transforms: Preprocessing
    findings: tuple[InputFinding, ...]
    warnings: tuple[str, ...] = ()
    better: tuple[str, ...] = ()


@dataclass(frozen=True)
class Probe:
    """A model and labelled samples.

    Attributes:
        predict: the model as a function from preprocessed inputs (n, ...) to real outputs (n, ...).
        raw: samples (n, ...) for each input, few enough for one batch.
        targets: targets of each output, in the form of ``models.task_rules``, or None.
        tasks: the task of each output.
    """

    predict: Predict
    raw: Sequence[NDArray[Any]]
    targets: Sequence[NDArray[Any] | None]
    tasks: tuple[Task, ...]

    @classmethod
    def of(cls, data: Dataset, predict: Predict, most: int) -> Probe:
        """Take at most ``most`` samples of a data set."""
        samples = Samples.to_probe(data, most)
        inputs, outputs = range(len(data.shapes)), range(len(data.tasks))
        return cls(predict, [*map(samples.raw, inputs)], [*map(samples.target, outputs)], data.tasks)

    def score(self, transforms: Preprocessing) -> Score | None:
        """Score the model with these transforms: the mean over the outputs that can be scored."""
        inputs = [transform.apply(raw) for transform, raw in zip(transforms, self.raw, strict=True)]
        scores, ranks, better, reordered = [], [], False, 0.0
        for task, found, target in zip(self.tasks, self.predict(inputs), self.targets, strict=True):
            score = score_of(task, found, inputs[0], target) if np.isfinite(found).all() else None
            if score is None:
                continue
            scores.append(score)
            order = None if target is None else label_order(task, found, target)
            if order is not None and target is not None:
                reordered = score_of(task, found, inputs[0], put_in_order(task, target, order)) or 0.0
                better, score = True, max(score, reordered - CLEARLY_BETTER)
            ranks.append(score)
            standard = against_chance(task, found, inputs[0], target)
            better |= standard is not None and standard.standing == "better"
        return Score(better, float(np.mean(ranks)), float(np.mean(scores)), reordered) if scores else None

    @property
    def metric(self) -> str:
        """The name of the score."""
        names = {TASKS[task].metric for task in self.tasks}
        return names.pop() if len(names) == 1 else "mean score"


@dataclass(frozen=True, order=True)
class Score:
    """Score of a model with some preprocessing.

    Attributes:
        better: whether any output is better than the best constant answer.
        rank: the value to compare by: the score, or, if the labels fit in another order, the score with that
            order minus ``CLEARLY_BETTER``. With permuted labels the right preprocessing may score worst.
        value: the score; 1 is best.
        reordered: the score with the labels in another order; 0 if their order fits.
    """

    better: bool
    rank: float
    value: float
    reordered: float = 0.0


def choose_preprocessing(probe: Probe, inputs: tuple[Port, ...], config: PreprocessingConfig) -> Choice:
    """Choose the preprocessing of each input of a model.

    Declared settings win. Without a declared scale, raw floats are not rescaled, and for raw integers the
    usual ranges are tried with the declared mean, deviation and channel order. For images of three channels
    without these, torchvision's and caffe's styles and reversed channels are tried as well, and chosen if
    they are clearly better.

    Raises:
        ConfigError: a declared setting does not fit the inputs.
    """
    settings = settings_of(inputs, config)
    options = [_options(*each) for each in zip(inputs, settings, probe.raw, strict=True)]
    trials = _Trials(probe, options)
    best = trials.search()
    findings, warnings, transforms, better = [], [], [], []
    for index, port in enumerate(inputs):
        style, raw = options[index][best[index]], probe.raw[index]
        if style is None:
            transforms.append(Transform(indices=True, reason="the model takes integers"))
            continue
        name = style.name
        if len(options[index]) == 1 and settings[index].scale == "auto" and raw.dtype.kind == "f":
            name = "declared" if style.name == "declared" else style.name.replace("as it is", FLOATS)
        evidence = trials.evidence(best, index)
        transforms.append(replace(style.transform, reason=f"{name}: {evidence}" if evidence else name))
        tried, suits = "", None
        if len(options[index]) > 1 and not evidence:
            warnings.append(
                f"input {port.name!r}: cannot detect the input range of the training; using: {name}; "
                "declare it with [preprocessing] scale"
            )
        elif len(options[index]) > 1:
            warnings += trials.doubts(best, index, port, several=len(inputs) > 1)
        else:
            suits, warning, tried = trials.alternatives(
                best, index, port, settings[index], several=len(inputs) > 1
            )
            better += [warning] if warning else []
        chosen = f"{name} ({evidence})" if evidence else name
        keys = {} if FLOATS in name else style.keys
        found = InputFinding(
            input=port.name, chosen=chosen, tried=tried, settings=keys, better=suits.keys if suits else {}
        )
        findings.append(found)
    return Choice(tuple(transforms), tuple(findings), (*warnings, *better), tuple(better))


def _options(port: Port, settings: InputPreprocessing, raw: NDArray[Any]) -> list[Style | None]:
    """Return the styles to try for an input; only one if declared, for floats, or for a model of integers."""
    declared = declared_style(port, settings)
    if declared is None or port.integers or settings.scale != "auto" or raw.dtype.kind == "f":
        return [declared]
    if raw.ndim <= 2 and raw[0].size == 1:
        return [declared]  # numbers, not an image
    return [*usual_styles(port, settings, raw)]


class _Trials:
    """The styles tried so far; each combination is inferred once.

    Args:
        probe: the model and the samples.
        options: the styles to choose from for each input; [None] for one that takes indices.
    """

    def __init__(self, probe: Probe, options: list[list[Style | None]]) -> None:
        self.probe, self.options = probe, options
        self._scores: dict[tuple[Style | None, ...], Score | None] = {}

    def score(self, styles: Sequence[Style | None]) -> Score | None:
        key = tuple(styles)
        if key not in self._scores:
            indices = Transform(indices=True)
            self._scores[key] = self.probe.score(
                tuple(indices if style is None else style.transform for style in styles)
            )
        return self._scores[key]

    def search(self) -> Places:
        """Find the best option of each input: a usual range, or another one that is clearly better."""
        best = (0,) * len(self.options)
        if all(len(options) == 1 for options in self.options) or self._at(best) is None:
            return best
        for places in self._starts():
            if self._better(places, best):
                best = places
        reached = self._at(best)
        if reached is not None and reached.better and reached.rank > 1 - STYLE_MARGIN:
            return best  # no other style can be clearly better
        for moves in (*self._together(), *self._singly(), *self._singly()):
            moved = tuple(old if new is None else new for new, old in zip(moves, best, strict=True))
            if self._better(moved, best):
                best = moved
        return best

    def _starts(self) -> list[Places]:
        """Return all combinations of usual ranges, or, if these are many, the same range for all inputs."""
        usual = [[at for at, style in enumerate(options) if _is_usual(style)] for options in self.options]
        if np.prod([len(places) for places in usual]) <= MAX_PRODUCTS:
            return list(product(*usual))
        most = max(map(len, usual))
        return [tuple(places[min(at, len(places) - 1)] for places in usual) for at in range(most)]

    def _together(self) -> list[tuple[int | None, ...]]:
        """Return each style, applied to all inputs that have it."""
        names = dict.fromkeys(
            style.name for options in self.options for style in options if style is not None
        )
        return [
            tuple(
                next(
                    (at for at, style in enumerate(options) if style is not None and style.name == name), None
                )
                for options in self.options
            )
            for name in names
        ]

    def _singly(self) -> list[tuple[int | None, ...]]:
        return [
            tuple(at if index == other else None for other in range(len(self.options)))
            for index, options in enumerate(self.options)
            for at in range(len(options))
        ]

    def _at(self, places: Places) -> Score | None:
        return self.score([options[at] for options, at in zip(self.options, places, strict=True)])

    def _better(self, places: Places, than: Places) -> bool:
        ours, theirs = self._at(places), self._at(than)
        if ours is None or theirs is None or ours <= theirs:
            return False
        as_usual = all(
            at == old or _is_likely(options[at], options[old])
            for options, at, old in zip(self.options, places, than, strict=True)
        )
        return as_usual or _clearly(ours, theirs, len(self.probe.raw[0]))

    def evidence(self, best: Places, index: int) -> str:
        """Return the score of the choice and of an input's other options, best first; "" if none."""
        chosen = self._at(best)
        if chosen is None:
            return ""
        others = []
        for at, style in enumerate(self.options[index]):
            score = self._at((*best[:index], at, *best[index + 1 :]))
            if at != best[index] and score is not None and style is not None:
                others.append((score.value, style.name))
        return self._described(chosen, others)

    def doubts(self, best: Places, index: int, port: Port, *, several: bool) -> list[str]:
        """Return a warning if another style is better, but not clearly."""
        chosen = self._at(best)
        tried = [
            (score, style)
            for at, style in enumerate(self.options[index])
            if (score := self._at((*best[:index], at, *best[index + 1 :]))) and style is not None
        ]
        if chosen is None or not chosen.better or not tried:
            return []
        score, style = max(tried, key=lambda each: each[0])
        if score.rank <= chosen.rank + STYLE_MARGIN / 2:
            return []
        warning = (
            f"input {port.name!r}: {style.name} is a little better ({score.value:.1%} against "
            f"{chosen.value:.1%}), but not clearly; if the model was trained so, set "
            f"{style.settings(port.name if several else '')}"
        )
        return [warning]

    def _described(self, chosen: Score, others: list[tuple[float, str]]) -> str:
        shown = sorted(others, key=lambda other: -other[0])[:SHOWN]
        text = f"{self.probe.metric} {chosen.value:.1%} on {len(self.probe.raw[0])} samples"
        if chosen.reordered:
            text += f" and {chosen.reordered:.1%} with the labels in another order"
        return text + (f", {', '.join(f'{name} {value:.1%}' for value, name in shown)}" if shown else "")

    def alternatives(
        self, best: Places, index: int, port: Port, settings: InputPreprocessing, *, several: bool
    ) -> tuple[Style | None, str, str]:
        """Check an input without a choice: return a style that fits the model far better with a warning, and
        what was tried if the model is no better than chance.
        """
        taken, chosen, raw = self.options[index][0], self._at(best), self.probe.raw[index]
        is_image = raw.ndim > 3 or raw.dtype.kind != "f"
        if chosen is None or taken is None or (chosen.better and not is_image) or is_table(raw):
            return None, "", ""
        if chosen.better and chosen.rank > 1 - CLEARLY_BETTER:
            return None, "", ""
        styles = [options[at] for options, at in zip(self.options, best, strict=True)]
        tried = []
        for style in usual_styles(port, settings, raw):
            score = self.score([*styles[:index], style, *styles[index + 1 :]])
            if score is not None and style.transform != replace(taken.transform, reason=style.name):
                tried.append((score, style))
        if not tried:
            return None, "", ""
        score, style = max(tried, key=lambda each: each[0])
        likeliest = sorted(tried, key=lambda each: each[0], reverse=True)[:SHOWN]
        shown = ", ".join(f"{other.name} {value.value:.1%}" for value, other in likeliest)
        listing = "" if chosen.better else f"no better than chance, and tried were: {shown}"
        if score.rank <= chosen.rank + CLEARLY_BETTER or not score.better:
            return None, "", listing
        seen, other = taken.transform.apply(raw), style.transform.apply(raw)
        warning = (
            f"inputs run from {seen.min():.4g} to {seen.max():.4g}, where the model has {self.probe.metric} "
            f"{chosen.value:.1%}; with {other.min():.4g} to {other.max():.4g} ({style.name}) it has "
            f"{score.value:.1%}: set {style.settings(port.name if several else '')}"
        )
        return style, warning, listing


def _is_usual(style: Style | None) -> bool:
    return style is None or style.usual


def _is_likely(style: Style | None, other: Style | None) -> bool:
    """Return whether a style may replace the other without clear evidence.

    Two usual ranges that differ only by a factor need evidence: a ReLU network scores nearly the same with
    both, perhaps slightly better with the wrong one, with which it cannot be trained.
    """
    if not _is_usual(style):
        return not _is_usual(other)
    return not (
        _is_usual(other) and style and other and replace(style, scale=other.scale, name=other.name) == other
    )


def _clearly(ours: Score, theirs: Score, samples: int) -> bool:
    """Return whether a score is clearly better, beyond chance."""
    if ours.better and not theirs.better:
        return True
    spread = sum(value * (1 - value) for value in (min(max(s.rank, 0.0), 1.0) for s in (ours, theirs)))
    return ours.rank - theirs.rank > max(STYLE_MARGIN, 2 * float(np.sqrt(spread / samples)))
