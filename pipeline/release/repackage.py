"""Repackage a release with a new version, rollback index or expiry date; model and documents do not change.

The manifest, what is made of it, and the signature are new.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from deploy.bundle import release_name, seal
from deploy.contents import CHECKSUMS, DEBIAN_FOLDER, SIGNATURE, check_manifest, check_sums
from deploy.manifest import MANIFEST, Manifest, read_manifest
from pipeline.build_config import problem_of_flag
from pipeline.config import ProjectConfig
from pipeline.errors import ConfigError, IntegrityError, storing
from pipeline.release.manifest import counter_of, created_at
from pipeline.release.release import publish

if TYPE_CHECKING:
    from collections.abc import Mapping

SEALED = (MANIFEST, CHECKSUMS, SIGNATURE)


def repack(
    source: Path,
    out: Path,
    *,
    version: str | None = None,
    counter: int | None = None,
    expires: date | None = None,
    key: Path | str | None = None,
    password: str | None = None,
) -> Path:
    """Write ``source`` as a new release into ``out``, and return the new folder.

    Args:
        source: a release folder; nothing in it is changed.
        out: the folder that the new one is published in, replacing one of its name.
        version: None keeps it.
        counter: None makes it of a new version's numbers, and else keeps it.
        expires: None keeps it.
        key: signs the new release, a path or PEM text; None leaves it unsigned.
        password: of the key, where it is encrypted.

    Raises:
        SignatureError: ``source`` is not as its checksums and manifest say.
        ConfigError: the version is not valid, the rollback index would fall, or the expiry date is
            in the past.
        StageError: it cannot be written.
    """
    sums = check_sums(source)
    old = check_manifest(source, sums)
    new = _changed(old, version, counter, expires)
    kept = [name for name in sums if name not in SEALED and not name.startswith(f"{DEBIAN_FOLDER}/")]
    names = {name: _renamed(name, old.full_name, new.full_name) for name in kept}
    with storing("release"):
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".release-", dir=out) as private:
            (folder := Path(private) / new.full_name).mkdir()
            for name, renamed in names.items():
                (folder / renamed).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, folder / renamed, follow_symlinks=False)
            seal(folder, new)
            _require_same(folder, {names[name]: old.files[name] for name in names if name in old.files})
            publish(folder, out / new.full_name, key, password)
    return out / new.full_name


def _changed(old: Manifest, version: str | None, counter: int | None, expires: date | None) -> Manifest:
    if expires is not None and expires < datetime.now(UTC).date():
        msg = f"--expires {expires} is in the past; give a future date"
        raise ConfigError(msg)
    new_version = old.version if version is None else version
    try:
        ProjectConfig(version=new_version)
    except ValidationError as error:
        raise problem_of_flag(error, {"version": "--version"}) or error from error
    name = release_name(old.name, new_version, old.target)
    changes = {
        "version": new_version,
        "expires": expires or old.expires,
        "created": created_at() or old.created,
        "model": _renamed(old.model, old.full_name, name),
    }
    try:
        new = Manifest.model_validate(old.model_dump() | changes)
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"--{'.'.join(map(str, first['loc']))} {first['input']!r}: {first['msg']}"
        raise ConfigError(msg) from error
    if counter is None:
        counter = old.counter if version is None else counter_of(version, "--counter")
        if counter < old.counter:
            msg = (
                f"the rollback index would fall from {old.counter} to {counter}, and devices would reject "
                "the release; give --counter"
            )
            raise ConfigError(msg)
    return new.model_copy(update={"counter": counter})


def _renamed(file: str, old: str, new: str) -> str:
    """Return a file's new path: those beside the manifest that carry the release's name get the new one."""
    return f"{new}{file.removeprefix(old)}" if file.startswith(f"{old}.") else file


def _require_same(folder: Path, expected: Mapping[str, str]) -> None:
    if read_manifest(folder).files != expected:
        msg = "the release changed while it was copied; repackage it again"
        raise IntegrityError(msg)
