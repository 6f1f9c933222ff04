"""The files of a release folder: which there are, their checksums, and whether they are as they were written.

A folder may come from anywhere. It is looked at with ``lstat`` before anything in it is opened, so that no
link is followed, no pipe waited for, and nothing read that is larger than a release can be.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import DeployError, SignatureError
from deploy.manifest import MANIFEST, Manifest, Release, read_release

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date

CHECKSUMS = "SHA256SUMS"
SIGNATURE = "release.sig"
# They hold measured times, so they are in the checksums and the signature but not in the manifest.
REPORTS = ("report.json", "report.txt", "report.html")
# Where the .deb is: it holds the manifest, so the manifest cannot hold its hash.
DEBIAN_FOLDER = "raspberrypi"

MAX_FILES = 4096
MAX_BYTES = 4 << 30
MAX_FOLDER_DEPTH = 16
# Whole files that are read into memory.
MAX_TEXT_BYTES = 4 << 20
HINT = "get the release again from where it was built"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def list_files(folder: Path) -> list[str]:
    """Return every file of a release by its posix path, sorted; no file is opened.

    Raises:
        DeployError: there is no such folder, or it cannot be read.
        SignatureError: it is a link, empty or too large, or it contains something that is not a plain file
            or folder, or whose name cannot be printed or differs from another only by case.
    """
    try:
        kind = folder.lstat().st_mode
        if stat.S_ISLNK(kind):
            msg = f"{folder}: a link; name the release's folder itself"
            raise SignatureError(msg)
        if not stat.S_ISDIR(kind):
            msg = f"{folder}: not a folder; name a release's, such as build/release/NAME-VERSION-TARGET"
            raise DeployError(msg)
        found = list(_walk(folder, ""))
    except OSError as error:
        msg = f"{error.filename}: {error.strerror}; name the folder of a release that you may read"
        raise DeployError(msg) from error
    if not found:
        msg = f"{folder}: an empty folder; {HINT}"
        raise SignatureError(msg)
    _refuse_collisions(folder, found)
    return sorted(found)


def _walk(folder: Path, below: str) -> Iterator[str]:
    """Yield the files under ``folder / below``, having looked at all of them."""
    waiting, files, size = [below], 0, 0
    while waiting:
        path = waiting.pop()
        with os.scandir(folder / path) as entries:
            listed = list(_at_most(entries, folder))
        if not listed and path:
            msg = f"{folder / path}: an empty folder, which no release has; {HINT}"
            raise SignatureError(msg)
        for entry in listed:
            name = f"{path}/{entry.name}".lstrip("/")
            _refuse_name(folder, name)
            about = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(about.st_mode) and name.count("/") < MAX_FOLDER_DEPTH:
                waiting.append(name)
                continue
            if not stat.S_ISREG(about.st_mode):
                msg = f"{folder / name}: {_kind(about.st_mode)}, where a release has plain files only; {HINT}"
                raise SignatureError(msg)
            files, size = files + 1, size + about.st_size
            is_text = name in (MANIFEST, CHECKSUMS, SIGNATURE)
            if files > MAX_FILES or size > MAX_BYTES or (is_text and about.st_size > MAX_TEXT_BYTES):
                msg = f"{folder / name}: more than a release can hold; {HINT}"
                raise SignatureError(msg)
            yield name


def _at_most(entries: Iterable[os.DirEntry[str]], folder: Path) -> Iterator[os.DirEntry[str]]:
    for count, entry in enumerate(entries):
        if count == MAX_FILES:
            msg = f"{folder}: more than the {MAX_FILES} files that a release can hold; {HINT}"
            raise SignatureError(msg)
        yield entry


def _kind(mode: int) -> str:
    return "a link" if stat.S_ISLNK(mode) else "too deep" if stat.S_ISDIR(mode) else "a special file"


def _refuse_name(folder: Path, name: str) -> None:
    if not name.isprintable() or "\\" in name:
        msg = f"{folder}: {name!r} is not a valid name of a file in a release; {HINT}"
        raise SignatureError(msg)


def _refuse_collisions(folder: Path, files: Iterable[str]) -> None:
    """Refuse names that are one file where capitals or composed letters do not count."""
    seen: dict[str, str] = {}
    for file in files:
        for name in (file, *(parent.as_posix() for parent in Path(file).parents)):
            other = seen.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
            if other != name:
                msg = f"{folder}: {name} and {other} differ only by case; {HINT}"
                raise SignatureError(msg)


def is_listed(name: str) -> bool:
    """Return whether the manifest lists a file: one that is alike in every build, and not made of it."""
    outside = (MANIFEST, CHECKSUMS, SIGNATURE, *REPORTS)
    return name not in outside and not name.startswith(f"{DEBIAN_FOLDER}/")


def checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a release but its signature, by posix path, sorted.

    Raises:
        DeployError: as ``list_files``, or a file cannot be read.
    """
    sums = {}
    for name in list_files(folder):
        if name != SIGNATURE:
            try:
                with (folder / name).open("rb") as stream:
                    sums[name] = hashlib.file_digest(stream, "sha256").hexdigest()
            except OSError as error:
                msg = f"{folder / name}: {error.strerror}; {HINT}"
                raise DeployError(msg) from error
    return sums


def sums_text(sums: Mapping[str, str]) -> str:
    """Return the text of ``SHA256SUMS`` for these checksums, as ``sha256sum --check`` reads it."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums) if name != CHECKSUMS)


def check_sums(folder: Path) -> dict[str, str]:
    """Return ``checksums`` of a folder whose every file is as ``SHA256SUMS`` says, and no other is there.

    That shows damage, not who made the release: anyone can write ``SHA256SUMS``.

    Raises:
        SignatureError: a file is missing, changed or too many.
        DeployError: as ``checksums``.
    """
    actual = checksums(folder)
    if CHECKSUMS not in actual:
        msg = f"{folder}: no {CHECKSUMS}, which every release has; {HINT}"
        raise SignatureError(msg)
    text = (folder / CHECKSUMS).read_bytes()
    if text != sums_text(actual).encode():
        lines = (_LINE.fullmatch(line) for line in text.decode(errors="replace").splitlines())
        stated = {line[2]: line[1] for line in lines if line}
        compare(folder, {name: actual[name] for name in actual if name != CHECKSUMS}, stated, CHECKSUMS)
        msg = f"{folder / CHECKSUMS}: not as it was written; {HINT}"
        raise SignatureError(msg)
    return actual


def compare(folder: Path, actual: Mapping[str, str], stated: Mapping[str, str], where: str) -> None:
    """Return how files differ from those listed in ``where``; both are SHA-256 by path.

    Raises:
        SignatureError: they do; names the first, and the checksums last since they follow from the others.
    """
    changed = {name for name in actual.keys() & stated.keys() if actual[name] != stated[name]}
    problems = (
        (sorted(stated.keys() - actual.keys()), f"missing, but {where} names it"),
        (sorted(actual.keys() - stated.keys()), f"a file too many: {where} does not name it"),
        (sorted(changed, key=lambda name: (name == CHECKSUMS, name)), f"its bytes are not those in {where}"),
    )
    for names, problem in problems:
        if names:
            shown = names[0] if names[0].isprintable() else repr(names[0])
            msg = f"{folder}: {shown}: {problem}; {HINT}"
            raise SignatureError(msg)


def check_manifest(folder: Path, sums: Mapping[str, str]) -> Manifest:
    """Return the manifest of a folder that holds what it lists; see ``check_release``."""
    return check_release(folder, sums).manifest


def check_release(folder: Path, sums: Mapping[str, str]) -> Release:
    """Return the release in a folder that holds what its manifest lists, under the name that it gives.

    Args:
        folder: called ``NAME-VERSION-TARGET``, or, as on a device, by the release's digest.
        sums: from ``check_sums``.

    Raises:
        SignatureError: the folder is called otherwise, or its files are not those of the manifest.
        DeployError: the manifest is missing or is none.
    """
    release = read_release(folder)
    manifest = release.manifest
    if release.digest != sums.get(MANIFEST):
        msg = f"{folder}: {MANIFEST} changed while it was read; {HINT}"
        raise SignatureError(msg)
    listed = {name: sums[name] for name in sums if is_listed(name)}
    compare(folder, listed, manifest.files, MANIFEST)
    if manifest.model not in manifest.files:
        msg = f"{folder}: {manifest.model}: the model is missing from {MANIFEST}; {HINT}"
        raise SignatureError(msg)
    called = Path(os.path.abspath(folder)).name  # noqa: PTH100 - resolve() would follow links
    if called not in (manifest.full_name, release.digest):
        msg = f"{folder}: the release in it is {manifest.full_name}; give the folder that name"
        raise SignatureError(msg)
    return release


def check_expiry(folder: Path, manifest: Manifest, today: date) -> None:
    """Raise SignatureError: the last day on which the release may be installed is over."""
    if manifest.expires is not None and today > manifest.expires:
        msg = f"{folder}: expired on {manifest.expires}; build it again, or: pipeline release --expires DATE"
        raise SignatureError(msg)
