"""The JSON Schema of ``pipeline.toml``: types and limits from the code, meanings from the reference page.

``python -m pipeline.setting_schema docs/reference/configuration.md > pipeline/pipeline.schema.json``
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.build_config import BuildConfig
from pipeline.compress.steps import COMPRESS
from pipeline.config import InputPreprocessing
from pipeline.quantize.methods import QUANTIZE, AutoConfig
from pipeline.setting_help import TITLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
"""The newest draft that Taplo, the TOML language server of most editors, reads."""
_SECTION = re.compile(r"^#{2,3} (?:`\[+(?P<name>[\w.]+)\]+`(?P<methods> with `method = .*)?|Top level)$")
_METHOD = re.compile(r'"(\w+)"')
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def meanings(page: str) -> dict[str, str]:
    """Return the meaning of each key, ``gates.size_ratio`` or ``compress.weights.sparsity``, as plain text.

    Args:
        page: the text of docs/reference/configuration.md.
    """
    found: dict[str, str] = {}
    sections: list[str] = []
    for line in page.splitlines():
        if line.startswith("#"):
            heading = _SECTION.match(line)
            name = heading["name"] if heading else None
            methods = _METHOD.findall(heading["methods"] or "") if heading else []
            sections = [f"{name}.{method}." for method in methods] or [f"{name}." if name else ""]
            sections = sections if heading else []
        elif cells := re.fullmatch(r"\| `([\w.]+)` \|([^|]*)\| (.*) \|", line):
            found |= {f"{section}{cells[1]}": _plain(cells[3]) for section in sections}
    return found


def _plain(markdown: str) -> str:
    return _LINK.sub(r"\1", markdown).replace("`", "").replace("\\|", "|")


def settings_schema(page: str) -> Schema:
    """Return the JSON Schema of the settings.

    References are written out, because the same training has other defaults in each step, and because
    editors show no description beside a ``$ref``.

    Args:
        page: the text of docs/reference/configuration.md.
    """
    known = meanings(page)
    schema = _of_model(BuildConfig, known, "")
    sections = schema["properties"]
    described = {name: sections[name].get("description") for name in ("compress", "quantize")}
    steps = [_of_method(row.config, name, known, "compress", required=True) for name, row in COMPRESS.items()]
    sections["compress"] = {"type": "array", "items": {"oneOf": steps}}
    default = AutoConfig().method
    methods = [
        _of_method(row.config, name, known, "quantize", required=name != default)
        for name, row in QUANTIZE.items()
    ]
    sections["quantize"] = {"oneOf": methods}
    for name, text in described.items():
        sections[name] |= {"description": text} if text else {}
    preprocessing = sections["preprocessing"]
    del preprocessing["properties"]["per_input"]
    preprocessing["additionalProperties"] = _of_model(InputPreprocessing, known, "preprocessing.")
    return {"$schema": DRAFT, "title": TITLE, **schema}


def _of_model(model: type[BaseModel], known: Mapping[str, str], prefix: str) -> Schema:
    """Return the schema of a section, without references."""
    raw = model.model_json_schema()
    return _section(raw, raw.get("$defs", {}), known, prefix, {})


def _of_method(
    model: type[BaseModel], name: str, known: Mapping[str, str], table: str, *, required: bool
) -> Schema:
    """Return the schema of a table with a method, whose name tells it from the others."""
    schema = _of_model(model, known, f"{table}.{name}.")
    given = schema["properties"]["method"]
    meaning = known.get(f"{table}.method")
    schema["properties"]["method"] = (
        {"const": name} | ({"description": meaning} if meaning else {}) | ({} if required else given)
    )
    schema["title"] = name
    if required:
        schema["required"] = ["method"]
    return schema


def _section(
    raw: Schema, definitions: Schema, known: Mapping[str, str], prefix: str, defaults: Mapping[str, Any]
) -> Schema:
    properties = {}
    for key, field in raw["properties"].items():
        default = defaults.get(key, field.get("default"))
        properties[key] = _field(field, definitions, known, f"{prefix}{key}", default)
    required = {"required": raw["required"]} if raw.get("required") else {}
    return {"type": "object", "properties": properties, **required, "additionalProperties": False}


def _field(raw: Schema, definitions: Schema, known: Mapping[str, str], key: str, default: Any) -> Schema:
    """Return the schema of a value or nested section, with its description and default."""
    if "$ref" in raw:
        section = definitions[raw["$ref"].rpartition("/")[2]]
        return _section(section, definitions, known, f"{key}.", default if isinstance(default, dict) else {})
    schema = _value(raw, definitions)
    if meaning := known.get(key):
        schema = {"description": meaning, **schema}
    return schema if default is None else schema | {"default": default}


def _value(raw: Schema, definitions: Schema) -> Schema:
    """Return the schema of a value as TOML has it: without null; a text may stand for a list of one."""
    if "$ref" in raw:
        return _section(definitions[raw["$ref"].rpartition("/")[2]], definitions, {}, "", {})
    schema = {key: value for key, value in raw.items() if key not in {"title", "default", "format"}}
    if "anyOf" in schema:
        choices = [_value(each, definitions) for each in schema.pop("anyOf") if each.get("type") != "null"]
        return schema | (choices[0] if len(choices) == 1 else {"anyOf": choices})
    if "items" in schema:
        schema["items"] = _value(schema["items"], definitions)
        of_text = schema["items"].get("type") == "string" or "enum" in schema["items"]
        return {"anyOf": [schema, schema["items"]]} if of_text else schema
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = _value(schema["additionalProperties"], definitions)
    return schema


def schema_text(page: str) -> str:
    """Return the schema as the file that is shipped."""
    return json.dumps(settings_schema(page), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text(Path(sys.argv[1]).read_text(encoding="utf-8")))
