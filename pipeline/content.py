"""Digests of files and values, and files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from pipeline.artifacts import Artifact, Source
from pipeline.sections import keyed


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digests(folder: Path) -> dict[str, str]:
    """Map every file below ``folder`` (POSIX path, sorted) to its SHA-256.

    Raises:
        OSError: one of them cannot be read.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values have equal bytes.

    Of a section only the settings that can change a result count, of an artifact or source its digest.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return keyed(value)
    if isinstance(value, Artifact | Source):
        return value.digest
    if is_dataclass(value):
        return [type(value).__qualname__, {each.name: getattr(value, each.name) for each in fields(value)}]
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def sha256_of(value: Any) -> str:
    """Return the SHA-256 of a value's ``canonical_json``, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_whole(path: Path, text: str) -> None:
    """Write a file as a whole or not at all: a full disk leaves the old one and nothing new.

    Raises:
        OSError: it cannot be written.
    """
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
