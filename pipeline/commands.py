"""What the commands do, from settings to results; called by the command line and by the Python API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.keys import key_files, read_private, signer
from deploy.transports.ssh import split_addresses
from pipeline.artifacts import Source
from pipeline.building import build
from pipeline.command_settings import FLAGS, flag_of
from pipeline.errors import ConfigError, ToolchainError, leaf_errors_mapped
from pipeline.isolation.sandbox import hiding
from pipeline.loading.load import model_digest
from pipeline.planning.plan import plan_model
from pipeline.release.released import is_folder, model_file, open_release
from pipeline.run import Run
from pipeline.scratch import scratch
from pipeline.settings import read_validation
from pipeline.standalone_validation import validate_file
from pipeline.targets import chosen_devices, get_target, load_devices
from pipeline.validation.gates import GATES, plan, with_inputs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pipeline.build_config import BuildConfig
    from pipeline.building import Built
    from pipeline.planning.goal import Goal
    from pipeline.planning.plan import Plan
    from pipeline.searching.result import Found
    from pipeline.store import Store
    from pipeline.targets import Target
    from pipeline.validation.report import Report

DEFAULT_TARGET = "arm64"
"""Of a validation, for a file that is not a release."""
BOARD = "board"
"""The only device without a row in targets.toml: a whole emulated machine."""
SEARCH_EXTRA = "pip install '.[search]'"
_NAMED = {key: flag_of(name) for name, key in FLAGS.items()} | {"gates.enabled": "--gate"}
"""Flags by the key that each sets."""


def run_build(
    target: Target, config: BuildConfig, out: Path, store: Store, key: Path | None, command: str = ""
) -> Built:
    """Build a release, and hide the private key from code of the user.

    Args:
        key: that signs the release; None for the one in the environment, if there is one.
        command: as the report shows it; "" if it is not one.

    Raises:
        GateFailed: a gate was not passed; there is no new release.
        PipelineError: a stage could not finish, or the key cannot be used, which is found before any work.
    """
    signing, password = signer(key)
    if signing is not None:
        read_private(signing, password)
    with hiding(*key_files(signing)):
        return build(target, config, Run(out, store, command=command), signing, password)


def run_validation(
    file: Path,
    *,
    target: str | None,
    devices: Sequence[str],
    config: Path | None,
    settings: Sequence[str],
    shifted: Sequence[str],
    baseline: Path | None,
    against: Path | None,
    store: Store,
    flags: dict[str, Any],
) -> Report:
    """Measure a .tflite file or a release on devices, and evaluate the gates.

    Args:
        target: None for that of the release, else ``DEFAULT_TARGET``.
        devices: names, "board" and addresses; none for those of the target.
        config: the settings file, if one is given.
        settings: values of --set.
        shifted: ``NAME=SOURCE`` each.
        baseline: the float model that the file came from.
        against: a model or release that it may not be worse than.
        flags: values of the options "gates", "scale" and "offset", and of those in ``FLAGS``.

    Raises:
        PipelineError: an option, an input or the environment is at fault.
    """
    released = open_release(file) if is_folder(file) else None
    chosen = get_target(target or (released.manifest.target if released else DEFAULT_TARGET))
    names, addresses = split_addresses(list(devices))
    used = chosen_devices(chosen, [name for name in names if name != BOARD])
    recorded = released.data_settings if released else None
    validation = read_validation(
        config, _by_key(**flags), settings, shifted=shifted, recorded=recorded, flags=_NAMED
    )
    inputs = _inputs(validation, baseline, against, BOARD in names)
    _require_used((*names, *map(str, addresses)), validation, inputs)
    return validate_file(
        released.model if released else file,
        target=chosen,
        devices=used,
        config=validation,
        store=store,
        baseline=model_file(baseline) if baseline else None,
        against=model_file(against) if against else None,
        board=BOARD in names,
        addresses=addresses,
    )


def _by_key(gates: Sequence[str], scale: float | None, offset: float | None, **flags: Any) -> dict[str, Any]:
    """Return the options that are settings, by dotted key.

    Raises:
        ConfigError: an offset without a scale.
    """
    if scale is None and offset is not None:
        msg = f"--offset {offset:g} needs --scale; the model's input is raw x scale + offset"
        raise ConfigError(msg)
    scaling = {} if scale is None else {"preprocessing.scale": scale, "preprocessing.offset": offset or 0.0}
    return {FLAGS[name]: value for name, value in flags.items()} | {"gates.enabled": gates} | scaling


def _inputs(config: BuildConfig, baseline: Path | None, against: Path | None, has_board: bool) -> set[str]:
    """Return which inputs are given, as ``Gate.inputs`` names them."""
    inputs = {
        "--data": config.data.source,
        "--baseline": baseline,
        "--against": against,
        "--device board": has_board,
        "[gates] min_runtime": config.gates.min_runtime,
        "[gates] download_bytes": config.gates.download_bytes,
    }
    return {name for name, value in inputs.items() if value}


def _require_used(devices: tuple[str, ...], config: BuildConfig, inputs: set[str]) -> None:
    """Refuse a device that the user names and no gate that applies uses, except the host, which all use.

    Args:
        devices: names and addresses.
        config: its enabled gates.
        inputs: given ones, as in ``Gate.inputs``.

    Raises:
        ConfigError: no enabled gate has its inputs; or names the device and the gates that would use it.
    """
    planned, rows = plan(with_inputs(config.gates.enabled, inputs)), load_devices()
    for name in devices:
        measurement = "board" if name == BOARD else "devices"
        if measurement in planned or (name in rows and rows[name].is_host):
            continue
        using = {gate: row for gate, row in GATES.items() if measurement in row.needs}
        missing = {gate: " and ".join(sorted({*row.inputs} - inputs)) for gate, row in using.items()}
        gates = [f"{gate} with {what}" if what else gate for gate, what in missing.items()]
        msg = f"--device {name}: no enabled gate uses it; enable {' or '.join(gates)}, or omit the device"
        raise ConfigError(msg)


def run_plan(
    target: Target, config: BuildConfig, recipes: Sequence[str], goal: Goal | None, store: Store
) -> Plan:
    """Predict what recipes leave of the model of some settings.

    Raises:
        PipelineError: a recipe or the model is at fault.
    """
    with leaf_errors_mapped():
        source = Source(location=str(config.model.path), digest=model_digest(config.model))
    steps: dict[str, Any] = {
        "compress": [
            step.model_dump(exclude_unset=True) | {"method": step.method} for step in config.compress
        ]
    }
    with scratch("plan") as folder:
        return plan_model(
            source, config.model, target, Run(folder, store), settings=steps, recipes=recipes, goal=goal
        )


def run_search(
    target: Target, config: BuildConfig, out: Path, store: Path | str, options: dict[str, Any]
) -> Found:
    """Search for small and fast models that pass the gates; continue a search in ``out``.

    Args:
        store: the folder of the store, or the URL of a shared one.
        options: fields of ``SearchConfig``, without the seed.

    Raises:
        ConfigError: an option is wrong, or the folder has another search.
        PipelineError: the inputs or the environment are at fault.
    """
    from pipeline.searching.search import SearchConfig, search

    place = store if isinstance(store, str) else store.absolute()
    return search(target, config, SearchConfig(**options, seed=config.seed), out.absolute(), place)


def require_search(tracking: str) -> None:
    """Refuse a search without the packages of its extra, or with a wrong tracker, before any work.

    Raises:
        ConfigError: the tracker is unknown.
        ToolchainError: a package is missing.
    """
    from importlib.util import find_spec

    missing = [name for name in ("optuna", "distributed", "tomli_w") if find_spec(name) is None]
    if missing:
        msg = f"a search needs {' and '.join(missing)}: {SEARCH_EXTRA}"
        raise ToolchainError(msg)
    if tracking:
        from pipeline.searching.tracking import read_tracking

        read_tracking(tracking)
