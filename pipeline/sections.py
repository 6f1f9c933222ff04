"""Common base of the sections of ``pipeline.toml``."""

from __future__ import annotations

import difflib
import re
import reprlib
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator, model_validator

from pipeline.errors import ConfigError
from pipeline.events import Warned, emit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""Allowed names and versions; both become parts of file names."""

PLAIN = {
    "tuple_type": "a list is expected",
    "too_short": "at least one entry is expected",
    "int_parsing": "a whole number is expected",
    "int_type": "a whole number is expected",
    "int_from_float": "a whole number is expected",
    "float_parsing": "a number is expected",
    "float_type": "a number is expected",
    "string_type": "text is expected",
    "bool_type": "true or false is expected",
    "bool_parsing": "true or false is expected",
}
"""Pydantic's kinds of errors, in words for users."""

LIMITS = {
    "greater_than": "above",
    "greater_than_equal": "at least",
    "less_than": "below",
    "less_than_equal": "at most",
}

_QUOTED = re.compile(r"'([^']*)'")


@dataclass(frozen=True)
class Unkeyed:
    """A setting that cannot change a result, such as a time-out, and so is in no cache key.

    Write ``Annotated[float, Unkeyed()]`` for a field of a section, ``Unkeyed(value)`` for any other setting.
    """

    value: Any = None


@dataclass(frozen=True)
class ByContent:
    """A path whose content is an input of the stage: of the path itself, a key contains only the last name.

    A name may say how the content is read, and is in notes on it. Write ``Annotated[Path, ByContent()]`` for
    a field of a section.
    """


class Section(BaseModel):
    """A frozen section; ``renamed`` maps old keys, accepted with a warning, to their new names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    renamed: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _accept_old_keys(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not cls.renamed.keys() & raw.keys():
            return raw
        for old in cls.renamed.keys() & raw.keys():
            if cls.renamed[old] in raw:
                msg = f'"{old}" is the old name of "{cls.renamed[old]}"; give only the new one'
                raise ConfigError(msg)
            _warn_renamed("the key", old, cls.renamed[old])
        return {cls.renamed.get(key, key): value for key, value in raw.items()}

    @field_validator("*", mode="before")
    @classmethod
    def _prepare(cls, value: Any, info: ValidationInfo) -> Any:
        """Accept a single text for a list, and refuse true and false for numbers.

        What a table leaves out is taken from the field's default, not from the defaults of its class.
        """
        field = cls.model_fields[info.field_name or ""]
        annotation = field.annotation
        if isinstance(value, dict) and isinstance(field.default, Section):
            return field.default.model_dump(exclude_unset=True) | value
        if isinstance(value, str) and get_origin(annotation) is tuple:
            return (value,)
        values = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(each, bool) for each in values) and not _takes_booleans(annotation):
            msg = "a number or text is expected, without true or false"
            raise ValueError(msg)
        return value


def renamed_value(what: str, renamed: Mapping[str, str]) -> BeforeValidator:
    """Accept the old names of values, with a warning; ``what`` is e.g. "the gate"."""

    def current(value: Any) -> Any:
        if not isinstance(value, str) or value not in renamed:
            return value
        _warn_renamed(what, value, renamed[value])
        return renamed[value]

    return BeforeValidator(current)


def _warn_renamed(what: str, old: str, new: str) -> None:
    emit(Warned(text=f'{what} "{old}" is now called "{new}"; the old name will be removed'))


class MethodSection(Section):
    """The settings of one of several methods, which ``method`` names."""

    method: str


def advice(name: str, known: Iterable[str], what: str) -> str:
    """Suggest the known name that is nearest to a wrong one, or list all of them."""
    known = list(known)
    nearest = next(
        filter(None, (difflib.get_close_matches(n, known, 1, 0.5) for n in (name, name.lower()))), None
    )
    return f"did you mean {nearest[0]!r}?" if nearest else f"known {what}: {', '.join(sorted(known))}"


def problem(error: ErrorDetails, what: str = "value") -> str:
    """Return in one line what is wrong with a value and, if possible, what to write instead.

    Args:
        error: what Pydantic found.
        what: what to call an unknown value of a fixed list, such as "task".
    """
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    shown = reprlib.repr(given)
    if kind == "literal_error":
        return (
            f"unknown {what} {shown}; {advice(str(given), _QUOTED.findall(context['expected']), f'{what}s')}"
        )
    if kind.startswith("date"):
        return f"{shown} is not a date; write it as 2027-06-30"
    if kind in {"less_than", "less_than_equal"} and context.get("lt", context.get("le")) == 1 < given <= 100:
        return f"{given:g} is out of range; it is a fraction, write {given / 100:g} for {given:g} %"
    if kind in LIMITS:
        (limit,) = context.values()
        return f"{shown} is out of range; allowed: {LIMITS[kind]} {limit}"
    if kind == "missing":
        return "it is missing; add it"
    if kind == "string_pattern_mismatch" and context["pattern"] == FILE_NAME:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", given).strip("._-")[:64] or "my-model"
        reason = "contains a space" if " " in given else "cannot be part of a file name"
        return f"{shown} {reason}; use letters, digits, '.', '_' and '-', e.g. {plain}"
    if kind in PLAIN:
        return f"{PLAIN[kind]}, got {shown}"
    message = error["msg"].removeprefix("Value error, ")
    got = "" if kind == "missing" or shown in message else f", got {shown}"
    return f"{message[:1].lower()}{message[1:]}{got}"


def _takes_booleans(annotation: Any) -> bool:
    return annotation is bool or any(map(_takes_booleans, get_args(annotation)))


def keyed(section: BaseModel) -> dict[str, Any]:
    """Return the settings of a section that can change a result, as JSON-like values."""
    values = section.model_dump(mode="json", by_alias=True, exclude=_unkeyed(type(section)))
    _leave_names(section, values)
    return values


def _leave_names(section: BaseModel, values: dict[str, Any]) -> None:
    for name, field in type(section).model_fields.items():
        key, value = field.alias or name, getattr(section, name)
        if isinstance(value, BaseModel) and key in values:
            _leave_names(value, values[key])
        elif value is not None and any(isinstance(mark, ByContent) for mark in field.metadata):
            values[key] = PurePath(value).name


def _unkeyed(section: type[BaseModel]) -> dict[str, Any]:
    """Return which fields to leave out, those of nested sections included, as ``model_dump`` takes them."""
    found: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        if any(isinstance(mark, Unkeyed) for mark in field.metadata):
            found[name] = True
            continue
        kind = field.annotation
        nested = _unkeyed(kind) if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
        if nested:
            found[name] = nested
    return found
