"""Read settings from files and flags, and those of the reference models."""

from __future__ import annotations

import difflib
import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from pipeline.build_config import BuildConfig, first_problem, is_section, problem_of_flag
from pipeline.compress.weights_config import WeightsConfig
from pipeline.errors import ConfigError
from pipeline.events import Warned, emit
from pipeline.quantize.methods import QUANTIZE
from pipeline.sections import advice
from pipeline.setting_paths import locate
from pipeline.toml_source import error_excerpt, excerpt, locate_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PYPROJECT = "pyproject.toml"
TABLE = " [tool.pipeline]"
"""After the name of a ``pyproject.toml``, in errors."""

# Old keys of pipeline.toml and what replaced them; a number is a place in a list of tables.
_TRAINING = {"least_steps": "min_steps"} | {
    key: key for key in ("epochs", "batch_size", "learning_rate", "distillation", "samples")
}
RENAMED = {
    "prune.sparsity": "compress.0.sparsity",
    "prune.lost_points": "compress.0.max_drop_points",
    "prune.least_weights": "compress.0.min_weights",
    **{f"prune.{old}": f"compress.0.training.{new}" for old, new in _TRAINING.items()},
    **{f"quantize.{old}": f"quantize.training.{new}" for old, new in _TRAINING.items()},
    "quantize.formats": "convert.formats",
    "quantize.convert_timeout_s": "convert.timeout_s",
}


def make_config(raw: dict[str, Any], where: str, flags: Mapping[str, str] | None = None) -> BuildConfig:
    """Validate plain settings.

    Args:
        raw: nested settings as read from TOML.
        where: what to name in an error, such as the file's path.
        flags: names of flags, by the key that each has set; an error about such a key names the flag.

    Raises:
        ConfigError: a key is unknown or a value is not allowed.
    """
    try:
        return BuildConfig.model_validate(raw)
    except (ConfigError, ValidationError) as error:
        if by_flag := problem_of_flag(error, flags or {}):
            raise by_flag from error
        found = error if isinstance(error, ConfigError) else first_problem(error)
        raise _in_file(found, where) from error


def _in_file(error: ConfigError, where: str) -> ConfigError:
    """Return the error with ``where`` before it and, if that is a file with the key, with the key's line."""
    file, key = Path(where.removesuffix(TABLE)), error.key
    if not (key and file.is_file()):
        return ConfigError(f"{where}: {error}", key=key)
    text = file.read_text(encoding="utf-8")
    place = locate_key(text, f"tool.pipeline.{key}" if where.endswith(TABLE) else key)
    if place is None:
        return ConfigError(f"{where}: {error}", key=key)
    return ConfigError(f"{file}:{place[0]}: {error}", key=key, excerpt=excerpt(text, *place))


def read_toml(path: Path) -> dict[str, Any]:
    """Read settings; relative model and data paths are taken from the file's own folder.

    Those of ``pyproject.toml`` are in ``[tool.pipeline]``. Old keys become the new ones, with a warning.

    Raises:
        ConfigError: the file is missing, is not TOML, or has no settings.
    """
    raw: Any = _parsed(path)
    if path.name == PYPROJECT:
        tools = raw.get("tool")
        raw = tools.get("pipeline") if isinstance(tools, dict) else None
        if not isinstance(raw, dict):
            msg = f"{path}: it has no [tool.pipeline]; add that, or name another file with --config"
            raise ConfigError(msg)
    return accept_settings(raw, path)


def accept_settings(raw: dict[str, Any], path: Path) -> dict[str, Any]:
    """Check the sections of settings that a file has, and return them with current keys and located paths.

    Args:
        raw: nested settings as read from TOML; changed in place.
        path: of the file, from whose folder relative paths are taken.

    Raises:
        ConfigError: a section is not one, or has an old key beside the new one.
    """
    where = settings_name(path)
    _rename_old_keys(raw, where)
    _check_sections(raw, BuildConfig, where)
    _rename_in_sections(raw, BuildConfig, where)
    locate(raw, path.parent)
    return raw


def settings_name(path: Path) -> str:
    """Return what to call the settings in a file, in errors."""
    return f"{path}{TABLE}" if path.name == PYPROJECT else str(path)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        json.dumps(raw, default=str)  # recurses as deeply as whatever reads it later
    except FileNotFoundError as error:
        msg = f"{path}: no such file; write one with pipeline init, or drop --config"
        raise ConfigError(msg) from error
    except RecursionError as error:
        msg = f"{path}: nested too deeply; write each key into its section"
        raise ConfigError(msg) from error
    except (
        OSError,
        ValueError,
    ) as error:  # missing file, wrong encoding or grammar, or a number of 5,000 digits
        reason = error.strerror if isinstance(error, OSError) else str(error)
        msg = f"{path}: invalid TOML file: {reason}"
        raise ConfigError(msg, excerpt=error_excerpt(error, path)) from error
    return raw


def _rename_old_keys(raw: dict[str, Any], where: str) -> None:
    """Move the values of old keys to the new ones, in place.

    Raises:
        ConfigError: an old section has a key that it never had, or is there beside the new one.
    """
    renamed = []
    both = "prune" in raw and "compress" in raw
    for old, new in RENAMED.items():
        section, _, key = old.partition(".")
        table = raw.get(section)
        if not (isinstance(table, dict) and key in table):
            continue
        if both and section == "prune":
            msg = f"{where}: [prune] and [[compress]] exclude each other; for {old} write {_toml(new)}"
            raise ConfigError(msg)
        _put(raw, new.split("."), table.pop(key))
        renamed.append(f"[{section}] {key} is now {_toml(new)}")
    if isinstance(raw.get("prune"), dict):
        for key in raw.pop("prune"):
            raise _unknown_old_key(where, key)
    if renamed:
        emit(Warned(text=f"{where}: these keys have new names: {', '.join(renamed)}"))


def _unknown_old_key(where: str, key: str) -> ConfigError:
    known = [old.partition(".")[2] for old in RENAMED if old.startswith("prune.")]
    return ConfigError(f"{where}: unknown key 'prune.{key}'; {advice(key, known, 'keys')}")


def _rename_in_sections(raw: dict[str, Any], section: type[BaseModel], where: str, prefix: str = "") -> None:
    """Give keys that a section has renamed their new names, in place, with a warning.

    Raises:
        ConfigError: both names are there.
    """
    kinds = {field.alias or name: field.annotation for name, field in section.model_fields.items()}
    for old, new in getattr(section, "renamed", {}).items():
        if old not in raw:
            continue
        names = f"{_toml(f'{prefix}{old}')} is now {_toml(f'{prefix}{new}')}"
        if new in raw:
            msg = f"{where}: {names}; give only the new one"
            raise ConfigError(msg)
        raw[new] = raw.pop(old)
        emit(Warned(text=f"{where}: {names}; the old name will be removed"))
    for key, value in raw.items():
        if isinstance(value, dict) and is_section(kind := kinds.get(key)):
            _rename_in_sections(value, kind, where, f"{prefix}{key}.")


def _toml(key: str) -> str:
    """``"compress.0.training.epochs"`` as it is written in TOML: ``"[[compress]] training.epochs"``."""
    if ".0." in key:
        section, _, key = key.partition(".0.")
        return f"[[{section}]] {key}"
    section, _, key = key.rpartition(".") if "training." not in key else key.partition(".")
    return f"[{section}] {key}"


def _put(raw: dict[str, Any], place: list[str], value: Any) -> None:
    """Set a value at ``["compress", "0", "training", "epochs"]``, where nothing has to be yet."""
    *sections, key = place
    table: Any = raw
    for name in sections:
        if name == "0":
            table = table[0]
        elif name == "compress":
            table = table.setdefault(name, [{"method": WeightsConfig().method}])
        else:
            table = table.setdefault(name, {})
        if not isinstance(table, dict | list):
            return  # refused with its own message later
    table[key] = value


def _check_sections(raw: dict[str, Any], section: type[BaseModel], where: str, prefix: str = "") -> None:
    """Refuse a value where a section belongs, and text that no path or name can hold.

    Raises:
        ConfigError: names the key.
    """
    kinds = {field.alias or name: field.annotation for name, field in section.model_fields.items()}
    for key, value in raw.items():
        kind = kinds.get(key)
        if isinstance(value, str) and "\0" in value:
            msg = f"{prefix}{key}: it holds a NUL character; remove that"
            raise _in_file(ConfigError(msg, key=f"{prefix}{key}"), where)
        is_list = isinstance(value, list) and all(isinstance(each, dict) for each in value)
        if section is BuildConfig and key == "compress" and not is_list:
            msg = "compress: it is a list of sections; write [[compress]] and its keys below"
            raise _in_file(ConfigError(msg, key=f"{prefix}{key}"), where)
        if not is_section(kind):
            continue
        if not isinstance(value, dict):
            msg = f"{prefix}{key}: it is a section; write [{prefix}{key}] and its keys below"
            raise _in_file(ConfigError(msg, key=f"{prefix}{key}"), where)
        _check_sections(value, kind, where, f"{prefix}{key}.")


def configure(
    raw: dict[str, Any], where: str, settings: Sequence[str], flags: Mapping[str, str] | None = None
) -> BuildConfig:
    """Validate plain settings, overridden by ``section.key=value``; the last of several wins.

    Args:
        raw: nested settings as read from TOML.
        where: what to name in an error about these.
        settings: values of --set; see ``parse_setting``.
        flags: names of flags, by the key in ``raw`` that each has set.

    Raises:
        ConfigError: as ``make_config``; names the flag or the setting at fault, if it is one.
    """
    layers = [(where, raw, flags or {})]
    for setting in map(_rename_old_key, settings):
        given, name = parse_setting(setting), f"--set {setting}"
        _rename_in_sections(given, BuildConfig, name)
        base = {key: value for key, value in _default_lists().items() if key in given} | layers[-1][1]
        base = _without_other_methods_keys(base, given, name)
        try:
            layers.append((name, overlay(base, given), {setting.partition("=")[0].strip(): name}))
        except ConfigError as error:
            msg = f"--set {setting}: {error}"
            raise ConfigError(msg) from error
    failure = None
    for name, layer, keys in reversed(layers):
        try:
            config = make_config(layer, name, keys)
        except ConfigError as error:
            failure = error  # from the first layer after which all fail
        else:
            break
    if failure is not None:
        raise failure
    return config


def _without_other_methods_keys(base: dict[str, Any], given: dict[str, Any], name: str) -> dict[str, Any]:
    """Return settings without the keys of ``[quantize]`` that a method lacks to which a setting switches."""
    table, chosen = base.get("quantize"), given.get("quantize")
    method = QUANTIZE.get(str(chosen.get("method"))) if isinstance(chosen, dict) else None
    if method is None or not isinstance(table, dict):
        return base
    left_out = [key for key in table if key not in method.config.model_fields]
    if left_out:
        emit(Warned(text=f"{name}: {', '.join(f'[quantize] {key}' for key in left_out)} does not apply"))
    return base | {"quantize": {key: value for key, value in table.items() if key not in left_out}}


def choose_method(raw: dict[str, Any], method: str) -> dict[str, Any]:
    """Return settings with the quantization method of ``--method``.

    One that does not train leaves out the compression steps, which would.
    """
    flag = f"--method {method}"
    given = {"quantize": {"method": method}}
    chosen: dict[str, Any] = overlay(_without_other_methods_keys(raw, given, flag), given)
    row = QUANTIZE.get(method)
    if row is not None and row.train is None and chosen.get("compress"):
        emit(Warned(text=f"{flag}: nothing is trained, so [[compress]] is left out"))
        chosen["compress"] = []
    return chosen


def _rename_old_key(setting: str) -> str:
    """Return ``section.key=value`` with the new name of an old key, which gives a warning.

    Raises:
        ConfigError: the old section never had such a key.
    """
    key, equals, value = setting.partition("=")
    new = RENAMED.get(key.strip())
    if new is None and key.strip().startswith("prune."):
        where = f"--set {setting}"
        raise _unknown_old_key(where, key.strip().removeprefix("prune."))
    if new is None:
        return setting
    emit(Warned(text=f'--set {setting}: the key "{key.strip()}" is now called "{new}"'))
    return f"{new}{equals}{value}"


def parse_setting(text: str) -> dict[str, Any]:
    """Return ``section.key=value`` as nested settings.

    Key and value have the grammar of TOML; any other value is a string, so that ``data.source=photos`` and
    ``data.source="photos"`` are the same. A number is a place in a list: ``compress.0.sparsity=0.5``.

    Raises:
        ConfigError: it has another form, or its value only begins as a quoted string, list or table.
    """
    key, equals, value = text.partition("=")
    if not equals or ("." not in key and key not in {"seed", "compress"}):
        msg = f"--set {text}: not section.key=value; write e.g. --set validate.operators=false"
        raise ConfigError(msg)
    try:
        try:
            raw = tomllib.loads(f"{key} = {value}" if "\n" not in value else "")
        except tomllib.TOMLDecodeError:
            if value.startswith(('"', "'", "[", "{")):
                raise
            raw = {}
        raw = raw or tomllib.loads(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    except (ValueError, RecursionError) as error:
        msg = f'--set {text}: {error}; write it as in pipeline.toml: --set \'data.labels=["a", "b"]\''
        raise ConfigError(msg) from error
    locate(raw, Path())
    return raw


def overlay(base: Any, given: Any) -> Any:
    """Return settings with others laid over them, table by table; where a list is, numbers are places in it.

    Raises:
        ConfigError: a place is beyond the end of its list.
    """
    if isinstance(base, dict) and isinstance(given, dict):
        return base | {key: overlay(base.get(key), value) for key, value in given.items()}
    if not (isinstance(given, dict) and given and all(map(str.isdecimal, given))):
        return given
    rows = list(base) if isinstance(base, list | tuple) else []
    for place, value in given.items():
        if int(place) > len(rows):
            msg = f"there is no entry {place}: the next one is {len(rows)}"
            raise ConfigError(msg)
        rows[int(place) :] = [overlay((*rows, None)[int(place)], value), *rows[int(place) + 1 :]]
    return rows


def _default_lists() -> dict[str, Any]:
    """Return the lists of tables that hold where the settings have none: only what each of them says."""
    fields = BuildConfig.model_fields.items()
    return {
        field.alias or name: [
            {"method": table.method} | table.model_dump(exclude_unset=True) for table in field.default
        ]
        for name, field in fields
        if isinstance(field.default, tuple)
    }


def nested(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted key as nested settings; those that are None, empty or False are left out."""
    raw: dict[str, Any] = {}
    for key, value in given.items():
        if value is None or value is False or value == ():
            continue
        *sections, last = key.split(".")
        table = raw
        for section in sections:
            table = table.setdefault(section, {})
        table[last] = value
    return raw


def read_validation(
    config: Path | None = None,
    given: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    *,
    shifted: Sequence[str] = (),
    recorded: Mapping[str, Any] | None = None,
    flags: Mapping[str, str] | None = None,
) -> BuildConfig:
    """Return the settings for the validation of a .tflite file: those of a file, if any, and of flags.

    Args:
        config: the settings file.
        given: values of flags by dotted key, as ``nested`` takes them.
        settings: of --set, laid over all others.
        shifted: ``NAME=SOURCE`` each.
        recorded: keys of ``[data]`` that a release states, for those that are not given.
        flags: names of flags by the key in ``given`` that each sets, for messages.

    Raises:
        ConfigError: as ``configure``; a ``shifted`` has no name.
    """
    raw = {"model": {"path": ""}, "data": {"source": "", **(recorded or {})}}
    raw = overlay(raw, read_toml(config) if config is not None else {})
    sources = {}
    for each in shifted:
        name, equals, source = each.partition("=")
        if not (equals and name and source):
            msg = f'"{each}" is not NAME=SOURCE: write --shifted night=photos/night'
            raise ConfigError(msg)
        sources[name] = source
    for flat in (nested(given or {}), {"validate": {"shift": {"sources": sources}}} if sources else {}):
        raw = overlay(raw, flat)
    named = {key: flag for key, flag in (flags or {}).items() if (given or {}).get(key) not in (None, ())}
    return configure(raw, str(config) if config is not None else "the flags", settings, named)


def zoo_settings(name: str = "resnet8") -> dict[str, Any]:
    """Return the settings of a reference model of ``models.zoo``; the default is ResNet-8 on Fashion-MNIST.

    Raises:
        ConfigError: there is no such model.
    """
    from models.zoo.catalogue import ZOO as REFERENCE_MODELS

    if not name:
        msg = f"no reference model given; available: {', '.join(REFERENCE_MODELS)}"
        raise ConfigError(msg)
    if name not in REFERENCE_MODELS:
        nearest = difflib.get_close_matches(name, REFERENCE_MODELS, n=1)
        advice = f"did you mean zoo:{nearest[0]}?" if nearest else f"available: {', '.join(REFERENCE_MODELS)}"
        msg = f"zoo:{name}: no such reference model; {advice}"
        raise ConfigError(msg)
    folder = Path(str(files("models.zoo")))
    return read_toml(folder / f"{name}.toml")
