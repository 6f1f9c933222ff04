"""Compare quantized models on held-out samples, and take the one to release."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.download import compress
from pipeline.artifacts import QuantizedModel  # noqa: TC001 - Run.step reads the return type
from pipeline.choices import Candidate
from pipeline.config import SMALL_FILE_BYTES
from pipeline.quantize.metadata import METADATA_BYTES
from pipeline.runtimes.evaluation import infer_real
from pipeline.runtimes.runtime import host_runtime
from pipeline.training.evidence import Evidence, Gains
from pipeline.training.keras_io import open_model, predict, start_tensorflow

if TYPE_CHECKING:
    from pipeline.artifacts import Baseline, Dataset, KerasModel
    from pipeline.tasks.scoring import Gain
    from pipeline.training.evidence import Answers


def choose_quantized(
    data: Dataset,
    model: KerasModel,
    baseline: Baseline,
    *candidates: QuantizedModel,
    names: tuple[str, ...],
    max_size_ratio: float,
    max_download: int | None,
    max_shift_points: float,
    out: Path,
) -> QuantizedModel:
    """Return the best of several quantized models.

    Those that miss a limit are out, unless all do: full-integer int8, the size, the download, and what they
    lose under a corruption against the float model. Of the others the one with the best score on the held-out
    samples counts, as they are and corrupted. Those that are not worse than it (``Gains.reason``) are as
    good, and of these the smallest download is taken. Training samples stand in where none are held out, and
    without a score it is the first.

    Args:
        model: the float model that all candidates were made of.
        baseline: the float model, whose file's size the limit is a share of.
        candidates: in the order of preference.
        names: of the candidates, for the report.
        max_size_ratio: most bytes of a file, as a share of the float file.
        max_download: most bytes of a download, metadata included; None: any.
        max_shift_points: most points that a candidate may measurably lose under one corruption.
    """
    start_tensorflow(0)
    evidence = Evidence.of(data, model)
    held_out = evidence.held_out
    downloads = [len(compress(each.tflite.read_bytes())) for each in candidates]
    max_bytes = max_size_ratio * baseline.tflite.stat().st_size
    answers = [answers_of(each, evidence) for each in candidates]
    worst = _worst_against_float(model, answers, evidence)
    missed = [
        _missed(each, download, max_bytes, max_download) or _beyond(lost, max_shift_points)
        for each, download, lost in zip(candidates, downloads, worst, strict=True)
    ]
    chosen, gains = _best(evidence, answers, downloads, missed)
    table = tuple(
        Candidate(
            name=names[place], format=each.format, size_bytes=each.size_bytes,
            download_bytes=downloads[place], score=held_out.score(answers[place].clean),
            metric=held_out.metric, samples=len(held_out.samples), held_out=held_out.is_held_out,
            difference=gains[place].clean, corrupted=gains[place].corrupted,
            worst=_points(worst[place]), reason=missed[place] or gains[place].reason,
            chosen=place == chosen, within_limits=not missed[place],
        )
        for place, each in enumerate(candidates)
    )  # fmt: skip
    taken = candidates[chosen]
    for file in filter(Path.exists, (taken.tflite, taken.original, taken.expected)):
        shutil.copyfile(file, out / file.name)
    found = f"of {len(candidates)} quantized models {names[chosen]!r} is taken: {_listed(table)}"
    if chosen:
        found += f'; [quantize] method = "{names[0]}" insists on the first'
    trainings = max((each.trainings for each in candidates), key=len)
    return replace(taken, folder=out, digest="", candidates=table, trainings=trainings, findings=(found,))


def _best(
    evidence: Evidence, answers: list[Answers], downloads: list[int], missed: list[str]
) -> tuple[int, list[Gains]]:
    """Return the place of the model to release, and what each gains over the one with the best score."""
    places = [place for place, limit in enumerate(missed) if not limit] or list(range(len(missed)))
    points = [evidence.points(found) for found in answers]
    if None in points:
        return places[0], [Gains(None, None)] * len(answers)
    best = max(places, key=lambda place: (points[place], -downloads[place]))
    gains = [evidence.gains(answers[best], found) for found in answers]
    equal = [place for place in places if place == best or not gains[place].reason]
    return min(equal, key=lambda place: downloads[place]), gains


def _worst_against_float(
    model: KerasModel, answers: list[Answers], evidence: Evidence
) -> list[tuple[Gain, str] | None]:
    """Return what each candidate loses against the float model under its worst corruption."""
    network = open_model(model.model)
    given = evidence.answers(lambda inputs: predict(network, inputs)[0])
    return [evidence.worst(given, found) for found in answers]


def _missed(model: QuantizedModel, download: int, max_bytes: float, max_download: int | None) -> str:
    """Return the limit that a model misses; "" if it is within all of them."""
    if model.format != "int8":
        return model.format
    if model.size_bytes > max_bytes and model.size_bytes + METADATA_BYTES >= SMALL_FILE_BYTES:
        return "beyond [gates] size_ratio"
    beyond = max_download is not None and download + METADATA_BYTES > max_download
    return "beyond [gates] download_bytes" if beyond else ""


def _beyond(worst: tuple[Gain, str] | None, most: float) -> str:
    """Return what a model loses against float under its worst corruption, if that is measurably too much."""
    if worst is None or worst[0].points >= -most or worst[0].high >= 0:
        return ""
    return f"{worst[0].points:+.1f} points against float with {worst[1]}"


def _points(worst: tuple[Gain, str] | None) -> tuple[float, str] | None:
    return None if worst is None else (worst[0].points, worst[1])


def answers_of(model: QuantizedModel, evidence: Evidence) -> Answers:
    """Return what a quantized model answers on this machine's LiteRT."""
    return evidence.as_answers(infer_real(host_runtime("litert"), model.tflite, evidence.inputs())[0])


def _listed(table: tuple[Candidate, ...]) -> str:
    return ", ".join(
        f"{each.name} {each.metric} {each.score:.2f}" if each.score is not None else each.name
        for each in table
    )
