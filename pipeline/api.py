"""The Python API: the commands ``build``, ``validate``, ``plan`` and ``search`` as functions.

Options have the names that they have on the command line; those that can be given several times take one
value or a sequence. ``settings`` is what ``--set`` is there: any key of pipeline.toml with its value.

Models are paths, ``zoo:NAME`` or models of Keras; data are whatever ``pipeline help data`` lists, or arrays.
Both are saved as files in ``inputs`` of the output folder, where later commands find them.

A failed gate is a result with ``passed=False``. Whatever else goes wrong raises a ``PipelineError`` of
``pipeline.errors`` with the line that the command would print.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from deploy.keys import secrets_withheld
from pipeline.command_settings import build_command, build_settings
from pipeline.commands import require_search, run_build, run_plan, run_search, run_validation
from pipeline.console.reporter import ConsoleReporter
from pipeline.errors import ConfigError, GateFailed, leaf_errors_mapped
from pipeline.events import listening
from pipeline.in_memory import is_keras_model, write_arrays, write_model
from pipeline.planning.goal import read_goal
from pipeline.report.views import write_views
from pipeline.results import BuildResult, PlanResult, SearchResult, ValidationResult
from pipeline.runtimes.environment import check_siblings
from pipeline.scratch import scratch
from pipeline.store import Store, user_store
from pipeline.store_size import DEFAULT_SIZE, SIZE_VARIABLE, parse_size
from pipeline.targets import get_target
from pipeline.terminal import Terminal
from pipeline.toml_text import toml_value
from pipeline.user_paths import usable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import keras

    from pipeline.building import Built
    from pipeline.in_memory import Arrays
    from pipeline.validation.report import Report

    File: TypeAlias = str | os.PathLike[str]
    Model: TypeAlias = File | keras.Model
    Data: TypeAlias = File | Arrays

INPUTS = "inputs"
"""Folder in the output folder for models and arrays that were given as objects."""


def build(
    model: Model | None = None,
    data: Data | None = None,
    *,
    target: str,
    config: File | None = None,
    task: str | Sequence[str] = (),
    labels: str | Sequence[str] = (),
    method: str | None = None,
    recipe: str | None = None,
    allow_chance: bool = False,
    against: File | None = None,
    trust_model: bool = False,
    name: str | None = None,
    version: str | None = None,
    key: File | None = None,
    settings: Mapping[str, Any] | None = None,
    out: File = "build",
    store: File | None = None,
    cache_size: int | str | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    fast: bool = False,
    progress: bool = True,
) -> BuildResult:
    """Build a validated int8 release from a trained Keras model.

    Args:
        model: a path, ``zoo:NAME`` or a Keras model; None for that of the settings file, else ResNet-8.
        data: a path, ``module:function`` or arrays: a dict by name, ``(x, y)``, or
            ``((x_train, y_train), (x_test, y_test))``. Goes with ``model``.
        target: what to build for; ``pipeline device list`` shows all.
        config: settings file; default, without ``model``: pipeline.toml of the working directory.
        task: of each output; default: inferred.
        labels: class names in the order of the model's outputs.
        method: "auto", "qat", "ptq" or "none".
        recipe: compression steps and quantization, such as "weights75-cluster16-qat8".
        allow_chance: whether to continue if the float model is at chance.
        against: reference model; a gate fails if the new one is worse.
        trust_model: whether code from the model file may run, in a confined process.
        name: release name; default: that of the settings, else of the model.
        version: release version.
        key: private key that signs the release; default: ``EDGE_PIPELINE_SIGNING_KEY``, if set.
        settings: any keys of pipeline.toml: ``{"gates.size_ratio": 0.3}``.
        out: output folder.
        store: cache of finished stages; default: ``EDGE_PIPELINE_STORE``, else in the user cache.
        cache_size: size above which the least used stages are removed: bytes or text such as "20GB".
        seed: of every random choice.
        epochs: of every training.
        fast: whether to build quickly: fewer samples, one epoch, reduced sparsity.
        progress: whether to show progress and warnings.

    Returns:
        The release and its report; without a release and with ``passed=False`` if a gate failed.

    Raises:
        PipelineError: an option, an input or the environment is at fault, or a stage could not finish.
    """
    with _working(progress):
        devices, folder = get_target(target), Path(usable(out, "--out")).absolute()
        flags = {
            **_inputs(model, data, folder / INPUTS), "task": _each(task), "labels": _labels(labels),
            "method": method, "recipe": recipe, "allow_chance": allow_chance, "trust_model": trust_model,
            "against": _path(against, "--against"), "name": _name(name, model, config), "version": version,
            "seed": seed, "epochs": epochs, "fast": fast,
        }  # fmt: skip
        chosen = build_settings(_path(config, "--config"), flags, _settings(settings))
        with _store(store, cache_size) as opened:
            try:
                built = run_build(devices, chosen, folder, opened, _path(key, "--key", is_key=True))
            except GateFailed as error:
                if error.report is None:
                    raise
                return _built(error.report, folder)
        return _built(built.report, folder, built)


def validate(
    file: File,
    data: Data | None = None,
    *,
    target: str | None = None,
    devices: str | Sequence[str] = (),
    shifted: Mapping[str, Data] | None = None,
    task: str | Sequence[str] = (),
    labels: str | Sequence[str] = (),
    allow_chance: bool = False,
    baseline: File | None = None,
    against: File | None = None,
    scale: float | None = None,
    offset: float | None = None,
    config: File | None = None,
    gates: str | Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    out: File | None = None,
    store: File | None = None,
    cache_size: int | str | None = None,
    progress: bool = True,
) -> ValidationResult:
    """Validate a .tflite file or a release on the devices of a target; without data, skip accuracy.

    Args:
        file: a .tflite file, or a release folder with its preprocessing, tasks and labels.
        data: as for ``build``.
        target: what to validate for; default: that of the release, else arm64.
        devices: to measure on: names, "board" or ``ssh://user@host``; default: those of the target.
        shifted: shifted data by name.
        task: of each output; default: inferred.
        labels: class names in the order of the model's outputs.
        allow_chance: whether to continue if the float model is at chance.
        baseline: float .tflite file to compare with.
        against: reference model or release; a gate fails if the file is worse.
        scale: the model's input is raw x scale + offset; default: detected.
        offset: of raw values, with ``scale``.
        config: settings file, of which [data], [preprocessing], [validate] and [gates] are used.
        gates: to evaluate; default: all.
        settings: any keys of pipeline.toml.
        seed: of every random choice.
        out: folder for the report's files; None for none.
        store: as for ``build``.
        cache_size: as for ``build``.
        progress: whether to show progress and warnings.

    Returns:
        The report, with ``passed=False`` if a gate failed.

    Raises:
        PipelineError: an option, an input or the environment is at fault, or a runtime crashed.
    """
    with _working(progress), scratch("arrays") as temporary, _store(store, cache_size) as opened:
        others = {
            name: _data(each, temporary / f"shifted-{index}")
            for index, (name, each) in enumerate((shifted or {}).items())
        }
        report = run_validation(
            Path(usable(file, "file")),
            target=target,
            devices=_each(devices),
            config=_path(config, "--config"),
            settings=_settings(settings),
            shifted=[f"{name}={source}" for name, source in others.items()],
            baseline=_path(baseline, "--baseline"),
            against=_path(against, "--against"),
            store=opened,
            flags={
                "data": _data(data, temporary), "task": _each(task), "labels": _labels(labels),
                "allow_chance": allow_chance, "scale": scale, "offset": offset, "gates": _each(gates),
                "seed": seed,
            },
        )  # fmt: skip
        folder = _path(out, "--out")
        if folder is not None:
            write_views(report, folder)
        return ValidationResult(passed=report.passed, report=report, report_folder=folder)


def plan(
    model: Model | None = None,
    *,
    target: str,
    config: File | None = None,
    recipes: str | Sequence[str] = (),
    goal: str | None = None,
    settings: Mapping[str, Any] | None = None,
    store: File | None = None,
    cache_size: int | str | None = None,
    progress: bool = True,
) -> PlanResult:
    """Predict what compression would buy on a target, without data and before any training.

    Args:
        model: as for ``build``.
        target: what to plan for.
        config: as for ``build``.
        recipes: to predict, in place of the usual ones.
        goal: limits to recommend a recipe for: "rpi4 instructions <= 1.5M, download <= 40k, drop <= 1".
        settings: any keys of pipeline.toml.
        store: as for ``build``.
        cache_size: as for ``build``.
        progress: whether to show progress and warnings.

    Returns:
        The prediction, with ``passed=False`` if no recipe reaches the goal.

    Raises:
        PipelineError: an option or the model is at fault.
    """
    with _working(progress), scratch("model") as temporary:
        devices = get_target(target)
        limits = read_goal(goal, devices) if goal is not None else None
        source, lines = _model(model, temporary), _settings(settings)
        file = _path(config, "--config")
        chosen = build_settings(file, {"model": source, "data": None if model is None else ""}, lines)
        with _store(store, cache_size) as opened:
            found = run_plan(devices, chosen, _each(recipes), limits, opened)
        best, shown = found.recommendation, "MODEL" if is_keras_model(model) else source
        return PlanResult(
            passed=best is None or best.row is not None,
            recommended=best.row.recipe if best is not None and best.row is not None else None,
            plan=found,
            goal=limits,
            command=build_command(target, file, shown, lines),
        )


def search(
    model: Model | None = None,
    data: Data | None = None,
    *,
    target: str,
    goal: str = "",
    config: File | None = None,
    task: str | Sequence[str] = (),
    labels: str | Sequence[str] = (),
    trials: int = 30,
    objectives: str | Sequence[str] = (),
    steps: str | Sequence[str] = (),
    sampler: str = "tpe",
    workers: int = 2,
    scheduler: str = "",
    validate: int = 4,
    settings: Mapping[str, Any] | None = None,
    out: File = "search",
    store: File | None = None,
    tracking: str = "",
    seed: int | None = None,
    progress: bool = True,
) -> SearchResult:
    """Search for small and fast models that pass the gates; the same call continues an interrupted search.

    Needs the extra ``[search]``.

    Args:
        model: as for ``build``.
        data: as for ``build``.
        target: what to build for.
        goal: limits besides the gates: "rpi4 instructions <= 1.5M, download <= 40k, drop <= 1".
        config: as for ``build``.
        task: of each output; default: inferred.
        labels: class names in the order of the model's outputs.
        trials: how many to finish.
        objectives: figures to improve: score, robustness, download, memory, "DEVICE instructions"; default:
            all.
        steps: compression steps to vary; default: all but distill.
        sampler: "tpe", "nsga2" or "random".
        workers: processes on this machine; with ``scheduler``, workers that will come.
        scheduler: address of a Dask cluster: "tls://HOST:PORT"; "" for this machine.
        validate: at most so many of the best candidates are built and validated.
        settings: any keys of pipeline.toml.
        out: output folder.
        store: folder of the cache, or the URL of a shared one, such as "s3://BUCKET/PREFIX".
        tracking: "mlflow:URI" to log every trial; "" for none.
        seed: of every random choice.
        progress: whether to show progress and warnings.

    Returns:
        The front and the chosen candidate; with ``passed=False`` if no candidate passes the gates.

    Raises:
        PipelineError: an option, an input or the environment is at fault.
    """
    with _working(progress):
        require_search(tracking)
        devices, folder = get_target(target), Path(usable(out, "--out")).absolute()
        flags = {
            **_inputs(model, data, folder / INPUTS),
            "task": _each(task), "labels": _labels(labels), "seed": seed,
            "name": _name(None, model, config),
        }  # fmt: skip
        chosen = build_settings(_path(config, "--config"), flags, _settings(settings))
        options = {
            "goal": goal, "trials": trials, "objectives": _each(objectives), "steps": _each(steps),
            "sampler": sampler, "workers": workers, "scheduler": scheduler, "validated": validate,
            "tracking": tracking,
        }  # fmt: skip
        place = str(store) if "://" in str(store) else _path(store, "--store") or user_store()
        found = run_search(devices, chosen, folder, place, options)
        return SearchResult(passed=found.chosen is not None, folder=found.folder, target=target, found=found)


def _built(report: Report, folder: Path, built: Built | None = None) -> BuildResult:
    """Return how a build ended; ``built`` is None if a gate failed."""
    return BuildResult(
        passed=built is not None,
        release=built.folder if built else None,
        digest=built.reproducible_digest if built else None,
        report=report,
        report_folder=folder / "report" / report.name,
    )


@contextmanager
def _working(progress: bool) -> Iterator[None]:
    """Run the block as the command runs: secrets hidden, events shown, errors of one kind."""
    with ExitStack() as stack:
        stack.enter_context(secrets_withheld())
        stack.enter_context(leaf_errors_mapped())
        if progress:
            stack.enter_context(listening(stack.enter_context(ConsoleReporter(_console()))))
        check_siblings().require()
        yield


def _console() -> Terminal:
    """Return where progress is shown: stderr, which Jupyter shows as an error, so that it gets stdout.

    A notebook says that it is a terminal, and gets lines all the same: it would keep every frame of a bar.
    """
    in_notebook = Terminal().is_jupyter
    return Terminal(
        stderr=not in_notebook,
        highlight=False,
        force_jupyter=False,
        force_terminal=False if in_notebook else None,
    )


def _store(folder: File | None, size: int | str | None) -> Store:
    given = os.environ.get(SIZE_VARIABLE, DEFAULT_SIZE) if size is None else size
    try:
        limit = parse_size(given)
    except ValueError as error:
        msg = f"--cache-size: {error}"
        raise ConfigError(msg) from error
    return Store(_path(folder, "--store") or user_store(), limit)


def _inputs(model: Model | None, data: Data | None, folder: Path) -> dict[str, str | None]:
    """Return model and data as the options take them; objects are written into the folder."""
    return {"model": _model(model, folder), "data": _data(data, folder)}


def _model(model: Model | None, folder: Path) -> str | None:
    if is_keras_model(model):
        return str(write_model(model, folder))
    if model is None or isinstance(model, str | os.PathLike):
        return None if model is None else usable(model, "--model")
    msg = f"model: got {type(model).__name__}; give a path, zoo:NAME or a Keras model"
    raise ConfigError(msg)


def _data(data: Data | None, folder: Path) -> str | None:
    if data is None or isinstance(data, str | os.PathLike):
        return None if data is None else usable(data, "--data")
    return str(write_arrays(data, folder))


def _name(name: str | None, model: Model | None, config: File | None) -> str | None:
    """Return the name of the release: without other settings, that of a model that is an object."""
    if name is not None or config is not None or not is_keras_model(model):
        return name
    return str(getattr(model, "name", "model"))


def _settings(given: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return settings as --set takes them."""
    plain = {
        key: os.fspath(value) if isinstance(value, os.PathLike) else value
        for key, value in (given or {}).items()
    }
    return tuple(f"{key}={toml_value(value)}" for key, value in plain.items())


def _path(path: File | None, option: str, *, is_key: bool = False) -> Path | None:
    return None if path is None else Path(usable(path, option, is_key=is_key))


def _each(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _labels(given: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(given.split(",")) if isinstance(given, str) else tuple(given)
