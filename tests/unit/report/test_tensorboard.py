"""The event files hold each training as a run of its own, and are written only where something changed."""

from __future__ import annotations

import pytest
from tensorboardX.proto.event_pb2 import Event

from pipeline.report.tensorboard import write_event_files
from pipeline.training_history import Curve, Histogram, TrainedRange, TrainingHistory

HISTOGRAM = Histogram(layer="conv", of="weights", low=-1.0, high=1.0, counts=(1, 2, 1, 0))
TRAINING = TrainingHistory(
    name="float fine-tuning",
    curves=(Curve(name="loss", values=(0.5, 0.25)),),
    ranges=(TrainedRange(layer="conv", lows=(0.0, 0.0), highs=(2.0, 3.0)),),
    before=(HISTOGRAM,),
    after=(HISTOGRAM,),
)


def summaries(folder):
    """Return (tag, step, value or histogram) of each summary in the run's only file."""
    [file] = folder.glob("events.out.tfevents.*")
    content, found = file.read_bytes(), []
    while content:
        size = int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12 : 12 + size])
        found += [(value.tag, event.step, value) for value in event.summary.value]
        content = content[12 + size + 4 :]
    return found


def test_each_training_is_a_run_with_its_figures_ranges_and_histograms(tmp_path):
    write_event_files((TRAINING, TRAINING), tmp_path / "logs")
    runs = sorted(path.name for path in (tmp_path / "logs").iterdir() if path.is_dir())
    found = summaries(tmp_path / "logs" / runs[0])
    scalars = [(tag, step, value.simple_value) for tag, step, value in found if not value.HasField("histo")]
    histograms = [(tag, step, value.histo) for tag, step, value in found if value.HasField("histo")]

    assert runs == ["1-float-fine-tuning", "2-float-fine-tuning"]
    assert scalars == [
        ("loss", 1, 0.5),
        ("loss", 2, 0.25),
        ("range/conv/low", 1, 0.0),
        ("range/conv/low", 2, 0.0),
        ("range/conv/high", 1, 2.0),
        ("range/conv/high", 2, 3.0),
    ]
    assert [(tag, step) for tag, step, _ in histograms] == [("weights/conv", 0), ("weights/conv", 2)]
    assert list(histograms[0][2].bucket) == [1, 2, 1, 0]
    assert list(histograms[0][2].bucket_limit) == pytest.approx([-0.5, 0, 0.5, 1])
    assert histograms[0][2].num == 4


def test_the_same_trainings_are_not_written_again_and_others_replace_them(tmp_path):
    write_event_files((TRAINING,), tmp_path / "logs")
    [first] = (tmp_path / "logs").rglob("events.*")
    written = first.stat()
    write_event_files((TRAINING,), tmp_path / "logs")
    assert first.stat().st_mtime_ns == written.st_mtime_ns

    write_event_files((), tmp_path / "logs")
    assert not (tmp_path / "logs").exists()
