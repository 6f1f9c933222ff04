"""Settings as a ``pipeline.toml``."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from pipeline.setting_paths import change_paths

if TYPE_CHECKING:
    from pipeline.build_config import BuildConfig


def plain_settings(config: BuildConfig) -> dict[str, Any]:
    """Return the settings that were said, as in ``pipeline.toml``; the steps and the method always are.

    Paths are absolute, so that they hold in the folder of any worker.
    """
    raw: dict[str, Any] = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    raw["compress"] = [_table(step) for step in config.compress]
    raw["quantize"] = _table(config.quantize)
    raw["project"] = config.project.model_dump(mode="json", by_alias=True)
    raw["seed"] = config.seed
    found: dict[str, Any] = _without_none(raw)
    change_paths(found, lambda path: str(Path(path).absolute()))
    return found


def _table(section: Any) -> dict[str, Any]:
    return {"method": section.method, **section.model_dump(mode="json", by_alias=True, exclude_unset=True)}


def _without_none(value: Any) -> Any:
    """Leave out what is None, which TOML does not have."""
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_none(each) for each in value]
    return value


def settings_text(settings: dict[str, Any], folder: Path) -> str:
    """Return plain settings as TOML for a file in ``folder``, from which paths are relative."""
    found = copy.deepcopy(settings)
    change_paths(found, lambda path: os.path.relpath(path, folder))
    text: str = tomli_w.dumps(found)
    return text
