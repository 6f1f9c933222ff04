"""Settings as users give them, in a file and by flags, and those of the reference models."""

from __future__ import annotations

import difflib
import json
import reprlib
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from pipeline.config import BuildConfig
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_FILE = Path("pipeline.toml")
ZOO = "zoo:"


def make_config(raw: dict[str, Any], where: str) -> BuildConfig:
    """Validate plain settings.

    Args:
        raw: nested settings as read from TOML.
        where: what to name in an error, such as the file's path.

    Raises:
        ConfigError: a key is unknown or a value is not allowed.
    """
    try:
        return BuildConfig.model_validate(raw)
    except ConfigError as error:
        msg = f"{where}: {error}"
        raise ConfigError(msg) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        got = "" if first["type"] == "missing" else f", got {reprlib.repr(first['input'])}"
        msg = f"{where}: {key}: {message[:1].lower()}{message[1:]}{got}"
        raise ConfigError(msg) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read settings; relative model and data paths are taken from the file's own folder.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        json.dumps(raw, default=str)  # recurses as deeply as whatever reads it later
    except FileNotFoundError as error:
        msg = f"{path}: no such file; write one (see docs/reference/configuration.md) or drop --config"
        raise ConfigError(msg) from error
    except RecursionError as error:
        msg = f"{path}: nested too deeply; write each key into its section"
        raise ConfigError(msg) from error
    except (
        OSError,
        ValueError,
    ) as error:  # of the file, its encoding, its grammar, or a number of 5,000 digits
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"{path}: not a TOML file that can be read: {reason}"
        raise ConfigError(msg) from error
    _check_sections(raw, BuildConfig, str(path))
    for section, key in (
        ("model", "path"),
        ("model", "weights"),
        ("data", "source"),
        ("calibration", "field"),
        ("validate", "against"),
        ("release", "public_key"),
    ):
        table = raw.get(section)
        value = table.get(key) if isinstance(table, dict) else None
        if isinstance(value, str) and not is_import_path(value):
            raw[section][key] = str(path.parent / _at_home(value))
    sources: Any = raw
    for key in ("validate", "shift", "sources"):
        sources = sources.get(key) if isinstance(sources, dict) else None
    for name, value in sources.items() if isinstance(sources, dict) else ():
        if isinstance(value, str) and not is_import_path(value):
            sources[name] = str(path.parent / _at_home(value))
    return raw


def _check_sections(raw: dict[str, Any], section: type[BaseModel], where: str, prefix: str = "") -> None:
    """Refuse a value where a section belongs, and text that no path or name can hold.

    Raises:
        ConfigError: names the key.
    """
    kinds = {field.alias or name: field.annotation for name, field in section.model_fields.items()}
    for key, value in raw.items():
        kind = kinds.get(key)
        if isinstance(value, str) and "\0" in value:
            msg = f"{where}: {prefix}{key}: it holds a NUL character; remove that"
            raise ConfigError(msg)
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            continue
        if not isinstance(value, dict):
            msg = f"{where}: {prefix}{key}: it is a section; write [{prefix}{key}] and its keys below"
            raise ConfigError(msg)
        _check_sections(value, kind, where, f"{prefix}{key}.")


def read_validation(
    *,
    config: Path | None = None,
    data: str | None = None,
    shifted: Sequence[str] = (),
    task: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
    allow_chance: bool = False,
    scale: float | None = None,
    offset: float = 0.0,
    gates: tuple[str, ...] = (),
    seed: int = 0,
    recorded: Mapping[str, Any] | None = None,
) -> BuildConfig:
    """The settings that judge a .tflite file: those of a file, if any, under the flags that were given.

    Args:
        recorded: keys of ``[data]`` that a release states, for those that are not given.
        shifted: ``NAME=SOURCE`` each.
        gates: names of the gates to enable; none: those that the file enables.

    Raises:
        ConfigError: as ``make_config``; a ``shifted`` has no name.
    """
    raw = read_toml(config) if config is not None else {}
    raw.setdefault("model", {"path": ""})
    raw["data"] = dict(recorded or {}) | raw.get("data", {}) | ({"source": data} if data else {})
    raw["data"].setdefault("source", "")
    for given in shifted:
        name, equals, source = given.partition("=")
        if not (equals and name and source):
            msg = f'"{given}" is not NAME=SOURCE: write --shifted night=photos/night'
            raise ConfigError(msg)
        sources = raw.setdefault("validate", {}).setdefault("shift", {}).setdefault("sources", {})
        if isinstance(sources, dict):  # anything else is refused when the settings are made
            sources[name] = source
    if task:
        raw["data"]["task"] = task
    if labels:
        raw["data"]["labels"] = labels
    if scale is not None:
        raw["preprocessing"] = raw.get("preprocessing", {}) | {"scale": scale, "offset": offset}
    if allow_chance:
        raw["gates"] = raw.get("gates", {}) | {"allow_chance": True}
    if gates:
        others = {key: value for key, value in raw.get("gates", {}).items() if key != "ask"}
        raw["gates"] = others | {"enabled": gates}
    return make_config(raw | {"seed": seed}, str(config) if config is not None else "the flags")


def zoo_settings(name: str = "resnet8") -> dict[str, Any]:
    """The settings of a reference model of ``models.zoo``; the default is ResNet-8 on Fashion-MNIST.

    Raises:
        ConfigError: there is no such model.
    """
    from models.zoo.catalogue import ZOO as REFERENCE_MODELS

    if name not in REFERENCE_MODELS:
        nearest = difflib.get_close_matches(name, REFERENCE_MODELS, n=1)
        advice = f"did you mean zoo:{nearest[0]}?" if nearest else f"there are: {', '.join(REFERENCE_MODELS)}"
        msg = f"zoo:{name}: no such reference model; {advice}"
        raise ConfigError(msg)
    folder = Path(str(files("models.zoo")))
    return read_toml(folder / f"{name}.toml")


def _at_home(path: str) -> Path:
    """Put the home folder in place of ``~``."""
    return Path(path).expanduser() if path == "~" or path.startswith("~/") else Path(path)


def is_import_path(source: str) -> bool:
    """Tell ``package.module:function`` from a path."""
    module, colon, function = source.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))
