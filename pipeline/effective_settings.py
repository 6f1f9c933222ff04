"""The settings that a build would have, key by key, and where each comes from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from pipeline.config import PreprocessingConfig
from pipeline.sections import MethodSection
from pipeline.toml_source import depth_of
from pipeline.toml_text import toml_key, toml_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.build_config import BuildConfig

DEFAULT = "default"
COMMENT_COLUMN = 44
Place = tuple[str, ...]


@dataclass(frozen=True)
class Layer:
    """Settings that lie over those of earlier layers.

    Attributes:
        origin: what to call them, such as "pipeline.toml" or "--set".
        raw: nested, as TOML has them; a number is a place in a list.
    """

    origin: str
    raw: dict[str, Any]


@dataclass(frozen=True)
class Effective:
    """A setting of a build.

    Attributes:
        place: its sections and key; a number is a place in a list.
        value: JSON-like; None if it is not set.
        origin: of the layer that set it last, or "default".
    """

    place: Place
    value: Any
    origin: str

    @property
    def key(self) -> str:
        """The key as ``--set`` takes it."""
        return ".".join(map(toml_key, self.place))


def effective_settings(config: BuildConfig, layers: Sequence[Layer]) -> tuple[Effective, ...]:
    """Return every setting of a build with its origin.

    Args:
        config: the settings, as validated.
        layers: what was given, the later ones over the earlier ones.
    """
    return tuple(Effective(place, value, _origin(place, layers)) for place, value in _values(config, ()))


def _values(section: BaseModel, place: Place, *, only_given: bool = False) -> Iterator[tuple[Place, Any]]:
    plain = section.model_dump(mode="json", by_alias=True)
    deeper: list[tuple[Place, Any]] = []
    for name, field in type(section).model_fields.items():
        key, value = field.alias or name, getattr(section, name)
        at = (*place, key)
        if only_given and name not in section.model_fields_set:
            continue
        if isinstance(section, PreprocessingConfig) and name == "per_input":
            for port, own in value.items():
                deeper += _values(own, (*place, port), only_given=True)
        elif isinstance(value, BaseModel):
            deeper += _values(value, at)
        elif isinstance(value, tuple) and value and isinstance(value[0], MethodSection):
            for number, each in enumerate(value):
                deeper += _values(each, (*at, str(number)))
        else:
            yield at, plain[key]
    yield from deeper


def _origin(place: Place, layers: Sequence[Layer]) -> str:
    return next(
        (layer.origin for layer in reversed(layers) if depth_of(layer.raw, place) == len(place)), DEFAULT
    )


def settings_lines(found: Sequence[Effective]) -> list[str]:
    """Return settings as the lines of a TOML file that gives the same ones, with the origin of each.

    Defaults are comments: some settings may only be said where others make them matter.
    """
    lines: list[str] = []
    for table, group in groupby(found, key=_table_of):
        settings = list(group)
        is_given = any(each.origin != DEFAULT for each in settings)
        name = f"[[{table[0]}]]" if len(table) == 2 else f"[{'.'.join(map(toml_key, table))}]"
        lines += [""] if lines else []
        lines += [f"{'' if is_given else '# '}{name}"] if table else []
        lines += [_line(each, len(table), is_given=is_given) for each in settings]
    return lines


def _table_of(setting: Effective) -> Place:
    """Return the section that a setting is listed in: ``gates``, or a place in ``compress``."""
    depth = 2 if setting.place[0] == "compress" else 1
    return setting.place[:depth] if len(setting.place) > depth else ()


def _line(setting: Effective, depth: int, *, is_given: bool) -> str:
    key = ".".join(map(toml_key, setting.place[depth:]))
    if setting.value is None:
        return f"# {key} is not set"
    is_said = setting.origin != DEFAULT or (is_given and key == "method" and depth == 2)
    line = f"{'' if is_said else '# '}{key} = {toml_value(setting.value)}"
    return f"{line:{COMMENT_COLUMN}}  # {setting.origin}"
