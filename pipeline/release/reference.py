"""Find how a reference model gets its inputs from raw samples: each model by its own preprocessing."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from pipeline.artifacts import Transform, described
from pipeline.config import PreprocessingConfig
from pipeline.errors import InputError
from pipeline.flatbuffer.metadata import read_metadata
from pipeline.preparation.input_preprocessing import PROBE_SAMPLES, Probe, choose_preprocessing
from pipeline.release.released import release_of
from pipeline.runtimes.quantization import run_real
from pipeline.runtimes.runtime import host_runtime
from pipeline.runtimes.session import Session
from pipeline.validation.against import Reference
from pipeline.validation.model_under_test import ModelUnderTest

if TYPE_CHECKING:
    from pipeline.artifacts import Dataset, Preprocessing, Source
    from pipeline.flatbuffer.metadata import TensorMetadata

_DESCRIBED = "preprocessing: "  # begins the description of an input that a build wrote
_ROUNDING = 1e-5  # relative; metadata holds float32


def reference_of(file: Source, candidate: Preprocessing, data: Dataset | None) -> Reference:
    """Find the preprocessing of a reference model.

    Its release's manifest or the TFLite metadata of a build say it. For any other file, the candidate's, that
    of foreign metadata and the usual ones are tried on labelled samples, and the best is taken.

    Args:
        file: the reference model.
        candidate: preprocessing of the model that is compared with it.
        data: the samples of the comparison; None if accuracy is not compared.

    Raises:
        InputError: it is damaged, or the samples do not fit it.
    """
    under_test = ModelUnderTest.of(file)
    if data is None or len(under_test.flat.inputs) != len(candidate):
        return Reference(file=file, preprocessing=candidate)
    released = release_of(under_test.path, under_test.flat.sha256)
    stated = _stated(under_test, of_builds=True) if released is None else released.transforms
    if stated is None:
        return _tried(under_test, candidate, data)
    if _are_close(stated, candidate):
        return Reference(file=file, preprocessing=candidate)
    note = f"inputs by its own preprocessing: {described(under_test.ports()[0], stated)}"
    return Reference(file=file, preprocessing=stated, note=note)


def _tried(reference: ModelUnderTest, candidate: Preprocessing, data: Dataset) -> Reference:
    """Take the preprocessing with which a reference that does not state its own scores best."""
    options = [candidate, *filter(None, [_stated(reference, of_builds=False)])]
    with Session(host_runtime("litert"), reference.path, threads=len(os.sched_getaffinity(0))) as session:
        probe = Probe.of(data, partial(run_real, session, batches=True), PROBE_SAMPLES)
        options.append(choose_preprocessing(probe, reference.ports()[0], PreprocessingConfig()).transforms)
        scored = [(score, option) for option in options if (score := probe.score(option)) is not None]
    if not scored:
        return Reference(file=reference.source, preprocessing=candidate)
    score, best = max(scored, key=lambda each: each[0])  # of equals the first
    how = f"{probe.metric} {score.value:.1%} on {len(probe.raw[0])} samples"
    if not score.better:
        note = (
            "accuracy is not compared: the file does not state its preprocessing, and no usual one is better "
            f"than chance ({how}); compare with a release folder or build it again"
        )
        return Reference(file=reference.source, note=note)
    if _are_close(best, candidate):
        return Reference(file=reference.source, preprocessing=candidate)
    note = f"inputs by the preprocessing that suits it best, {described(reference.ports()[0], best)}: {how}"
    return Reference(file=reference.source, preprocessing=best, note=note)


def _stated(reference: ModelUnderTest, *, of_builds: bool) -> Preprocessing | None:
    """Return the preprocessing in TFLite metadata that a build wrote, or that another program did."""
    try:
        metadata = read_metadata(reference.flat.content, str(reference.path))
    except InputError:  # foreign metadata may be of any form
        return None
    if metadata is None or len(metadata.inputs) != len(reference.flat.inputs):
        return None
    if of_builds != all(each.description.startswith(_DESCRIBED) for each in metadata.inputs):
        return None
    transforms = tuple(map(_transform, metadata.inputs))
    return None if None in transforms else tuple(filter(None, transforms))


def _transform(tensor: TensorMetadata) -> Transform | None:
    """Return the preprocessing of one input, or None if its metadata does not say it."""
    what = tensor.description.removeprefix(_DESCRIBED)
    reason = "as its TFLite metadata says"
    if what.startswith("indices "):
        return Transform(indices=True, reason=reason)
    if not tensor.mean or not all(tensor.std) or len(tensor.mean) != len(tensor.std):
        return None
    return Transform(
        scale=tuple(1 / std for std in tensor.std),
        offset=tuple(-mean / std + 0.0 for mean, std in zip(tensor.mean, tensor.std, strict=True)),
        reverse_channels=what.startswith("channels reversed"),
        reason=reason,
    )


def _are_close(ours: Preprocessing, theirs: Preprocessing) -> bool:
    """Return whether two preprocessings are the same but for the rounding of metadata."""
    return all(
        (left.indices, left.reverse_channels) == (right.indices, right.reverse_channels)
        and _equal(left.scale, right.scale)
        and _equal(left.offset, right.offset)
        for left, right in zip(ours, theirs, strict=True)
    )


def _equal(ours: tuple[float, ...], theirs: tuple[float, ...]) -> bool:
    lengths = {1, len(ours), len(theirs)}
    return len(lengths) < 3 and np.allclose(ours, theirs, rtol=_ROUNDING, atol=1e-7)
