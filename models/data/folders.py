"""Data from folders of images: a folder for each class, masks, a table of labels, or images alone."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

import numpy as np

from models.data.images import SUFFIXES, decode_all, image_decoder, mask_decoder
from models.data.layout import IMAGES, MASKS, check_classes, find_layout, is_ignored, is_image, scan
from models.data.options import Parts
from models.data.picture_labels import Labelled, LabelTables, with_numbers
from models.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from models.data.images import Decoder
    from models.data.layout import Folder, Layout
    from models.data.options import Batch, DataOptions
    from models.ports import Port

_SOUND = frozenset({".wav", ".flac", ".mp3", ".ogg", ".m4a", ".aac", ".aiff"})
_VIDEO = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm"})
_TEXT = frozenset({".txt", ".md", ".html", ".json", ".xml"})
_OF_MASK = re.compile(r"[-_ ]?(mask|masks|label|labels|seg|segmentation|gt|annotation)$", re.IGNORECASE)


def read_folder(root: Path, inputs: Sequence[Port], outputs: Sequence[Port], options: DataOptions) -> Parts:
    """Read images, each scaled to the model's input.

    Args:
        root: holds one folder a class, ``images`` and ``masks`` with equal names, images and a table of their
            labels, or images; or folders to train and to test on with those inside (docs/reference/data.md).
        inputs: the model's; one, ``(height, width, channels)``.
        outputs: the model's.
        options: how images are scaled, what groups them, and which column of a table is the target.

    Raises:
        DataError: there are no images, they do not fit together, or (while they are read) one is damaged.
    """
    findings: list[str] = []
    notes: list[str] = []
    tree = scan(root, findings, notes)
    _check_images(tree)
    if len(inputs) != 1:
        msg = f"{root}: images are one input, the model has {len(inputs)}; give an .npz or a function"
        raise DataError(msg)
    decoder = image_decoder(inputs[0], options.interpolation, str(root))
    layout = find_layout(tree, notes)
    rebuilds = bool(outputs) and outputs[0].shape == inputs[0].shape
    reader = _Reader(root, decoder, tuple(outputs), options, rebuilds, findings, notes)
    if _pair(layout.train) is not None:
        return reader.with_masks(layout)
    width = outputs[0].shape[-1] if len(outputs) == 1 and outputs[0].shape else None
    alone = len(layout.train.folders) < 2
    tables = None
    if not rebuilds and (alone or (layout.test is not None and not layout.test.folders)):
        tables = LabelTables(tree, layout, options, width)
    parts = reader.with_table(layout, tables) if tables is not None and alone else None
    if parts is not None:
        return parts
    return reader.unlabelled(layout) if _is_flat(layout.train) else reader.classes(layout, tables)


def has_class_folders(root: Path) -> bool:
    """Return whether images are in folders below: a table beside them is then not the data, or names them."""
    folders = [path for path in root.iterdir() if path.is_dir() and not is_ignored(path.name)]
    below = [*folders, *(inner for folder in folders for inner in folder.iterdir() if inner.is_dir())]
    return any(is_image(path.name) for folder in below for path in folder.iterdir())


def _check_images(tree: Folder) -> None:
    """Refuse files that are no images, with what to do about them."""
    suffixes = [file.suffix.lower() for file in tree.all_files()]
    if any(suffix in SUFFIXES for suffix in suffixes):
        return
    known = [suffix for suffix in suffixes if suffix]
    most = max(sorted(set(known)), key=known.count) if known else ""
    what = f"no images; supported are {', '.join(sorted(SUFFIXES))}"
    array = "give them as an .npz with x and y, or name a function that returns them as module:function"
    if most in _SOUND:
        what = (
            f"folders of {most} recordings, which are not read; make the features that the model was trained "
            f"on (such as spectrograms) with the same code, and {array}"
        )
    elif most in _VIDEO:
        what = f"folders of {most} videos, which are not read; save their frames as images, or {array}"
    elif most in _TEXT:
        what = (
            f"folders of {most} files, which are not read; make what the model takes (such as token numbers) "
            f"with the code that it was trained with, and {array}"
        )
    elif most in (".csv", ".tsv", ".npy", ".npz", ".mat"):
        what = f"folders of {most} files, one for each sample, which are not read; stack them, and {array}"
    elif most:
        what = f"folders of {most} files and {what}"
    msg = f"{tree.path}: {what}"
    raise DataError(msg)


def _is_flat(part: Folder) -> bool:
    """Its images are in one place: their folders say no classes."""
    return not part.folders or (
        len(part.folders) == 1 and next(iter(part.folders)).lower() in IMAGES and not part.has_images
    )


def _pair(part: Folder) -> tuple[Folder, Folder] | None:
    """Return the folders of images and of masks."""
    folders = {name.lower(): folder for name, folder in part.folders.items()}
    images = next((folders[name] for name in IMAGES if name in folders), None)
    masks = next((folders[name] for name in MASKS if name in folders), None)
    return None if images is None or masks is None else (images, masks)


class _Reader:
    """Makes batches of the images of one data set."""

    def __init__(
        self,
        root: Path,
        decoder: Decoder,
        outputs: tuple[Port, ...],
        options: DataOptions,
        rebuilds: bool,
        findings: list[str],
        notes: list[str],
    ) -> None:
        self.root = root
        self.decoder = decoder
        self.outputs = outputs
        self.options = options
        self.rebuilds = rebuilds
        self.findings = findings
        self.notes = notes

    def classes(self, layout: Layout, tables: LabelTables | None) -> Parts:
        """Read one folder a class; images to test on may be labelled by a table instead."""
        train = layout.train
        check_classes(train)
        names = self._class_names(train)
        loose = sum(is_image(file.name) for file in train.files)
        if loose:
            self.notes.append(f"{loose} images beside the class folders of {train.path} are not used")
        in_table = tables.of("test", self.notes) if tables is not None else None

        def labelled(part: Folder) -> bool:
            if not part.folders:
                return part is layout.test and in_table is not None
            return len(names) < 2 or len(part.folders) > 1 or not set(part.folders).isdisjoint(names)

        test, validation = self._choose_parts(layout, labelled)
        tested = None
        if test is not None:
            check_classes(test)
            tested = _by_class(test) if test.folders else in_table
        if tested is not None and test is not None:
            names = self._with_test_classes(names, tested, test)
        chosen_on = None
        if validation is not None and set(validation.folders) <= set(names) and validation.images():
            chosen_on = _by_class(validation)
        if all(name.isdigit() for name in names) and names != sorted(names, key=int):
            self.notes.append(
                f"class folders in the order of Keras, the alphabet's: {', '.join(names[:4])}, ..."
            )
        return self._parts(_by_class(train), tested, tuple(names), chosen_on)

    def _class_names(self, train: Folder) -> list[str]:
        names = list(train.folders)
        classes = self.outputs[0].shape[-1] if len(self.outputs) == 1 and self.outputs[0].shape else None
        if train.empty and classes == len(names) + len(train.empty):
            return sorted([*names, *train.empty])  # as Keras counts them
        return names

    def _with_test_classes(self, names: list[str], held_out: Labelled, test: Folder) -> list[str]:
        where = test.path
        tested = set(map(str, held_out.labels))
        extra = sorted(tested - set(names))
        if extra and not self.rebuilds:
            msg = f"{where}: classes {extra} are not among those to train on; add or remove their folders"
            raise DataError(msg)
        untested = sorted(set(names) - tested)
        if untested and not self.rebuilds:
            self.notes.append(f"{where} has no samples of {', '.join(untested[:8])}")
        return sorted([*names, *extra])

    def with_table(self, layout: Layout, tables: LabelTables) -> Parts | None:
        """Read images whose labels are in tables; None if no table has any."""
        common = tables.parts(self.notes)
        train = tables.of("train", self.notes) or common.get("train")
        if train is None:
            return None
        tested = {kind: tables.of(kind, self.notes) or common.get(kind) for kind in ("test", "validation")}
        test, validation = tested["test"] or tested["validation"], tested["validation"]
        if test is validation:
            validation = None
        if tested["test"] is None and (layout.test is not None or test is not None):
            instead = (
                "the validation samples are" if test is not None else "a part of the training samples is"
            )
            self.notes.append(f"no test sample has a label: {instead} tested on")
        train, test, validation = with_numbers(train, test, validation)
        assert train is not None
        return self._parts(train, test, tables.names(), validation)

    def unlabelled(self, layout: Layout) -> Parts:
        """Read images alone."""
        parts = self._choose_parts(layout, lambda part: True)
        test, validation = (None if part is None else Labelled(part.images()) for part in parts)
        return self._parts(Labelled(layout.train.images()), test, (), validation)

    def with_masks(self, layout: Layout) -> Parts:
        """Read images with a mask each."""
        pair = _pair(layout.train)
        assert pair is not None
        if len(self.outputs) != 1:
            msg = f"{pair[1].path}: masks are for one output, the model has {len(self.outputs)}; "
            raise DataError(msg + "give an .npz or a function")
        files = _pairs(*pair)
        image = self.decoder.fixed(files[0][0])
        mask = mask_decoder(self.outputs[0], str(pair[1].path)).fixed(files[0][1])

        def batches(paths: list[tuple[Path, Path]]) -> Iterator[Batch]:
            rows = (((str(picture), picture), (str(target), target)) for picture, target in paths)
            for pictures, targets in decode_all(rows, (image, mask)):
                yield (pictures,), (targets,)

        parts = self._choose_parts(layout, lambda part: _pair(part) is not None)
        found = [None if part is None else _pair(part) for part in parts]
        tested, chosen_on = ([] if pair is None else _pairs(*pair) for pair in found)
        return Parts(
            batches(files),
            batches(tested) if tested else None,
            notes=self.notes,
            findings=self.findings,
            late_notes=lambda: [*image.note(), *mask.note()],
            groups=self._groups([picture for picture, _ in (*files, *tested, *chosen_on)]),
            validation=batches(chosen_on) if chosen_on else None,
        )

    def _choose_parts(
        self, layout: Layout, labelled: Callable[[Folder], bool]
    ) -> tuple[Folder | None, Folder | None]:
        """Return the parts to test on, the validation if the test has no labels, and to choose models on."""
        test, validation = layout.test, layout.validation
        usable = validation if validation is not None and labelled(validation) else None
        if test is not None and labelled(test):
            return test, usable
        if usable is not None:
            if test is not None:
                self.notes.append(f"{usable.path.name} is tested on: {test.path.name} has no labels")
            return usable, None
        unused = [part.path.name for part in (test, validation) if part is not None]
        if unused:
            self.notes.append(
                f"{' and '.join(unused)} without labels not used: a part of the training samples is tested on"
            )
        return None, None

    def _parts(
        self,
        train: Labelled,
        test: Labelled | None,
        names: tuple[str, ...],
        validation: Labelled | None,
    ) -> Parts:
        fixed = self.decoder.fixed(train.files[0])

        def batches(part: Labelled) -> Iterator[Batch]:
            at = 0
            for (images,) in decode_all((((str(path), path),) for path in part.files), (fixed,)):
                labels = part.labels[at : at + len(images)]
                at += len(images)
                yield (images,), (np.array(labels),) if len(labels) else ()

        groups = None
        if self.options.group:
            every = [part for part in (train, test, validation) if part is not None]
            if all(part.groups for part in every):
                groups = lambda: list(itertools.chain(*(part.groups for part in every)))  # noqa: E731
            else:
                groups = self._groups([file for part in every for file in part.files])
        return Parts(
            batches(train),
            None if test is None else batches(test),
            names,
            self.notes,
            fixed.note,
            findings=self.findings,
            groups=groups,
            validation=None if validation is None else batches(validation),
        )

    def _groups(self, files: list[Path]) -> Callable[[], list[str]] | None:
        """Find the group of each image by its path below the data set's folder."""
        if not self.options.group:
            return None
        try:
            pattern = re.compile(self.options.group)
        except re.error as error:
            msg = f"group {self.options.group!r} is not a regular expression: {error}"
            raise DataError(msg) from error
        found = []
        for file in files:
            match = pattern.search(file.relative_to(self.root).as_posix())
            if match is None:
                msg = f"{file}: group {self.options.group!r} matches nothing in its path; correct it"
                raise DataError(msg)
            found.append((match.group(1) if pattern.groups else match.group()) or "")
        return lambda: found


def _by_class(part: Folder) -> Labelled:
    files = [(path, name) for name, folder in part.folders.items() for path in folder.images()]
    if not files:
        msg = f"{part.path}: no images in its class folders; supported are {', '.join(sorted(SUFFIXES))}"
        raise DataError(msg)
    return Labelled([path for path, _ in files], [name for _, name in files])


def _pairs(images: Folder, masks: Folder) -> list[tuple[Path, Path]]:
    """Pair images with the masks that have the same name before the suffix, or with ``_mask`` behind it."""
    by_stem: dict[str, Path] = {}
    for path in masks.images():
        stem = path.relative_to(masks.path).with_suffix("").as_posix()
        by_stem.setdefault(_OF_MASK.sub("", stem), path)
        by_stem[stem] = path
    files = images.images()
    stems = [path.relative_to(images.path).with_suffix("").as_posix() for path in files]
    lone = [path for path, stem in zip(files, stems, strict=True) if stem not in by_stem]
    if lone or not files:
        where = lone[0] if lone else images.path
        msg = f"{where}: no mask of that name in {masks.path}; add it ({len(lone)} are without)"
        raise DataError(msg)
    return [(path, by_stem[stem]) for path, stem in zip(files, stems, strict=True)]
