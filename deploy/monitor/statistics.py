"""Statistics as a device or a build wrote them: read as what they are, somebody else's file.

The form is that of ``deploy/device/observe.py``, which counts. A baseline also has ``null``: how much each
histogram of elements varies by chance, and how accurate the release is on the samples that were counted.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deploy.errors import DeployError
from deploy.manifest import Input, Output

BINS = 64
MAX_BYTES = 16 << 20
"""Maximum size of a file of statistics: enough for a thousand inputs and outputs."""

Count = Annotated[int, Field(ge=0, lt=2**53, strict=True)]
Counts = Annotated[tuple[Count, ...], Field(min_length=BINS, max_length=BINS)]
Finite = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class InputCounts(Record):
    """One input: ``values`` of its elements, ``means``, ``spreads`` and ``channels`` of samples."""

    name: str
    values: Counts
    means: Counts
    spreads: Counts
    channels: Annotated[tuple[Counts, ...], Field(max_length=32)] = ()


class OutputCounts(Record):
    """One output: ``values`` of its elements, and the answers' ``confidence`` and ``classes``."""

    name: str
    values: Counts
    confidence: Counts | None = None
    classes: Annotated[tuple[Count, ...], Field(min_length=2, max_length=2**17)] | None = None


class Latency(Record):
    """Microseconds: bin i holds ``[lowest * ratio**i, lowest * ratio**(i + 1))``."""

    lowest: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    ratio: Annotated[float, Field(gt=1, le=10, allow_inf_nan=False)]
    counts: Annotated[tuple[Count, ...], Field(min_length=1, max_length=1024)]


class Null(Record):
    """How a histogram of elements varies by chance (``measures.null_of``).

    Attributes:
        accuracy: of a classifier on the samples that were counted.
        range: of the bins of a tensor that is not quantized.
    """

    edges: Annotated[tuple[Annotated[int, Field(ge=0, lt=BINS)], ...], Field(min_length=1, max_length=BINS)]
    weight: Finite
    square: Finite
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    range: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _edges_ascend(self) -> Null:
        if self.edges[0] != 0 or sorted(set(self.edges)) != list(self.edges):
            msg = "edges must begin with 0 and ascend"
            raise ValueError(msg)
        return self


class Nulls(Record):
    inputs: tuple[Null, ...]
    outputs: tuple[Null, ...]


class Statistics(Record):
    """Counts; ``observed`` of the ``inferences`` went into the histograms.

    Attributes:
        day: the date in UTC of counts that are of one day alone.
    """

    schema_version: Literal[1]
    name: str = ""
    version: str = ""
    target: str = ""
    digest: str | None = None
    since: str | None = None
    until: str | None = None
    inferences: Count
    observed: Count
    inputs: tuple[InputCounts, ...]
    outputs: tuple[OutputCounts, ...]
    latency_us: Latency
    null: Nulls | None = None
    day: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] | None = None

    @model_validator(mode="after")
    def _counts_agree(self) -> Statistics:
        once = [counts for one in self.inputs for counts in (one.means, one.spreads, *one.channels)]
        answers = [
            counts for one in self.outputs for counts in (one.confidence, one.classes) if counts is not None
        ]
        # An element or an answer at least of each sample; an output of several places has an answer in each.
        elements = [one.values for one in self.inputs] + [one.values for one in self.outputs]
        agree = (
            self.observed <= self.inferences
            and all(sum(counts) == self.observed for counts in once)
            and all(sum(counts) >= self.observed for counts in (*elements, *answers))
            and not any(sum(counts) % max(self.observed, 1) for counts in answers)
        )
        if not agree:
            msg = "its counts do not add up to the samples observed"
            raise ValueError(msg)
        if self.null and not (
            len(self.null.inputs) == len(self.inputs) and len(self.null.outputs) == len(self.outputs)
        ):
            msg = "null is of other inputs or outputs"
            raise ValueError(msg)
        return self


class Contract(Record):
    """Inputs and outputs of the observed release, from its manifest."""

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]


class Saved(Statistics):
    """File of ``pipeline monitor --save``: the statistics, and what is needed to read them.

    Attributes:
        contract: how raw samples became the tensors that were counted.
        baseline: what the same release saw in its tests.
        devices: by address, what each of them had counted.
    """

    contract: Contract
    baseline: Statistics
    devices: dict[str, Statistics] = {}

    @model_validator(mode="after")
    def _is_of_one_model(self) -> Saved:
        counts = {(len(one.inputs), len(one.outputs)) for one in (self, self.contract, self.baseline)}
        if len(counts) > 1:
            msg = "contract or baseline are of another model"
            raise ValueError(msg)
        return self


S = TypeVar("S", bound=Statistics)


def read_statistics(raw: bytes, where: str) -> Statistics:
    """Check statistics: the bytes of a device or file, and what to call it in an error.

    Raises:
        DeployError: they are damaged.
    """
    return _read(Statistics, raw, where, "remove statistics.json on the device to restart its statistics")


def read_saved(raw: bytes, where: str) -> Saved:
    """Check what ``pipeline monitor --save`` wrote.

    Raises:
        DeployError: it is damaged, or it is a device's own file.
    """
    return _read(Saved, raw, where, "write it with: pipeline monitor RELEASE --from DEVICE --save FILE")


class _Devices(Record):
    devices: dict[str, Statistics] = {}


def read_devices(raw: bytes, where: str) -> dict[str, Statistics]:
    """Return what each device had counted, by its address, of a file that ``read_statistics`` has read.

    Raises:
        DeployError: it is damaged.
    """
    try:
        return _Devices.model_validate_json(raw).devices
    except ValueError as error:
        msg = f"{where}: damaged statistics: {_first(error)}"
        raise DeployError(msg) from error


def _read(kind: type[S], raw: bytes, where: str, advice: str) -> S:
    if len(raw) > MAX_BYTES:
        msg = f"{where}: {len(raw)} bytes are too many for the statistics of a model; {advice}"
        raise DeployError(msg)
    try:
        return kind.model_validate(json.loads(raw))
    except (ValueError, RecursionError) as error:
        msg = f"{where}: damaged statistics: {_first(error)}; {advice}"
        raise DeployError(msg) from error


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "no JSON"
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return re.sub(r"[^\x20-\x7e]", "?", f"{place}: {message}" if place else message)[:200]
