"""``manifest.json``: what a release is, for a board, an app and the command that installs it.

The manifest lists the SHA-256 of every file of the release that is the same in every build of the same
inputs; its own SHA-256 is the release's **digest**. The reports, which hold measured times, the checksums and
the signature are not in it: they are covered by ``SHA256SUMS`` and the signature.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import date
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from deploy.errors import DeployError

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "manifest.json"
MAX_SHOWN = 100  # characters of a name that a file states

# One word in a device's shell and one name in a folder, whatever it is put beside.
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
# NAME-VERSION-TARGET and a suffix.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Package = Literal["ai-edge-litert", "tflite-runtime"]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Resize(Record):
    """How an image is brought to the model's size: (height, width), by which interpolation."""

    size: tuple[int, int]
    interpolation: str


class Preprocessing(Record):
    """Preprocessing of a raw sample, in this order: resize, reverse the last axis, ``* scale + offset``.

    ``scale`` and ``offset`` have one value, or one for each of the last axis. Where ``indices`` is set the
    raw values go in as they are.
    """

    resize: Resize | None
    indices: bool
    reverse_channels: bool
    scale: tuple[float, ...]
    offset: tuple[float, ...]


class Tensor(Record):
    """One input or output of the model.

    Attributes:
        shape: with the batch, which is 1.
        dtype: numpy's name.
        scale: real = (stored - zero_point) * scale; None if the tensor is not quantized.
        range: smallest and largest observed value of a tensor that is not quantized; they differ.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int
    range: tuple[float, float] | None = None


class Raw(Record):
    """The raw values of one input that the release was tested on: dtype, the lowest and the highest."""

    dtype: str
    low: float
    high: float


class Input(Tensor):
    """An input; what releases of earlier versions did not record is None or empty.

    Attributes:
        columns: names of the values of a sample in row-major order, such as a table's; () if they have none.
    """

    preprocessing: Preprocessing
    raw: Raw | None = None
    columns: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _require_a_name_for_each_value(self) -> Input:
        values = math.prod(self.shape[1:])
        if self.columns and (len(self.columns) != values or len(set(self.columns)) != values):
            msg = f"{len(set(self.columns))} different names of columns for {values} values"
            raise ValueError(msg)
        return self


class Output(Tensor):
    """An output; ``logits``: of a classifier whose answers still need a softmax or sigmoid."""

    task: str
    logits: bool


class RuntimeNeed(Record):
    """A package that can run the model, and the oldest release of it that has the model's operators."""

    package: Package
    least: str


class Manifest(Record):
    """The release.

    Attributes:
        counter: rises with every release of ``name``; a device takes no lower one than it has.
        created: from SOURCE_DATE_EPOCH, or None.
        expires: the last day on which it may be installed; None: any.
        machine: as ``uname -m`` says it; ``"any"``: it was validated on none in particular.
        android_abi: as Android's ``ro.product.cpu.abi`` says it.
        runtimes: either one of them will do.
        tolerance_steps: by how many steps of its scale an output may be beside the golden one on a device;
            for an output without a scale, by how many times 1e-5 of the golden values' largest magnitude.
        model: the .tflite file's name.
        golden: how many golden samples there are in ``golden_input_I.npy`` and ``golden_output_I.npy``.
        files: SHA-256 by path of each file that does not differ between builds.
    """

    schema_version: Literal[1] = 1
    name: Word
    version: Word
    target: Word
    counter: Annotated[int, Field(ge=0, lt=2**63)]
    created: str | None
    expires: date | None
    devices: tuple[str, ...]
    machine: Word
    android_abi: str
    runtimes: Annotated[tuple[RuntimeNeed, ...], Field(min_length=1)]
    format: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    labels: tuple[str, ...]
    tolerance_steps: Annotated[int, Field(ge=0)]
    golden: int
    model: FileName
    files: dict[str, Sha256]

    @field_validator("files")
    @classmethod
    def _reject_paths_that_leave(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            path = PurePosixPath(name)
            plain = not path.is_absolute() and path.as_posix() == name and ".." not in path.parts
            if not plain or not name.isprintable() or "\\" in name:
                msg = f"{name!r} is not a path inside a release"
                raise ValueError(msg)
        return files

    @property
    def full_name(self) -> str:
        """``NAME-VERSION-TARGET``, the release folder's name."""
        return f"{self.name}-{self.version}-{self.target}"


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write ``manifest.json``."""
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Release:
    """A release's folder and its manifest, of which the file was read once: what is verified is what is used.

    Attributes:
        content: of ``manifest.json``.
        signed_by: the fingerprint of the key that it was verified with; "" if it was not.
    """

    folder: Path
    manifest: Manifest
    content: bytes
    signed_by: str = ""

    @property
    def digest(self) -> str:
        """The SHA-256 of its ``manifest.json``, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json`` of a release folder; nothing is verified but its form.

    Raises:
        DeployError: there is none, or it is not one.
    """
    return read_release(folder).manifest


def read_release(folder: Path) -> Release:
    """Read a release's manifest; as ``read_manifest``."""
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
        return Release(folder, Manifest.model_validate_json(content), content)
    except OSError as error:
        msg = f"{path}: {error.strerror}; name a release's folder, such as build/release/NAME-VERSION-TARGET"
        raise DeployError(msg) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:MAX_SHOWN]
        where = where if where.isprintable() else repr(where)
        msg = f"{path}: {where + ': ' if where else ''}{first['msg']}; build the release again"
        raise DeployError(msg) from error


def digest_of(folder: Path) -> str:
    """Return the release's digest: the SHA-256 of its ``manifest.json``, in hexadecimal."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
