"""Options for reading data, and the result of reading."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Batch = tuple[tuple[Array, ...], tuple[Array, ...]]
    """One array for each input, one for each output or none at all; as many rows in each."""

Kind = Literal["image", "bytes", "float32", "int64"]
TRAIN_NAMES = ("train", "training")
TEST_NAMES = ("test", "testing")
VALIDATION_NAMES = ("val", "valid", "validation")
"""What has such a name is tested on where there is nothing else to test on."""


@dataclass(frozen=True)
class Feature:
    """One feature of a TFRecord's examples.

    Attributes:
        kind: an encoded image, the raw bytes of an array, or a list of numbers.
        shape: of one sample; () for a single number. Not used for images.
        dtype: of raw bytes, as numpy names it.
        role: ``"input"`` or an input's name, ``"target"`` or an output's name; ``""`` where it is not used.
    """

    kind: Kind
    shape: tuple[int, ...] = ()
    dtype: str = "uint8"
    role: str = ""


@dataclass(frozen=True)
class DataOptions:
    """Settings that cannot be inferred from the data.

    Attributes:
        test_fraction: of the samples, where the source has no test samples; between 0 and 1.
        tasks: one for each output; None, or none at all, where it is to be inferred.
        labels: class names in the order of the model's outputs.
        target: columns of a table that hold the targets; empty: one named label, target, class or y, else the
            last ones.
        columns: columns of a table that are inputs, in the model's order; empty: all others.
        decimal: the decimal mark of a table, ``"."`` or ``","``; empty: detected from the first rows.
        missing: what stands for a missing value in a table, besides the usual marks.
        features: of a TFRecord by name; empty: inferred from the first record.
        interpolation: of scaled images: nearest, bilinear, bicubic, lanczos, area or box, as Pillow has
            them, or bilinear-no-antialias, as ``tf.image.resize`` has it.
        group: what samples of one group share, so that all of them are on one side of a split: a column of a
            table, an array, or a regular expression searched in the paths of images; empty: nothing.
        split: ``"random"``, or ``"time"`` to test on the last samples.
        max_samples: of one data set or generator that a function returns: it may have no end.
        ignore: the value of positions in masks that have no class; None: 255 where it can be no class.
    """

    test_fraction: float = 0.2
    tasks: tuple[str | None, ...] = ()
    labels: tuple[str, ...] = ()
    target: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    decimal: str = ""
    missing: tuple[str, ...] = ()
    features: Mapping[str, Feature] = field(default_factory=dict)
    interpolation: str = "bilinear"
    group: str = ""
    split: str = "random"
    max_samples: int = 1_000_000
    ignore: int | None = None

    def task(self, index: int) -> str | None:
        """Return the task that was given for an output."""
        return self.tasks[index] if index < len(self.tasks) else None


@dataclass(frozen=True)
class StoredData:
    """What :func:`models.data.sources.load_data` has written.

    Attributes:
        tasks: one for each output of the model.
        class_names: of the first output that has classes; () if they have no names.
        train_samples: rows in ``train.npy``.
        test_samples: rows in ``test.npy``.
        notes: one line each, about what the user may not expect.
        findings: one line each, about what was inferred and why.
        text_labels: whether the labels of an output are text, whose ids follow from ``class_names``.
        columns: for each input the names of its values, where the source has names; () where it has none.
    """

    tasks: tuple[str, ...]
    class_names: tuple[str, ...]
    train_samples: int
    test_samples: int
    notes: tuple[str, ...]
    findings: tuple[str, ...] = ()
    text_labels: bool = False
    columns: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Parts:
    """Content of a source: batches to read once, in order.

    Attributes:
        train: batches to train on; of all samples where ``test`` is None.
        test: batches to test on.
        class_names: of all classes in order. Labels that are text must be among them.
        notes: for the user.
        late_notes: gives more notes, once the last batch is read.
        reshape: samples are rows of numbers, which take any shape that they fill.
        findings: what was inferred of the source, for the user.
        groups: gives the group of each sample, in the order of the parts; None if there are none.
        validation: batches that the user chose models on, where there are others to test on.
        columns: for each input the names of its values in order; () if the source names none.
    """

    train: Iterable[Batch]
    test: Iterable[Batch] | None = None
    class_names: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    late_notes: Callable[[], list[str]] = list
    reshape: bool = False
    findings: list[str] = field(default_factory=list)
    groups: Callable[[], Iterable[str]] | None = None
    validation: Iterable[Batch] | None = None
    columns: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def in_order(cls, parts: Sequence[Iterable[Batch]], **others: Any) -> Parts:
        """Return what to train on, test on and choose models on, of which only the first must be there."""
        train, test, validation = (*parts, None, None)[:3]
        assert train is not None
        return cls(train, test, validation=validation, **others)
