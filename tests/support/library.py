"""A folder of builds as it looks after weeks: some pass, run, failed, were killed or are damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pages import HOSTILE
from search_results import search_result

from pipeline.events import (
    BuildFinished,
    BuildStarted,
    Finding,
    Metric,
    Progress,
    Record,
    SearchFinished,
    StageFinished,
    StageStarted,
    TrialFinished,
    TrialStarted,
    Warned,
)
from pipeline.searching.front import BASELINE
from pipeline.searching.page import write_result
from pipeline.validation.report import Verdict, write_report

NEVER_SILENT = datetime.now(UTC) + timedelta(hours=6)
"""A last event after which a build is taken as running for as long as any test takes."""
FIRST = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
STAGES = ("load_model", "load_data", "prepare_model", "prune_weights", "train_qat", "evaluate", "judge")


def write_events(folder, events, began, step_s=30.0):
    """Write events a while apart; each is an event or (stage, event)."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for place, each in enumerate(events):
        stage, event = each if isinstance(each, tuple) else ("", each)
        lines.append(Record(began + timedelta(seconds=step_s * place), stage, event).to_json())
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def stages(names, cached=2):
    """Events of stages that have ended."""
    for place, name in enumerate(names):
        yield name, StageStarted()
        yield (
            name,
            StageFinished(
                cached=place < cached, seconds=3.5 * (place + 1) ** 2, digest="ab" * 32, folder=name
            ),
        )


def finished(outcome="released", error=""):
    return BuildFinished(outcome=outcome, error=error, seconds=341.2)


def add_build(folder, report, began, outcome="released"):
    """Add a build that has ended, with its report."""
    events = [BuildStarted(release=report.name), *stages(STAGES), finished(outcome)]
    write_events(folder, events, began)
    place = folder / "report" / report.name
    place.mkdir(parents=True)
    write_report(replace(report, created=(began + timedelta(minutes=7)).isoformat(timespec="seconds")),
                 place / "report.json")  # fmt: skip
    (place / "report.txt").write_text("report\n", encoding="utf-8")


def add_running(folder, name, now=None):
    """Add a build that trains at this moment."""
    now = now or datetime.now(UTC)
    progress = Progress(
        task="quantization-aware", id="1", done=1240, total=2000, unit="steps",
        note="epoch 3/4, loss 0.2954", seconds=78.0, finished=False,
    )  # fmt: skip
    figures = (("loss", 0.3127), ("held-out accuracy", 92.1))
    metrics = [
        Metric(task="quantization-aware", name=each, value=value, epoch=2, epochs=4, seconds=50.0)
        for each, value in figures
    ]
    events = [
        BuildStarted(release=name),
        Finding(text="The input is scaled by 1/255 (inferred from the range of the data)."),
        *stages(STAGES[:4]),
        ("train_qat", StageStarted()),
        *(("train_qat", each) for each in metrics),
        ("train_qat", progress),
    ]
    write_events(folder, events, now - timedelta(seconds=20.0 * (len(events) - 1)), 20.0)


def add_search(folder, is_running=False, now=None):
    """Add a search; one that runs has validated nothing yet."""
    folder.mkdir(parents=True)
    found = search_result(folder=folder)
    if is_running:
        found = replace(found, validated=(), chosen=None)
    write_result(found, "arm64", 60 if is_running else None)
    ended = sorted(found.outcomes.keys() - {BASELINE})
    events = []
    for place, number in enumerate(ended):
        one = found.outcomes[number]
        values = {} if one.figures is None else {name: one.figures.of(name) for name in found.objectives}
        events.append(
            TrialFinished(
                number=number, state=one.state, recipe=one.recipe, reason=one.reason, values=values,
                seconds=one.seconds, finished=place + 1, total=60 if is_running else len(ended),
                front=[each for each in found.front if each >= 0],
            )
        )  # fmt: skip
    if is_running:
        events += [TrialStarted(number=40 + each, recipe=f"channels{20 + each}-qat8") for each in range(2)]
    else:
        events.append(SearchFinished(chosen=found.chosen))
    now = now or datetime.now(UTC)
    began = now - timedelta(seconds=10.0 * (len(events) - 1)) if is_running else FIRST
    write_events(folder, events, began, 10.0)


def add_devices(folder, release="tiny-1.0-arm64"):
    """Add a status of three devices and five results of monitoring, the last one with drift."""
    folder.mkdir(parents=True, exist_ok=True)
    version = {"version": "1.0", "counter": 3, "target": "arm64", "digest": "5e" * 32, "size_bytes": 900_000}
    status = {"name": "tiny", "root": "", "active": version, "previous": None, "healthy": True, "why": "",
              "free_bytes": 9 << 30, "statistics_age_s": 60.0, "versions": 1}  # fmt: skip
    broken = status | {"healthy": False, "why": "golden sample 3 differs", "previous": version}
    devices = {"ssh://pi@garden": status, "ssh://pi@kitchen": status, "ssh://pi@cellar": broken}
    fleet = {"name": "tiny", "devices": devices, "problems": {"ssh://pi@attic": "no route to host"}}
    (folder / "status.json").write_text(json.dumps(fleet), encoding="utf-8")
    for week, size in enumerate((0.02, 0.03, 0.05, 0.06, 0.14)):
        verdict = "drifted" if size > 0.1 else "same"
        item = {"side": "input", "tensor": "image", "what": "means", "size": size, "floor": 0.1,
                "verdict": verdict}  # fmt: skip
        advice = [{"action": "recalibrate", "why": "the inputs changed", "then": "build"}]
        found = {
            "created": (FIRST + timedelta(weeks=week)).isoformat(timespec="seconds"),
            "release": release, "digest": "5e" * 32, "period": f"week {week + 10}", "verdict": verdict,
            "samples": 3000 + 40 * week, "needed": 500, "baseline_samples": 2000, "items": [item],
            "estimated_accuracy": [], "advice": advice if verdict == "drifted" else [],
            "devices": [
                {"address": "ssh://pi@garden", "inferences": 1500, "samples": 1500, "verdict": verdict,
                 "drifted": [], "advice": []},
                {"address": "ssh://pi@kitchen", "inferences": 1500, "samples": 1500, "verdict": "same",
                 "drifted": [], "advice": []},
            ],
            "problems": {"ssh://pi@attic": "no route to host"}, "notes": [],
        }  # fmt: skip
        (folder / f"drift-{week + 10}.json").write_text(json.dumps(found), encoding="utf-8")


def add_hostile(folder, report):
    """Add two builds whose names and texts are markup, which an attacker might hope to see run."""
    image = "<img src=x onerror=alert(1)>"
    verdict = Verdict(gate="size", subject=HOSTILE, outcome="failed", got=HOSTILE, allowed=image)
    name = f"{HOSTILE}{image}".replace("/", "")
    hostile = replace(report, name=name, recipe=image, verdicts=(verdict,), notes=(HOSTILE,))
    add_build(folder / name, hostile, FIRST)
    (folder / name / "report" / name / "report.html").write_text("<script>alert(1)</script>")
    events = [BuildStarted(release=image), Warned(text=HOSTILE), *stages(STAGES[:2])]
    write_events(folder / "hostile events", events, FIRST)


def changed(report, name, share, score=0.0, **more):
    """Return a report of another build: with a share of the bytes and instructions, and another score."""
    devices = tuple(
        replace(
            each, quantized=replace(each.quantized, instructions=round(share * each.quantized.instructions))
        )
        if each.quantized
        else each
        for each in report.devices
    )
    comparison = report.accuracy[0]
    first = comparison.metrics[0]
    metrics = (replace(first, quantized=first.quantized + score), *comparison.metrics[1:])
    return replace(
        report,
        name=name,
        devices=devices,
        accuracy=(replace(comparison, metrics=metrics), *report.accuracy[1:]),
        quantized=replace(
            report.quantized,
            size_bytes=round(share * report.quantized.size_bytes),
            compressed_bytes=round(share * report.quantized.compressed_bytes),
        ),
        **more,
    )


def add_all(folder, report, now=None):
    """Fill a folder with everything that the dashboard shows; what runs had its last event ``now``."""
    for place in range(9):
        name = report.name if place % 3 else "gestures-2.1.0-arm64"
        share, began = 1 - 0.05 * place, FIRST + timedelta(days=2 * place)
        recipe = f"channels{10 * place}-weights50-qat8" if place else "weights50-qat8"
        add_build(folder / f"build-{place}", changed(report, name, share, -0.1 * place, recipe=recipe), began)
    failed = Verdict(gate="accuracy", outcome="failed", got="-3.20 points", allowed="-1.00 points")
    add_build(
        folder / "rejected",
        changed(
            report, report.name, 0.4, -3.2, verdicts=(*report.verdicts, failed), recipe="channels80-qat8"
        ),
        FIRST + timedelta(days=20),
        "failed",
    )
    add_running(folder / "running", report.name, now)
    started = BuildStarted(release=report.name)
    write_events(folder / "killed", [started, *stages(STAGES[:3])], FIRST + timedelta(days=21))
    write_events(
        folder / "interrupted",
        [started, finished("interrupted", "KeyboardInterrupt")],
        FIRST + timedelta(days=22),
    )
    write_events(folder / "error", [started, finished("error", "StageError")], FIRST + timedelta(days=23))
    add_build(folder / "damaged", report, FIRST + timedelta(days=24))
    damaged = folder / "damaged" / "report" / report.name / "report.json"
    damaged.write_bytes(damaged.read_bytes()[:3000])
    add_search(folder / "searches" / "first")
    add_search(folder / "searches" / "second", is_running=True, now=now)
    add_devices(folder / "field")
