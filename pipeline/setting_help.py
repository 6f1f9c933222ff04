"""Look up settings in the JSON Schema that is shipped, without importing what they configure."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLE = "Settings of edge-deploy-pipeline"
SCHEMA_NAME = "pipeline.schema.json"
METHOD_TABLES = ("compress", "quantize")
"""Sections whose keys depend on their method."""
PER_INPUT = "NAME"
"""Stands for the name of an input in ``preprocessing.NAME.scale``."""
NUMBERS = {"integer": "whole number", "number": "number"}
NAMES = {"string": "text", "boolean": "true or false", "object": "table"} | NUMBERS
LARGE = 2**31
"""Upper limits from here on are those of a computer, not of the setting."""


@dataclass(frozen=True)
class Setting:
    """One key of ``pipeline.toml``.

    Attributes:
        key: with dots, such as "gates.size_ratio"; without the method of its table.
        method: the method that has it; "" outside of ``[[compress]]`` and ``[quantize]``.
        schema: its JSON Schema.
    """

    key: str
    method: str
    schema: dict[str, Any]

    @property
    def meaning(self) -> str:
        return str(self.schema.get("description", ""))

    @property
    def default(self) -> str:
        """The default as TOML writes it; "" if there is none."""
        default = self.schema.get("default")
        return "" if default is None else json.dumps(default, ensure_ascii=False)

    @property
    def allowed(self) -> str:
        """Which values it takes, in words."""
        return allowed(self.schema)

    @property
    def where(self) -> str:
        """How to begin the line in ``pipeline.toml``: ``[gates] size_ratio``."""
        section, _, key = self.key.partition(".")
        if not key:
            return section
        if section == "compress":
            return f"[[compress]] {key}"
        name, _, last = self.key.rpartition(".")
        is_deep = section in METHOD_TABLES or (section == "preprocessing" and name == section)
        return f"[{section}] {key}" if is_deep else f"[{name}] {last}"


def schema_text() -> str:
    """Return the JSON Schema of the settings, as it is shipped."""
    return files("pipeline").joinpath(SCHEMA_NAME).read_text(encoding="utf-8")


def all_settings() -> tuple[Setting, ...]:
    """Return every key, in the order of the reference page."""
    return tuple(_walk(json.loads(schema_text()), "", ""))


def _walk(schema: dict[str, Any], key: str, method: str) -> Iterator[Setting]:
    tables = schema.get("oneOf") or schema.get("items", {}).get("oneOf")
    if tables:
        named = [table["properties"]["method"] for table in tables]
        default = (
            {"default": found[0]}
            if (found := [each["default"] for each in named if "default" in each])
            else {}
        )
        values = {"enum": [each["const"] for each in named]}
        yield Setting(f"{key}.method", "", {"description": named[0]["description"], **values, **default})
        for table in tables:
            rest = {name: each for name, each in table["properties"].items() if name != "method"}
            yield from _walk({"properties": rest}, key, table["title"])
        return
    if "properties" not in schema:
        yield Setting(key, method, schema)
        return
    for name, each in schema["properties"].items():
        yield from _walk(each, f"{key}.{name}".lstrip("."), method)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _walk(schema["additionalProperties"], f"{key}.{PER_INPUT}", method)


def find_settings(key: str) -> tuple[Setting, ...]:
    """Return the settings with a key, or those of a section; several methods may have the same key.

    Places in lists are passed over, so that a key may be written as ``--set`` takes it, and a method may be
    named after its table: ``compress.0.sparsity``, ``compress.weights.sparsity``, ``quantize.training``.

    Raises:
        ConfigError: there is none; suggests the nearest.
    """
    known = all_settings()
    parts = [part for part in key.strip("[] ").replace("]]", "").replace("] ", ".").split(".") if part]
    wanted = [part for part in parts if not part.isdecimal()]
    method = ""
    if len(wanted) > 1 and wanted[0] in METHOD_TABLES and wanted[1] in {each.method for each in known}:
        method = wanted.pop(1)
    name = ".".join(wanted)
    found = [
        each
        for each in known
        if (each.key == name or each.key.startswith(f"{name}.")) and method in ("", each.method)
    ]
    if not found and len(wanted) > 2 and wanted[0] == "preprocessing":
        name = ".".join((wanted[0], PER_INPUT, *wanted[2:]))
        found = [each for each in known if each.key == name]
    if not found:
        raise _unknown(key, name, known)
    return tuple(found)


def _unknown(given: str, name: str, known: tuple[Setting, ...]) -> ConfigError:
    last = name.rpartition(".")[2]
    keys = list(dict.fromkeys(each.key for each in known))
    same = [key for key in keys if key.rpartition(".")[2] == last]
    near = same or difflib.get_close_matches(name, keys, 3, 0.6)
    lasts = {key.rpartition(".")[2]: key for key in reversed(keys)}
    near = near or [lasts[each] for each in difflib.get_close_matches(last, lasts, 1, 0.6)]
    advice = (
        f"did you mean {' or '.join(map(repr, near[:3]))}?" if near else "list all: pipeline config explain"
    )
    return ConfigError(f"unknown setting {given!r}; {advice}")


def allowed(schema: dict[str, Any]) -> str:
    """Return in words which values a schema takes: ``number above 0 and below 1``."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(map(allowed, schema["anyOf"])))
    if "enum" in schema or "const" in schema:
        return ", ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "")
    if kind == "array":
        few = "one or more of " if schema.get("minItems") else "list of "
        return f"{few}{allowed(schema.get('items', {}))}".replace("list of text", "list of texts")
    limits = []
    for limit, words in (("minimum", "at least"), ("exclusiveMinimum", "above")):
        limits += [f"{words} {schema[limit]}"] if limit in schema else []
    for limit, words in (("maximum", "at most"), ("exclusiveMaximum", "below")):
        limits += [f"{words} {schema[limit]}"] if schema.get(limit, LARGE) < LARGE else []
    pattern = [f"matching {schema['pattern']}"] if "pattern" in schema else []
    return " ".join([NAMES.get(kind, kind), " and ".join([*limits, *pattern])]).strip()
