"""Write inferred settings as a ``pipeline.toml`` with comments."""

from __future__ import annotations

import copy
import os
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.setting_help import SCHEMA_NAME
from pipeline.setting_paths import change_paths
from pipeline.toml_text import toml_key, toml_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.initial_settings.inferring import Inferred

    Raw = dict[str, Any]

WIDTH = 100
COMMENT_COLUMN = 34
FIRST = ("project", "model", "data", "preprocessing")
OFTEN_CHANGED: dict[str, tuple[tuple[str, Any, str], ...]] = {
    "data": (("test_fraction", 0.2, "share to test on, if the data has no test set of its own"),),
    "compress": (
        ("method", "weights", "others: pipeline config explain compress.method"),
        ("sparsity", "auto", "as many zeros as cost nothing; or a share, such as 0.75"),
    ),
    "quantize": (("method", "auto", 'the best of "qat" and "ptq"; "ptq" alone does not train'),),
    "gates": (
        ("accuracy_drop_points", 1.0, "how much int8 may lose, in points"),
        ("size_ratio", 0.5, "maximum size, as a share of the float file"),
        ("download_bytes", 40000, "maximum size of the download; no default"),
    ),
    "release": (
        ("description", "", "what the model is for; part of the model card"),
        ("license", "", 'such as "Apache-2.0"'),
        ("authors", [], 'such as ["Ada Lovelace"]'),
    ),
}
"""By section, the keys that users change first, with the default and what they are."""


def project_name(model: str) -> str:
    """Return a release name made of a model's file name: ``my model v2.keras`` is ``my-model-v2``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", Path(model).stem).strip("._-")[:64] or "model"


def relative_paths(settings: Raw, folder: Path) -> Raw:
    """Return settings whose paths are relative to a folder."""
    found = copy.deepcopy(settings)
    change_paths(found, lambda path: Path(os.path.relpath(path, folder)).as_posix())
    return found


def settings_text(inferred: Inferred, settings: Raw, command: str) -> str:
    """Return inferred settings as TOML with the reasons, and what is often changed as comments.

    Args:
        inferred: with the reasons.
        settings: its settings, with paths relative to the file's folder.
        command: that builds with them.
    """
    lines = [f"#:schema ./{SCHEMA_NAME}", f"# Written by pipeline init. Build it: {command}"]
    lines += ["# Explain a key: pipeline config explain KEY. Show all settings: pipeline config show"]
    lines += [line for reason in inferred.reasons.get("", ()) for line in _comment(reason)]
    if inferred.problem:
        lines += _comment(f"PROBLEM: a build stops, because {inferred.problem}")
    at_top = [
        f"{toml_key(key)} = {toml_value(value)}" for key, value in settings.items() if not _is_table(value)
    ]
    lines += ["", *at_top] if at_top else []
    names = dict.fromkeys([*FIRST, *settings, *OFTEN_CHANGED])
    for name in names:
        if name == "compress" and name in settings and not _is_table(settings[name]):
            continue
        block = list(_section(name, settings.get(name), inferred.reasons))
        lines += ["", *block] if block else []
    return "\n".join(lines) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _section(name: str, value: Any, reasons: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield the lines of a section: what is set, and as comments what is often changed."""
    if isinstance(value, list):
        for number, table in enumerate(value):
            yield from ["", f"[[{name}]]"] if number else [f"[[{name}]]"]
            yield from (line for _, line in _lines(table))
        return
    often = OFTEN_CHANGED.get(name, ())
    if not _is_table(value):
        if often:
            yield f"# [[{name}]]" if name == "compress" else f"# [{name}]"
            yield from _often(often)
        elif name in reasons:
            yield from (line for reason in reasons[name] for line in _comment(reason))
        return
    inputs = {key: each for key, each in value.items() if isinstance(each, dict) and name == "preprocessing"}
    own = {key: each for key, each in value.items() if key not in inputs}
    if own or not inputs:
        yield f"[{name}]"
    yield from (line for reason in reasons.get(name, ()) for line in _comment(reason))
    for key, line in _lines(own):
        yield from (text for reason in reasons.get(f"{name}.{key}", ()) for text in _comment(reason))
        yield line
    yield from _often(tuple(each for each in often if each[0] not in own))
    for number, (key, table) in enumerate(inputs.items()):
        yield from ["", f"[{name}.{toml_key(key)}]"] if number or own else [f"[{name}.{toml_key(key)}]"]
        yield from (line for _, line in _lines(table))


def _lines(table: Raw, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each key of a table with its line; those of tables in it with dots."""
    for key, value in table.items():
        name = f"{prefix}{toml_key(key)}"
        if isinstance(value, dict) and value:
            yield from _lines(value, f"{name}.")
        else:
            line = f"{name} = {toml_value(value)}"
            yield name, line if len(line) <= WIDTH or not isinstance(value, list) else _wrapped(name, value)


def _wrapped(name: str, values: list[Any]) -> str:
    """Return a long list on several lines."""
    listed = textwrap.wrap(
        ", ".join(toml_value(each).replace(" ", "\0") for each in values), WIDTH - 4,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    body = "\n".join(f"    {line}" for line in listed).replace("\0", " ")
    return f"{name} = [\n{body},\n]"


def _often(rows: tuple[tuple[str, Any, str], ...]) -> Iterator[str]:
    for key, value, meaning in rows:
        yield f"{f'# {key} = {toml_value(value)}':{COMMENT_COLUMN}}  # {meaning}"


def _comment(text: str) -> list[str]:
    """Return a text as comment lines; no control character gets into the file."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return [f"# {line}" for line in textwrap.wrap(plain, WIDTH - 2, break_long_words=False)]
