"""Versions of ``report.json``: one function takes a report from each version to the next.

A change after which released reports could not be read any more raises ``SCHEMA_VERSION`` and adds a function
to ``_STEPS``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Values = dict[str, Any]

SCHEMA_VERSION = 2


def migrated(values: Values) -> Values:
    """Return the values of a report in the current version; reports before version 1 do not name theirs.

    Raises:
        ValueError: the version is later than this one, or not a version.
        KeyError: a field is missing.
    """
    version = values.get("schema_version", 0)
    if type(version) is not int or version < 0:
        msg = f"schema_version must be an integer from 0 to {SCHEMA_VERSION}, got {json.dumps(version)}"
        raise ValueError(msg)
    if version > SCHEMA_VERSION:
        msg = f"schema version {version} is newer than {SCHEMA_VERSION}; update the pipeline"
        raise ValueError(msg)
    for step in _STEPS[version:]:
        values = step(values)
    return {key: value for key, value in values.items() if key not in {"schema_version", "passed"}}


# Before version 1 a verdict's gate was a title such as "same bits on rpi4".
_GATE_TITLES: tuple[tuple[str, str, str], ...] = (
    (r"same bits on the board", "board", "bit-exactness"),
    (r"stable on the board", "board", "stability"),
    (r"memory on the board", "board", "memory"),
    (r"same bits on (.+)", "bit-exactness", r"\1"),
    (r"stable on (.+)", "stability", r"\1"),
    (r"instructions on (.+)", "instructions", r"\1"),
    (r"host latency", "latency", ""),
    (r"XNNPACK( int8)?", "xnnpack", ""),
    (r"class recall(?: of (.+))?", "per-class recall", r"\1"),
    (r"float baseline(?: of (.+))?", "float baseline", r"\1"),
    (r"regression of instructions on (.+)", "regression", r"instructions, \1"),
    (r"regression of (.+)", "regression", r"\1"),
    (r"accuracy(?: of (.+?))?(?: on (.+))?", "accuracy", r"\1, \2"),
    (r"accuracy by channel(?: of (.+?))?(?: on (.+))?", "accuracy", r"by channel, \1, \2"),
    (r"(AUC)(?: of (.+?))?(?: on (.+))?", "accuracy", r"\1, \2, \3"),
    (r"((?:tflite-runtime|litert).*)", "cross-runtime", r"\1"),
    (r"(full integer|size|finite outputs|faults|shift|compatibility)", r"\1", ""),
)


def _to_1(values: Values) -> Values:
    """Gates by name, "skipped" for "not judged", facts as fields instead of lines of text."""
    shift = values["shift"]
    if shift is not None:
        shift = shift | {"shifts": [_renamed_outcome(found, "verdict") for found in shift["shifts"]]}
    return values | {
        "verdicts": [_renamed_outcome(_with_gate(found), "outcome") for found in values["verdicts"]],
        "shift": shift,
        "quantized": _with_operators(values["quantized"]),
        "baseline": values["baseline"] and _with_operators(values["baseline"]),
        "unrolled": [
            line.partition(": ")[0] for line in values.get("rewrites", ()) if "unrolled over" in line
        ],
    }


_FAULT_NAMES = {"done": "action", "ok": "passed", "least_mib": "min_mib"}
_AGAINST_NAMES = {"other": "reference", "other_name": "reference_name", "ours": "candidate"}


def _to_2(values: Values) -> Values:
    """Standard terms as names of fields."""
    return values | {
        "shift": _renamed_keys(values["shift"], {"of_use": "informative"}),
        "stability": _renamed_keys(values["stability"], _FAULT_NAMES),
        "board": _renamed_keys(values.get("board"), _FAULT_NAMES),
        "against": _renamed_keys(values["against"], _AGAINST_NAMES),
    }


def _renamed_keys(value: Any, names: Mapping[str, str]) -> Any:
    """Rename keys at every depth of JSON-like values."""
    if isinstance(value, dict):
        return {names.get(key, key): _renamed_keys(each, names) for key, each in value.items()}
    return [_renamed_keys(each, names) for each in value] if isinstance(value, list) else value


def _renamed_outcome(found: Values, key: str) -> Values:
    return found | {key: "skipped"} if found[key] == "not judged" else found


def _with_gate(verdict: Values) -> Values:
    for pattern, gate, subject in _GATE_TITLES:
        if match := re.fullmatch(pattern, verdict["gate"]):
            parts = match.expand(subject).split(", ")
            return verdict | {"gate": match.expand(gate), "subject": ", ".join(filter(None, parts))}
    return verdict


def _with_operators(file: Values) -> Values:
    """Lines such as "1/3 CONV_2D (float32 model/conv)" become records."""
    operators = []
    for line in file["float_operators"]:
        match = re.fullmatch(r"(?:(\d+)/)?(\d+) (\S+) \((\S+) (.*)\)", line, re.DOTALL)
        if match is None:
            msg = f"float operator {line!r} cannot be read"
            raise ValueError(msg)
        subgraph, index, name, dtype, tensor = match.groups()
        operators.append(
            {
                "subgraph": int(subgraph or 0),
                "index": int(index),
                "name": name,
                "dtype": dtype,
                "tensor": tensor,
            }
        )
    return file | {"float_operators": operators}


_STEPS: tuple[Callable[[Values], Values], ...] = (_to_1, _to_2)
