"""Data from folders of images: one folder a class, images with masks, or images alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.data.images import SUFFIXES, decode_all, image_decoder, mask_decoder
from models.data.options import TEST_NAMES, TRAIN_NAMES, Parts
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.data.images import Decoder
    from models.data.options import Batch
    from models.ports import Port

    Labelled = list[tuple[Path, str]]

_IMAGES = ("images", "image", "imgs")
_MASKS = ("masks", "mask", "labels", "annotations")


def read_folder(root: Path, inputs: Sequence[Port], outputs: Sequence[Port], interpolation: str) -> Parts:
    """Read images, each scaled to the model's input.

    Args:
        root: holds one folder a class, or ``images`` and ``masks`` with equal names, or images; or ``train``
            and perhaps ``test`` (or ``val``) with those inside.
        inputs: the model's; one, ``(height, width, channels)``.
        outputs: the model's.
        interpolation: of scaled images.

    Raises:
        DataError: there are no images, they do not fit together, or (while they are read) one is damaged.
    """
    if len(inputs) != 1:
        msg = f"{root}: images are one input, the model has {len(inputs)}; give an .npz or a function"
        raise DataError(msg)
    decoder = image_decoder(inputs[0], interpolation, str(root))
    folders = {folder.name.lower(): folder for folder in _subfolders(root)}
    train = next((folders[name] for name in TRAIN_NAMES if name in folders), root)
    tests = [folders[name] for name in TEST_NAMES if name in folders and train != root]
    notes = [f"{unused} is not used: {tests[0].name} is there to test on" for unused in tests[1:]]
    test = tests[0] if tests else None
    pair = _image_and_mask_folders(train)
    if pair is not None:
        return _segmentation(pair, test, decoder, outputs, notes)
    if not _subfolders(train):
        return _unlabelled(train, test, decoder, notes)
    rebuilds = bool(outputs) and outputs[0].shape == inputs[0].shape
    return _classes(train, test, decoder, notes, any_test_class=rebuilds)


def image_files(root: Path) -> list[Path]:
    """Return every image below ``root``, in order."""
    found = []
    for folder, _, names in os.walk(root):  # much faster than Path.rglob on many files
        found += [Path(folder, name) for name in names if _is_image(name)]
    return sorted(found)


def has_class_folders(root: Path) -> bool:
    """Tell whether images are in folders below: a table beside them is then not the data."""
    return any(_is_image(path.name) for folder in _subfolders(root) for path in folder.iterdir()) or any(
        folder.name.lower() in TRAIN_NAMES for folder in _subfolders(root)
    )


def _is_image(name: str) -> bool:
    return "." + name.rpartition(".")[2].lower() in SUFFIXES and not name.startswith(".")


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(root: Path) -> list[Path]:
    files = image_files(root)
    if not files:
        msg = f"{root}: no images; supported are {', '.join(sorted(SUFFIXES))}"
        raise DataError(msg)
    return files


def _classes(
    train: Path, test: Path | None, decoder: Decoder, notes: list[str], *, any_test_class: bool
) -> Parts:
    names = [folder.name for folder in _subfolders(train)]
    test_names = [folder.name for folder in _subfolders(test)] if test else []
    extra = sorted(set(test_names) - set(names))
    if extra and not any_test_class:
        msg = f"{test}: classes {extra} are not among those to train on; add or remove their folders"
        raise DataError(msg)
    names = sorted([*names, *extra])
    if all(name.isdigit() for name in names) and names != sorted(names, key=int):
        notes.append(f"class folders in the order of Keras, the alphabet's: {', '.join(names[:4])}, ...")
    files = _class_files(train)
    fixed = decoder.fixed(files[0][0])
    held_out = None if test is None else _labelled(_class_files(test), fixed)
    return Parts(_labelled(files, fixed), held_out, tuple(names), notes, fixed.note)


def _class_files(root: Path) -> Labelled:
    files = [(path, folder.name) for folder in _subfolders(root) for path in image_files(folder)]
    if not files:
        msg = f"{root}: no images in its class folders; supported are {', '.join(sorted(SUFFIXES))}"
        raise DataError(msg)
    return files


def _labelled(files: Labelled, decoder: Decoder) -> Iterator[Batch]:
    at = 0
    for (images,) in decode_all((((str(path), path),) for path, _ in files), (decoder,)):
        labels = [label for _, label in files[at : at + len(images)]]
        at += len(images)
        yield (images,), (np.array(labels),)


def _unlabelled(train: Path, test: Path | None, decoder: Decoder, notes: list[str]) -> Parts:
    files = _images(train)
    fixed = decoder.fixed(files[0])

    def batches(paths: list[Path]) -> Iterator[Batch]:
        for images in decode_all((((str(path), path),) for path in paths), (fixed,)):
            yield images, ()

    held_out = None if test is None else batches(_images(test))
    return Parts(batches(files), held_out, notes=notes, late_notes=fixed.note)


def _image_and_mask_folders(root: Path) -> tuple[Path, Path] | None:
    folders = {folder.name.lower(): folder for folder in _subfolders(root)}
    images = next((folders[name] for name in _IMAGES if name in folders), None)
    masks = next((folders[name] for name in _MASKS if name in folders), None)
    return None if images is None or masks is None else (images, masks)


def _segmentation(
    pair: tuple[Path, Path], test: Path | None, decoder: Decoder, outputs: Sequence[Port], notes: list[str]
) -> Parts:
    if len(outputs) != 1:
        msg = f"{pair[1]}: masks are for one output, the model has {len(outputs)}; give an .npz or a function"
        raise DataError(msg)
    files = _pairs(*pair)
    image = decoder.fixed(files[0][0])
    mask = mask_decoder(outputs[0], str(pair[1])).fixed(files[0][1])

    def batches(paths: list[tuple[Path, Path]]) -> Iterator[Batch]:
        rows = (((str(picture), picture), (str(target), target)) for picture, target in paths)
        for pictures, targets in decode_all(rows, (image, mask)):
            yield (pictures,), (targets,)

    held_out = None
    if test is not None:
        found = _image_and_mask_folders(test)
        if found is None:
            msg = f"{test}: no folders named images and masks, which {pair[0].parent} has; add them"
            raise DataError(msg)
        held_out = batches(_pairs(*found))
    return Parts(batches(files), held_out, notes=notes, late_notes=lambda: [*image.note(), *mask.note()])


def _pairs(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Pair images with the masks that have the same name before the suffix."""
    by_stem = {path.relative_to(masks).with_suffix(""): path for path in _images(masks)}
    files = _images(images)
    lone = [path for path in files if path.relative_to(images).with_suffix("") not in by_stem]
    if lone:
        msg = f"{lone[0]}: no mask of that name in {masks}; add it ({len(lone)} are without)"
        raise DataError(msg)
    return [(path, by_stem[path.relative_to(images).with_suffix("")]) for path in files]
