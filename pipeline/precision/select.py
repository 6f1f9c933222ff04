"""Selective precision: keep the few layers that lose most in a wider format than int8."""

from __future__ import annotations

import fnmatch
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import QuantizedModel  # noqa: TC001 - Run.step reads the return type
from pipeline.choices import Precision, TriedLayer, TriedWidth
from pipeline.errors import ConfigError, InputError
from pipeline.flatbuffer import read_tflite
from pipeline.flatbuffer.layers import merged_layers, user_layers
from pipeline.flatbuffer.simulation import exact_constants, require_simulated
from pipeline.formats import has_integers
from pipeline.layer_records import known_layers
from pipeline.precision.search import Search, Units
from pipeline.precision.trials import Costs, Model, Trial, Trials, wrong_on
from pipeline.quantize.convert import float_counterpart
from pipeline.runtimes.runtime import host_runtime, runtime_of
from pipeline.samples import Samples
from pipeline.sections import advice
from pipeline.validation.layer_errors import grouped
from pipeline.validation.model_under_test import OutputSpec, output_names
from pipeline.validation.sensitivity import affordable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.artifacts import Baseline, Dataset, PreparedModel
    from pipeline.config import GatesConfig
    from pipeline.flatbuffer.widening import Width
    from pipeline.layer_records import LayerRecord, Quantization
    from pipeline.precision.config import PrecisionConfig
    from pipeline.runtimes.runtime import Runtime
    from pipeline.targets import Device

WIDTHS: tuple[Width, ...] = ("float16", "float32", "int16")
KEY = "[precision] layers"
MAX_SAMPLES = 2000
MAX_ROWS = 12
MIN_COST = 1e-3
"""Of an inference in int8: what a layer counts at least, also where float is as fast as int8."""


def require_known(patterns: Iterable[str], layers: Iterable[LayerRecord]) -> None:
    """Refuse patterns that match no layer, before any work; names the nearest one.

    Raises:
        ConfigError: a pattern matches none.
    """
    names = list(dict.fromkeys(known_layers(layers).values()))
    for pattern in patterns:
        if names and not fnmatch.filter(names, pattern):
            msg = f"precision.layers: the model has no layer {pattern!r}; {advice(pattern, names, 'layers')}"
            raise ConfigError(msg)


def select_precision(
    quantized: QuantizedModel,
    prepared: PreparedModel,
    baseline: Baseline,
    data: Dataset,
    *,
    config: PrecisionConfig,
    gates: GatesConfig,
    devices: tuple[Device, ...],
    seed: int,
    out: Path,
) -> QuantizedModel:
    """Return the model with chosen layers in a wider format; the model itself where none is needed.

    Layers that the settings name are widened. "auto" finds the cheapest set with which the model passes the
    accuracy gates on held-out samples, or on all training samples where there are too few to hold
    some out. The set and its format are then checked on the runtimes of the target.

    Args:
        quantized: an int8 model, with the float file of the same weights.
        prepared: gives preprocessing and tasks.
        baseline: the float model that the gates compare with.
        config: which layers, and their format.
        gates: the margins.
        devices: of the target; on the first that is emulated, instructions are counted.
        seed: of the choice of samples.

    Raises:
        ConfigError: no layer has a name that the settings give.
        InputError: the file cannot be edited, or a search has no targets to judge outputs by.
        StageError: a runtime crashed or hung.
    """
    if not has_integers(quantized.format) or not quantized.original.exists():
        return _unchanged(quantized, f"{KEY} has no effect: the file is {quantized.format}", out)
    model, runtimes = int8_model(quantized), [runtime_of(device) for device in devices]
    trials = _trials(model, quantized, prepared, baseline, data, gates, seed)
    with Costs(model, runtimes, trials.values) as costs:
        selection = _Selection(model, trials, costs, runtimes, config)
        if config.searches:
            units, reason = selection.search()
        else:
            units, reason = _named(model, config.layers, known_layers(quantized.layers)), ""
        found = selection.described(units, reason)
    if not found.layers:
        return replace(_unchanged(quantized, found.reason, out), precision=found)
    written = _written(quantized, model, units, found, out)
    return replace(written, counterpart=float_counterpart(written, trials.samples))


def int8_model(quantized: QuantizedModel) -> Model:
    """Return a converted model with its layers; errors as ``require_simulated`` and ``exact_constants``."""
    flat = read_tflite(quantized.tflite)
    require_simulated(flat, "the int8 file")
    groups = grouped(flat, user_layers(flat, known_layers(quantized.layers)))
    return Model(flat, exact_constants(flat, read_tflite(quantized.original)), groups)


def _trials(
    model: Model,
    quantized: QuantizedModel,
    prepared: PreparedModel,
    baseline: Baseline,
    data: Dataset,
    gates: GatesConfig,
    seed: int,
) -> Trials:
    held_out = Samples.of(data, "held_out", prepared.preprocessing)
    samples = held_out if len(held_out) else Samples.of(data, "train", prepared.preprocessing)
    chosen = samples.choose(affordable(model.flat, len(model.units), MAX_SAMPLES), seed)
    outputs = OutputSpec(data.tasks, output_names(prepared.outputs), prepared.from_logits, data.classes)
    given = baseline.tflite.read_bytes(), quantized.original.read_bytes()
    return Trials(model, chosen, outputs, *given, gates, seed)


def _named(model: Model, patterns: Sequence[str], known: Mapping[str, str]) -> Units:
    """Return the layers that the settings name, also where the converter merged them into others.

    Raises:
        ConfigError: nothing of a layer is left in the file.
    """
    names = {place: _names(model, place, known) for place in model.units}
    found = set()
    for pattern in patterns:
        matching = {place for place, own in names.items() if fnmatch.filter(own, pattern)}
        if not matching:
            every = {name for own in names.values() for name in own}
            hint = advice(pattern, every, "layers")
            msg = f"precision.layers: no operator of the file is of a layer {pattern!r}; {hint}"
            raise ConfigError(msg)
        found |= matching
    return Units(found)


def _names(model: Model, place: int, known: Mapping[str, str]) -> tuple[str, ...]:
    group, flat = model.groups[place], model.flat
    merged = (merged_layers(flat, flat.operators[index], known) for index in group.operators)
    return (group.layer, *(name for names in merged for name in names))


class _Selection:
    """The choice of layers and of their format."""

    def __init__(
        self,
        model: Model,
        trials: Trials,
        costs: Costs,
        runtimes: Sequence[Runtime],
        config: PrecisionConfig,
    ) -> None:
        self.model, self.trials, self.costs = model, trials, costs
        self.runtimes, self.config = runtimes or [host_runtime("litert")], config
        self.width = self._first_width()
        self.made: Search[Trial] = Search(self._measure, self._cost)
        self._needs_proof = False

    def search(self) -> tuple[Units, str]:
        """Return the cheapest layers with which the model passes, none if it is hopeless, and why.

        Raises:
            InputError: there are no targets to judge outputs by.
        """
        if not self.trials.has_metric:
            msg = f'{KEY} = "auto" needs training samples with targets; name the layers instead'
            raise InputError(msg)
        units = tuple(unit for unit in self.model.units if not self._problem(Units([unit]), self.width))
        everything = Units(units)
        ends = [Units(), everything]
        int8, most = self.trials.measure([(each, self.width) for each in ends])
        self._needs_proof = most.is_shown
        self.made.tried |= dict(zip(ends, map(self._judged, (int8, most)), strict=True))
        found = self.made.cheapest(units, self.model.neighbours())
        before = _points(int8)
        on = f"on {len(self.trials.samples):,} training samples"
        if found is None:
            after = _points(most)
            return Units(), f"no layers help: {before} in int8 and {after} with all in {self.width}, {on}"
        if not found:
            return found, f"no layer needs a wider format than int8: {before} {on}"
        return found, f"{before} in int8 {on}"

    def described(self, units: Units, reason: str) -> Precision:
        """Return the choice with its format, and all that was measured for it.

        Raises:
            InputError: the layers that the settings name are right in none of the formats.
        """
        [int8] = self._outcomes([Units()])
        widths = self._widths(units) if units else ()
        taken = next((each for each in widths if each.chosen), None)
        if units and taken is None:
            problems = "; ".join(f"{each.width}: {each.problem}" for each in widths)
            if not self.config.searches:
                msg = f"precision.layers: {problems}"
                raise InputError(msg)
            units, reason = Units(), f"{reason}; no format works: {problems}"
        if taken is not None:
            reason = "; ".join(filter(None, (reason, self._gained(units, taken))))
        return Precision(
            layers=tuple(self.model.groups[unit].layer for unit in sorted(units)),
            width=taken.width if taken else "",
            searched=self.config.searches,
            reason=reason,
            samples=len(self.trials.samples),
            metric=self.trials.metric,
            int8_sqnr_db=int8.sqnr_db,
            int8_change=int8.change,
            cost_unit=self.costs.unit,
            device=self.costs.device,
            int8_cost=self.costs.known(Units(), self.width) or 0.0,
            int8_size_bytes=len(self.model.flat.content),
            tried=tuple(self._tried(units)),
            widths=widths,
            sets=len(self.made.tried),
        )

    def _first_width(self) -> Width:
        """Return the format to search with."""
        if self.config.width != "auto":
            return self.config.width
        return "float32" if self._problem(Units(self.model.units), "float16") else "float16"

    def _problem(self, units: Units, width: Width) -> str:
        try:
            self.model.file(units, width)
        except InputError as error:
            return str(error)
        return ""

    def _measure(self, sets: Sequence[Units]) -> list[Trial]:
        return [self._judged(trial) for trial in self.trials.measure([(units, self.width) for units in sets])]

    def _judged(self, trial: Trial) -> Trial:
        """Let a trial pass if its loss is shown to be small, or seems so where no set of layers shows it."""
        return replace(trial, passes=trial.is_shown if self._needs_proof else trial.is_within)

    def _outcomes(self, sets: Sequence[Units]) -> list[Trial]:
        known = self.made.tried
        return [known[each] if each in known else self._measure([each])[0] for each in sets]

    def _cost(self, units: Units) -> float:
        """Return what layers add to an inference; never nothing, so that none is taken without need."""
        int8 = self.costs.of(Units(), self.width)
        return max(self.costs.of(units, self.width) - int8, 0.0) + MIN_COST * int8

    def _widths(self, units: Units) -> tuple[TriedWidth, ...]:
        asked = WIDTHS if self.config.width == "auto" else (self.config.width,)
        problems = {width: self._problem(units, width) for width in asked}
        files = [width for width in asked if not problems[width]]
        problems |= wrong_on(self.model, units, files, self.trials.values, self.runtimes)
        rows = [TriedWidth(width=width, problem=problems[width]) for width in asked if width not in files]
        for width, trial in zip(files, self.trials.measure([(units, each) for each in files]), strict=True):
            problem = problems[width]
            if self.config.searches and not problem and not self._judged(trial).passes:
                problem = f"not enough: {_points(trial)}"
            rows.append(
                TriedWidth(
                    width=width, problem=problem, change=trial.change, cost=self.costs.of(units, width),
                    size_bytes=len(self.model.file(units, width)), chosen=False,
                )
            )  # fmt: skip
        right = [each for each in rows if not each.problem]
        if not right:
            return tuple(rows)
        int8 = self.costs.of(Units(), self.width)
        best = min(right, key=lambda each: (round((each.cost or 0.0) / int8, 4), each.size_bytes))
        return tuple(replace(each, chosen=each is best) for each in rows)

    def _gained(self, units: Units, taken: TriedWidth) -> str:
        int8 = self.costs.of(Units(), self.width)
        names = ", ".join(repr(self.model.groups[unit].layer) for unit in sorted(units))
        change = "" if taken.change is None else f" {taken.change:+.2f} points,"
        where = f" on {self.costs.device}" if self.costs.device else ""
        more = ((taken.cost or 0.0) - int8) / int8
        return f"with {names} in {taken.width}{change} {more:+.2%} {self.costs.unit}{where}"

    def _tried(self, units: Units) -> Iterator[TriedLayer]:
        """Yield the layers of which the cost is known, those first that gain most."""
        single = {unit: self.made.tried.get(Units([unit])) for unit in self.model.units}
        rows = [(unit, trial) for unit, trial in single.items() if trial is not None]
        int8 = self.costs.known(Units(), self.width)
        for unit, trial in sorted(rows, key=lambda row: row[1].error)[:MAX_ROWS]:
            cost = self.costs.known(Units([unit]), self.width)
            yield TriedLayer(
                layer=self.model.groups[unit].layer,
                sqnr_db=trial.sqnr_db,
                change=trial.change,
                cost=None if cost is None or int8 is None else cost - int8,
                chosen=unit in units,
            )


def _points(trial: Trial) -> str:
    return "no metric" if trial.change is None else f"{trial.change:+.2f} points"


def _unchanged(quantized: QuantizedModel, finding: str, out: Path) -> QuantizedModel:
    for file in filter(Path.exists, (quantized.tflite, quantized.original, quantized.expected)):
        shutil.copyfile(file, out / file.name)
    return replace(quantized, folder=out, digest="", notes=(), findings=(f"precision: {finding}",))


def _written(
    quantized: QuantizedModel, model: Model, units: Units, found: Precision, out: Path
) -> QuantizedModel:
    width: Width = found.width  # type: ignore[assignment]
    content = model.file(units, width)
    (out / quantized.tflite.name).write_bytes(content)
    shutil.copyfile(quantized.original, out / quantized.original.name)
    flat = read_tflite(content)
    asked = "found by [precision] layers" if found.searched else KEY
    why = f"{width} ({asked})"
    wide = {name for unit in units for name in _names(model, unit, known_layers(quantized.layers))}
    kind: Quantization = "int16 activations" if width == "int16" else "float"
    layers = tuple(
        layer.quantized(kind, "; ".join(filter(None, (why, layer.reason))))
        if (layer.made_of or layer.name) in wide
        else layer
        for layer in quantized.layers
    )
    named = ", ".join(map(repr, found.layers))
    reason = "; ".join(filter(None, (f"{named} in {width}, {asked}", quantized.reason)))
    return replace(
        quantized, folder=out, digest="", notes=(), size_bytes=flat.size_bytes, sha256=flat.sha256,
        format="int8 with wider layers", reason=reason, layers=layers, precision=found,
        findings=(f"precision: {found.reason}",),
    )  # fmt: skip
