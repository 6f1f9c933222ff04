"""The stages of a build before training, in this process: what is read, inferred, chosen and scored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts import Source
from pipeline.errors import PipelineError
from pipeline.events import Finding, Record, listening
from pipeline.loading.load import load_data, load_model, model_digest, source_of
from pipeline.preparation.float_check import Answered, check_float
from pipeline.preparation.prepare import prepare_model
from pipeline.quantize.convert import convert_float
from pipeline.run import Run
from pipeline.settings import make_config, read_toml
from pipeline.store import Store

if TYPE_CHECKING:
    from case import Expected

    from pipeline.build_config import BuildConfig

TIMEOUT_S = 600


def check(folder: Path, expected: Expected) -> tuple[int, str, float | None]:
    """Return the exit code, what was printed, and the float model's score in points."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        return 0, *_score(expected)
    except PipelineError as error:
        return error.exit_code, f"pipeline: {' '.join(str(error).split())}", None
    finally:
        os.chdir(here)


def _score(expected: Expected) -> tuple[str, float | None]:
    Path("pipeline.toml").write_text(f"{expected.config}\n")
    raw = read_toml(Path("pipeline.toml")) | {"project": {"name": "case"}}
    raw["model"] = raw.get("model", {}) | {"path": expected.model}
    raw["data"] = raw.get("data", {}) | {"source": expected.data}
    config = make_config(raw, "pipeline.toml")
    found: list[str] = []

    def hear(record: Record) -> None:
        if isinstance(record.event, Finding):
            found.append(f"info: {record.event.text}")

    with listening(hear):
        score = _float_score(expected, config)
    return "; ".join(found), score


def _float_score(expected: Expected, config: BuildConfig) -> float | None:
    check = Path("check")
    step = Run(check, Store(check / "store")).step
    source = Source(location=expected.model, digest=model_digest(config.model))
    model = step(load_model, source, config=config.model)
    ports = {"inputs": model.inputs, "outputs": model.outputs}
    data = step(load_data, source_of(config.data), **ports, config=config.data, seed=0)
    prepared = step(prepare_model, model, data, config=config.preprocessing)
    baseline = step(convert_float, prepared, timeout_s=TIMEOUT_S)
    step(check_float, baseline, prepared, data, allow_chance=False)
    names = tuple(port.name if len(model.outputs) > 1 else "" for port in model.outputs)
    answered = Answered.of(baseline.tflite, data, prepared.preprocessing, names, model.from_logits)
    scores = [100 * found.score for found in answered.standards()]
    return scores[0] if scores else None
