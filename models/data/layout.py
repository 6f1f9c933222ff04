"""Detect the layout of a folder of images: which folders are splits, and which are classes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from models.data.images import SUFFIXES
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Kind = Literal["train", "test", "validation"]

IMAGES = ("images", "image", "imgs", "img")
MASKS = ("masks", "mask", "labels", "annotations")
_JUNK = frozenset({"__macosx", "__pycache__", "@eadir", "$recycle.bin", "lost+found"})
_JUNK_FILES = frozenset({"thumbs.db", "desktop.ini"})
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(("train", "training", "trn", "trainset", "traindata", "trainingset"), "train"),
    **dict.fromkeys(("test", "testing", "tst", "testset", "testdata", "testingset"), "test"),
    **dict.fromkeys(
        ("val", "valid", "validation", "validate", "valset", "validset", "validationset"), "validation"
    ),
    **dict.fromkeys(("dev", "devset", "eval", "evaluation", "holdout"), "validation"),
}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@dataclass(frozen=True)
class Folder:
    """A folder with what is in it; nothing hidden, and no folder without files.

    Attributes:
        path: of the folder.
        files: directly in it, in order.
        folders: directly in it, by name, in order.
        empty: names of the folders directly in it that hold no file.
    """

    path: Path
    files: tuple[Path, ...] = ()
    folders: dict[str, Folder] = field(default_factory=dict)
    empty: tuple[str, ...] = ()

    def images(self) -> list[Path]:
        """Return every image in it and below, in order."""
        return sorted(file for file in self.all_files() if is_image(file.name))

    def all_files(self) -> Iterator[Path]:
        """Yield all files in the folder and below."""
        yield from self.files
        for folder in self.folders.values():
            yield from folder.all_files()

    @property
    def has_images(self) -> bool:
        """Images are directly in it."""
        return any(is_image(file.name) for file in self.files)


@dataclass(frozen=True)
class Layout:
    """The parts of a data set.

    Attributes:
        train: to train on; all, where there is no other.
        test: to test on.
        validation: what was used to choose the model, if it is apart.
    """

    train: Folder
    test: Folder | None = None
    validation: Folder | None = None


def is_image(name: str) -> bool:
    """Return whether a file is an image, by its suffix."""
    return "." + name.rpartition(".")[2].lower() in SUFFIXES


def is_ignored(name: str) -> bool:
    """Return whether a name is that of a hidden file or folder, or of one that systems leave behind."""
    return name.startswith(".") or name.lower() in _JUNK or name.lower() in _JUNK_FILES


def scan(root: Path, findings: list[str], notes: list[str]) -> Folder:
    """List a folder and all below.

    Args:
        root: the folder.
        findings: get one on hidden images and system folders.
        notes: get one on folders without any file.
    """
    ignored: list[str] = []
    empty: list[str] = []
    tree = _scan(root, frozenset(), ignored, empty)
    if ignored:
        some = ", ".join(dict.fromkeys(sorted(ignored)[:3]))
        findings.append(
            f"ignored as hidden or left by a system: {len(ignored)} files and folders, such as {some}"
        )
    if empty:
        notes.append(
            f"folders without a file: {', '.join(sorted(empty)[:5])}" + (", ..." if len(empty) > 5 else "")
        )
    return tree


def _scan(root: Path, above: frozenset[str], ignored: list[str], empty: list[str]) -> Folder:
    real = os.path.realpath(root)
    files: list[Path] = []
    folders: dict[str, Folder] = {}
    without: list[str] = []
    with os.scandir(root) as entries:
        for entry in sorted(entries, key=lambda found: found.name):
            is_folder = entry.is_dir()
            if is_ignored(entry.name):
                if is_folder or is_image(entry.name):
                    ignored.append(entry.name)
            elif not is_folder:
                files.append(root / entry.name)
            elif os.path.realpath(entry.path) not in above | {real}:  # a link to a folder above never ends
                found = _scan(root / entry.name, above | {real}, ignored, empty)
                if found.files or found.folders:
                    folders[entry.name] = found
                else:
                    without.append(entry.name)
    empty += without
    return Folder(root, tuple(files), folders, tuple(without))


def kind_of(name: str) -> Kind | None:
    """Return the part of the data that a name says, alone or among other words; None if it says none."""
    kinds = {_KINDS[word] for word in _words(name) if word in _KINDS}
    return kinds.pop() if len(kinds) == 1 else None


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def find_layout(root: Folder, notes: list[str]) -> Layout:
    """Find the parts of a data set.

    Args:
        root: of the data set; a folder around it is passed over.
        notes: get what is not used.

    Raises:
        DataError: the folders are parts of which none says that it is to train on.
    """
    layout = _by_part(root, notes) or _by_inner_part(root)
    if layout is not None:
        names = [set(part.folders) for part in (layout.train, layout.test) if part is not None]
        return Layout(
            _unwrapped(layout.train, names[-1] if len(names) > 1 else set()),
            layout.test and _unwrapped(layout.test, names[0]),
            layout.validation and _unwrapped(layout.validation, names[0]),
        )
    if len(root.folders) == 1 and not root.has_images:
        (inner,) = root.folders.values()
        if len(inner.folders) > 1 or _is_wrapper(inner):
            return find_layout(inner, notes)
    kinds = {name: kind_of(name) for name in root.folders}
    if len(kinds) > 1 and all(kinds.values()) and "train" not in kinds.values():
        msg = f"{root.path}: no folder to train on beside {', '.join(kinds)}; call one of them train"
        raise DataError(msg)
    return Layout(root)


def check_classes(part: Folder) -> None:
    """Refuse folders that hold equal folders: they are parts of the data, not classes.

    Raises:
        DataError: says both ways out.
    """
    inner = [set(folder.folders) for folder in part.folders.values() if not folder.has_images]
    if len(inner) < 2 or len(inner) < len(part.folders):
        return
    shared = sorted(set.intersection(*inner))
    if len(shared) > 1:
        names = list(part.folders)
        msg = (
            f"{part.path}: {', '.join(names[:4])} hold the same folders ({', '.join(shared[:4])}), so they "
            "are not classes; name them train and test if they are parts of the data, else put the images "
            "directly into one folder for each class"
        )
        raise DataError(msg)


def _by_part(root: Folder, notes: list[str]) -> Layout | None:
    """Find parts among the folders of ``root``: ``train`` and perhaps ``test`` and ``validation``."""
    found: dict[Kind, Folder] = {}
    for kind in ("train", "test", "validation"):
        folders = [folder for name, folder in root.folders.items() if kind_of(name) == kind]
        if folders:
            found[kind] = _one_of(root, kind, folders, notes)
    train = found.get("train")
    if train is None or (len(found) == 1 and not train.folders):
        return None  # a class may be called train, too
    others = [name for name in root.folders if kind_of(name) is None]
    if others:
        notes.append(f"{', '.join(others[:4])} not used: {train.path.name} is there to train on")
    return Layout(train, found.get("test"), found.get("validation"))


def _one_of(root: Folder, kind: Kind, folders: list[Folder], notes: list[str]) -> Folder:
    """Return the folder of one part; ``train_images`` and ``train_masks`` together are one."""
    rest = {
        next((word for word in _words(folder.path.name) if word in (*IMAGES, *MASKS)), ""): folder
        for folder in folders
    }
    images = next((rest[word] for word in (*IMAGES, "") if word in rest), None)
    masks = next((rest[word] for word in MASKS if word in rest), None)
    if len(folders) == 2 and images is not None and masks is not None:
        return Folder(root.path / f"{kind} images and masks", (), {"images": images, "masks": masks})
    exact = [folder for folder in folders if len(_words(folder.path.name)) == 1]
    if len(folders) > 1 and len(exact) != 1:
        names = ", ".join(folder.path.name for folder in folders)
        msg = f"{root.path}: {names} are all parts called {kind}; put them into one folder, or rename others"
        raise DataError(msg)
    chosen = exact[0] if exact else folders[0]
    unused = [folder.path.name for folder in folders if folder is not chosen]
    if unused:
        notes.append(f"{', '.join(unused)} not used: {chosen.path.name} is there")
    return chosen


def _by_inner_part(root: Folder) -> Layout | None:
    """Find parts inside of every folder: ``images/train`` and ``masks/train``, or ``cat/train``."""
    if len(root.folders) < 2 or root.has_images:
        return None
    parts: dict[Kind, dict[str, Folder]] = {}
    for name, folder in root.folders.items():
        kinds = {inner: kind_of(inner) for inner in folder.folders}
        if folder.has_images or "train" not in kinds.values() or len(set(kinds.values())) < len(kinds):
            return None
        for inner, kind in kinds.items():
            if kind is None:
                return None
            parts.setdefault(kind, {})[name] = folder.folders[inner]
    folders = {kind: Folder(root.path / f"*/{kind}", (), inner) for kind, inner in parts.items()}
    return Layout(folders["train"], folders.get("test"), folders.get("validation"))


def _is_wrapper(folder: Folder) -> bool:
    """It has one folder, which is not the images of a class."""
    return (
        len(folder.folders) == 1
        and not folder.has_images
        and any(inner.folders for inner in folder.folders.values())
    )


def _unwrapped(part: Folder, others: set[str]) -> Folder:
    """Pass over a folder that holds nothing but one folder with the classes."""
    while len(part.folders) == 1 and not part.has_images:
        ((name, inner),) = part.folders.items()
        if len(inner.folders) < 1 or inner.has_images or (name in others and kind_of(name) is None):
            break
        part = inner
    return part
