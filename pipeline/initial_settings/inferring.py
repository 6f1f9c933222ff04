"""Infer the settings of a model and its data from the stages that a build begins with."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.artifacts import Source
from pipeline.errors import InputError, leaf_errors_mapped
from pipeline.events import Finding, Warned, withheld
from pipeline.loading.load import load_data, load_model, model_digest, source_of
from pipeline.preparation.float_check import Answered, check_float
from pipeline.preparation.prepare import prepare_model
from pipeline.quantize.convert import convert_float
from pipeline.sections import Unkeyed
from pipeline.settings import configure
from pipeline.tasks.spec import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.ports import Port
    from pipeline.artifacts import Dataset, FloatModel, PreparedModel
    from pipeline.build_config import BuildConfig
    from pipeline.run import Run

    Raw = dict[str, Any]

MAX_LABELS = 40
"""More class names would fill the file; they stay in the data."""


@dataclass(frozen=True)
class Opened:
    """A model and its data, as the first stages of a build see them."""

    loaded: FloatModel
    data: Dataset
    prepared: PreparedModel


@dataclass(frozen=True)
class Inferred:
    """The settings of a model and its data, and what they are inferred from.

    Attributes:
        settings: nested, with paths as they were given.
        reasons: by dotted key, one line each.
        warnings: what the user may not expect.
        problem: why a build with these settings stops before training; "" if it does not.
    """

    settings: Raw
    reasons: dict[str, tuple[str, ...]]
    warnings: tuple[str, ...]
    problem: str = ""


def infer_settings(given: Raw, run: Run) -> Inferred:
    """Infer what is not given from the model and its data, and check it as a build does before training.

    The stages run again with the inferred settings. These remain only if they read the same data and
    preprocess them alike, so a build takes the stages from the store.

    Args:
        given: nested settings, with model and data.
        run: where the stages are taken.

    Raises:
        PipelineError: the model or the data cannot be read.
    """
    with withheld(Finding, Warned):  # the caller shows what is in the result
        first = _open(_config(given), run)
        settings = _fixed(given, first)
        second = _open(_config(settings), run)
        if second.data.digest != first.data.digest:
            settings = _without_labels(settings, given)
            second = _open(_config(settings), run)
        problem, labels, found = _checked(second, _config(settings), run)
        if labels and not given["data"].get("labels"):
            again = infer_settings(_with(given, "data", labels=list(labels)), run)
            return replace(again, reasons=again.reasons | {"data.labels": (problem.partition(";")[0],)})
    return Inferred(
        settings=settings,
        reasons=_reasons(first, given) | {"": found},
        warnings=_warnings(first, second, problem),
        problem=problem,
    )


def _config(raw: Raw) -> BuildConfig:
    return configure(copy.deepcopy(raw), "the inferred settings", ())


def _open(config: BuildConfig, run: Run) -> Opened:
    with leaf_errors_mapped():
        model = Source(location=str(config.model.path), digest=model_digest(config.model))
        source = source_of(config.data)
    loaded = run.step(load_model, model, config=config.model)
    ports = {"inputs": loaded.inputs, "outputs": loaded.outputs}
    data = run.step(load_data, source, **ports, config=config.data, seed=config.seed)
    prepared = run.step(prepare_model, loaded, data, config=config.preprocessing)
    return Opened(loaded, data, prepared)


def _checked(opened: Opened, config: BuildConfig, run: Run) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Check the float model as a build does.

    Returns:
        Why the build would stop, or ""; the class names in the order that fits the model, if that is why;
        and the findings.
    """
    prepared, data = opened.prepared, opened.data
    baseline = run.step(convert_float, prepared, timeout_s=Unkeyed(config.convert.timeout_s))
    try:
        found = run.step(check_float, baseline, prepared, data, allow_chance=config.gates.allow_chance)
    except InputError as error:
        names = tuple(port.name if len(prepared.outputs) > 1 else "" for port in prepared.outputs)
        preprocessing, logits = prepared.preprocessing, prepared.from_logits
        answered = Answered.of(baseline.tflite, data, preprocessing, names, logits)
        return str(error), answered.labels_in_order(), ()
    return "", (), (*found.findings, *found.notes)


def _fixed(given: Raw, opened: Opened) -> Raw:
    """Return the given settings with the task, the class names and the preprocessing that were found."""
    data, found = opened.data, copy.deepcopy(given)
    if not given["data"].get("task"):
        found = _with(found, "data", task=data.tasks[0] if len(data.tasks) == 1 else list(data.tasks))
    if not given["data"].get("labels") and _are_names(data):
        found = _with(found, "data", labels=list(data.classes))
    if "preprocessing" in given:
        return found
    inputs = opened.prepared.input_findings
    chosen = {each.input: each.better or each.settings for each in inputs}
    keys = {name: settings for name, settings in chosen.items() if settings}
    if keys:
        found["preprocessing"] = next(iter(keys.values())) if len(opened.loaded.inputs) == 1 else keys
    return found


def _are_names(data: Dataset) -> bool:
    """Return whether classes have names that are worth writing: not numbers, and not of anomalies."""
    of_classes = [TASKS[task] for task in data.tasks if TASKS[task].of_classes]
    are_numbers = all(name == str(number) for number, name in enumerate(data.classes))
    return bool(of_classes) and not are_numbers and len(data.classes) <= MAX_LABELS


def _without_labels(settings: Raw, given: Raw) -> Raw:
    kept = {key: value for key, value in settings["data"].items() if key in given["data"]}
    return settings | {"data": kept}


def _with(raw: Raw, section: str, **values: Any) -> Raw:
    return raw | {section: {**raw.get(section, {}), **values}}


def _reasons(opened: Opened, given: Raw) -> dict[str, tuple[str, ...]]:
    """Return by key what the settings were inferred from."""
    loaded, data = opened.loaded, opened.data
    task, others = _split(data.findings, lambda line: line.startswith("task"))
    return {
        "model.path": (f"{_listed(loaded.inputs, _input)} -> {_listed(loaded.outputs, _output)}",),
        "data.source": (_counts(data), *others),
        "data.task": tuple(line.removeprefix("task: ") for line in task),
        "data.labels": () if given["data"].get("labels") else _about_labels(data),
        "preprocessing": () if "preprocessing" in given else _about_inputs(opened.prepared),
    }


def _about_inputs(prepared: PreparedModel) -> tuple[str, ...]:
    """Return how inputs are preprocessed; those of which the same is known are on one line."""
    alike: dict[str, list[str]] = {}
    for found in prepared.input_findings:
        alike.setdefault(str(found).partition(": ")[2], []).append(repr(found.input))
    return tuple(
        f"input{'s' * (len(names) > 1)} {', '.join(names)}: {chosen}" for chosen, names in alike.items()
    )


def _about_labels(data: Dataset) -> tuple[str, ...]:
    if len(data.classes) > MAX_LABELS:
        return (f"{len(data.classes)} classes from the data, {data.classes[0]!r} to {data.classes[-1]!r}",)
    return ("class names from the data, in the order of the model's outputs",) if _are_names(data) else ()


def _split(lines: tuple[str, ...], of: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    return [line for line in lines if of(line)], [line for line in lines if not of(line)]


def _listed(ports: tuple[Port, ...], described: Callable[[Port], str]) -> str:
    if len(ports) == 1:
        return described(ports[0])
    return ", ".join(f"{port.name}: {described(port)}" for port in ports)


def _input(port: Port) -> str:
    sizes = " x ".join("any" if length is None else str(length) for length in port.shape) or "1"
    return f"{sizes} {port.dtype}"


def _output(port: Port) -> str:
    from models.ports import describe

    return describe(port)


def _counts(data: Dataset) -> str:
    fit, held_out = (data.count("fit"), data.count("held_out"))
    held = f"{held_out:,} held out to choose between models, " if held_out else ""
    return f"{fit:,} training samples, {held}{data.test_samples:,} test samples"


def _warnings(first: Opened, second: Opened, problem: str) -> tuple[str, ...]:
    """Return the notes of both passes, without those on preprocessing that was then chosen."""
    settled = () if problem else first.prepared.better_settings
    notes = [
        *first.loaded.notes, *first.data.notes, *first.prepared.notes,
        *second.data.notes, *second.prepared.notes,
    ]  # fmt: skip
    return tuple(dict.fromkeys(note for note in notes if note not in settled))
