"""Steps of a build: what is taken from the store, what is made again, and what a failure leaves behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import pytest

from calibration.errors import CalibrationError
from pipeline.artifacts import Artifact, Source
from pipeline.config import ModelConfig
from pipeline.errors import ConfigError, GateFailed, InputError, StageError
from pipeline.events import (
    BuildFinished,
    BuildStarted,
    Finding,
    Record,
    StageFinished,
    StageStarted,
    Warned,
    listening,
)
from pipeline.quantize.convert import ConvertConfig
from pipeline.run import Run
from pipeline.sections import Unkeyed
from pipeline.store import Store

SOURCE = Source(location="model.keras", digest="aa")
calls: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Note(Artifact):
    text: str

    @property
    def file(self) -> Path:
        return self.folder / "note.txt"


def write(source: Source, *, text: str = "hello", out: Path) -> Note:
    calls.append(text)
    (out / "note.txt").write_text(text)
    return Note(text=text)


def copy(note: Note, *, out: Path) -> Note:
    calls.append("copy")
    (out / "note.txt").write_text(note.file.read_text())
    return Note(text=note.text)


def bounded(source: Source, *, timeout_s: float, config: ConvertConfig, out: Path) -> Note:
    calls.append(timeout_s)
    return Note(text="")


def loaded(source: Source, *, config: ModelConfig, out: Path) -> Note:
    calls.append(str(config.path))
    return Note(text="")


def infer(source: Source, *, out: Path) -> Note:
    calls.append("infer")
    return Note(text="", findings=("task: binary",), notes=("-1 is 0",))


def fail(source: Source, *, error: str, out: Path) -> Note:
    (out / "half.txt").write_text("half")
    errors = {
        "gate": GateFailed("too large"),
        "leaf": CalibrationError("no samples"),
        "disk": OSError(errno.ENOSPC, "No space left on device"),
        "bug": KeyError("kernel"),
        "chatter": RuntimeError("first line\nsecond line"),
    }
    raise errors[error]


@pytest.fixture(autouse=True)
def no_calls():
    calls.clear()


@pytest.fixture
def run_in(analysed):
    """Start a build into a folder, with a store in it."""

    def begin(folder):
        store = Store(folder / "store")
        shutil.copy(analysed, store.root)
        return Run(folder, store)

    return begin


@pytest.fixture
def heard():
    """The events that are emitted, each with its stage."""
    found = []
    with listening(lambda record: found.append((record.stage, record.event))):
        yield found


def names(folder):
    """What is in the store of such a build, hidden folders included."""
    return sorted(path.name for path in (folder / "store").iterdir() if path.is_dir())


def test_a_step_runs_once_and_is_then_taken_from_the_store(run_in, tmp_path):
    first = run_in(tmp_path).step(write, SOURCE, text="once")
    run = run_in(tmp_path)
    second = run.step(write, SOURCE, text="once")

    assert calls == ["once"]
    assert second == first
    assert second.file.read_text() == "once"
    assert [step["cached"] for step in run.steps] == [True]


def test_the_place_of_a_source_and_of_the_store_is_no_part_of_the_result(run_in, tmp_path):
    one = run_in(tmp_path / "one").step(write, SOURCE)
    other = run_in(tmp_path / "other").step(write, Source(location="elsewhere.keras", digest="aa"))

    assert one.digest == other.digest
    assert one.folder.name == other.folder.name


def test_another_setting_input_code_or_package_is_another_step(run_in, tmp_path, monkeypatch):
    run_in(tmp_path).step(write, SOURCE, text="a")
    run_in(tmp_path).step(write, SOURCE, text="b")
    run_in(tmp_path).step(write, Source(location="model.keras", digest="bb"), text="a")
    monkeypatch.setattr("platform.python_version", lambda: "3.99")
    run_in(tmp_path).step(write, SOURCE, text="a")

    assert len(calls) == len(names(tmp_path)) == 4


def test_a_setting_that_cannot_change_the_result_is_in_no_key_and_any_other_is(run_in, tmp_path):
    run = run_in(tmp_path)
    for timeout_s, formats in ((1.0, ["int8"]), (2.0, ["int8"]), (3.0, ["float32"])):
        config = ConvertConfig(timeout_s=timeout_s, formats=formats)
        run.step(bounded, SOURCE, timeout_s=Unkeyed(timeout_s), config=config)

    assert calls == [1.0, 3.0]


def test_of_the_path_of_an_input_a_key_contains_only_the_name(run_in, tmp_path):
    run = run_in(tmp_path)
    for path in ("model.keras", "/elsewhere/model.keras", "other.keras"):
        run.step(loaded, SOURCE, config=ModelConfig(path=path))

    assert calls == ["model.keras", "other.keras"]


def test_a_step_follows_the_content_of_its_input(run_in, tmp_path):
    run = run_in(tmp_path)
    for text in ("a", "b", "a"):
        run.step(copy, run.step(write, SOURCE, text=text))

    assert calls == ["a", "copy", "b", "copy"]


def test_findings_and_notes_are_reported_by_a_cached_step_too(run_in, tmp_path, heard):
    for _ in range(2):
        run_in(tmp_path).step(infer, SOURCE)

    assert calls == ["infer"]
    assert [found for found in heard if isinstance(found[1], Finding | Warned)] == [
        ("infer", Finding(text="task: binary")),
        ("infer", Warned(text="-1 is 0")),
    ] * 2


@pytest.mark.parametrize("damage", ["flip", "remove", "add", "record", "no record", "other record", "list"])
def test_a_damaged_step_is_made_again_with_a_warning(run_in, damage, tmp_path, heard):
    run = run_in(tmp_path)
    made = run.step(write, SOURCE)
    record = made.folder / "artifact.json"
    match damage:
        case "flip":
            made.file.write_text("hellO")
        case "remove":
            made.file.unlink()
        case "add":
            (made.folder / "more").write_text("x")
        case "record":
            record.write_text(record.read_text()[:-20])
        case "no record":
            record.unlink()
        case "other record":
            record.write_text(record.read_text().replace('"hello"', '"other"'))
        case "list":
            record.write_text("[]")

    again = run.step(write, SOURCE)

    assert again == made
    assert again.file.read_text() == "hello"
    assert len(calls) == 2
    assert [event.text for _, event in heard if isinstance(event, Warned)] == [
        f"the stored stage {made.folder.name} is damaged; it is made again"
    ]


def test_a_damaged_step_that_cannot_be_removed_is_not_used(run_in, tmp_path, monkeypatch):
    run = run_in(tmp_path)
    made = run.step(write, SOURCE)
    made.file.write_text("hellO")
    monkeypatch.setattr("shutil.rmtree", lambda *arguments, **options: None)

    assert run.step(write, SOURCE).file.read_text() == "hello"


def test_a_damaged_step_that_cannot_be_moved_stops_the_build(run_in, tmp_path, monkeypatch):
    run = run_in(tmp_path)
    made = run.step(write, SOURCE)
    made.file.write_text("hellO")
    rename = Path.rename

    def refuse(path, target):
        if path == made.folder:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(
        StageError, match=r"is damaged and cannot be moved: .*; remove that folder, or choose"
    ):
        run.step(write, SOURCE)
    assert len(calls) == 1


def test_a_damaged_step_that_appears_meanwhile_is_not_taken_for_the_result(run_in, tmp_path, monkeypatch):
    run = run_in(tmp_path)
    made = run_in(tmp_path / "other").step(write, SOURCE)
    stored = tmp_path / "store" / made.folder.name
    rename = Path.rename

    def slower(path, target):
        if target == stored and not stored.exists():
            shutil.copytree(made.folder, stored)
            (stored / "file").unlink(missing_ok=True)
            (stored / "more").write_text("x")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", slower)
    with pytest.raises(StageError, match="free space or fix the permissions"):
        run.step(write, SOURCE)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        ("gate", GateFailed, "too large"),
        ("leaf", InputError, "no samples"),
        ("disk", StageError, "fail: the disk is full; free space"),
        ("bug", StageError, "fail: KeyError: 'kernel'; run again with --debug"),
        ("chatter", StageError, "fail: RuntimeError: first line;"),
    ],
)
def test_a_stage_that_fails_leaves_nothing_and_is_said_in_one_line(run_in, error, kind, said, tmp_path):
    run = run_in(tmp_path)
    kept = run.step(write, SOURCE)

    with pytest.raises(kind, match=said) as caught:
        run.step(fail, SOURCE, error=error)

    assert "\n" not in str(caught.value)
    assert names(tmp_path) == [kept.folder.name]
    assert run_in(tmp_path).step(write, SOURCE) == kept


def test_builds_with_one_key_at_once_do_the_step_once(run_in, tmp_path):
    together = Barrier(4)

    def build(_):
        together.wait()
        return run_in(tmp_path).step(write, SOURCE)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(build, range(4)))

    assert calls == ["hello"]
    assert len(set(results)) == 1
    assert results[0].file.read_text() == "hello"
    assert names(tmp_path) == [results[0].folder.name]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="file/out: Not a directory; build into another folder with --out"):
        Run(tmp_path / "file/out", Store(tmp_path))


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ENOSPC, "the disk is full; free space"),
        (errno.EDQUOT, "the disk quota is used up; free space"),
        (errno.EROFS, "Read-only file system; fix the permissions"),
        (errno.EACCES, "Permission denied; fix the permissions"),
    ],
)
def test_a_store_that_cannot_be_written_to_is_one_line_with_the_fix(
    run_in, number, cause, tmp_path, monkeypatch
):
    run = run_in(tmp_path)
    made = run.step(write, SOURCE)
    mkdir = Path.mkdir

    def refuse(path, *arguments, **options):
        if path.parent == tmp_path / "store":
            raise OSError(number, os.strerror(number), str(path))
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StageError, match=rf"{cause}, or choose another folder with --store$"):
        run.step(write, SOURCE, text="other")
    assert run.step(write, SOURCE) == made


def test_run_json_says_what_was_made_with_which_tools(run_in, tmp_path):
    run = run_in(tmp_path)
    note = run.step(write, SOURCE)
    run.step(copy, note)

    run = json.loads((tmp_path / "run.json").read_text())

    assert [step["stage"] for step in run["steps"]] == ["write", "copy"]
    assert run["steps"][0]["digest"] == note.digest
    assert run["tools"]["numpy"].startswith("1.26")


def test_a_step_emits_its_start_and_its_end_and_a_cached_one_its_end(run_in, tmp_path, heard):
    run = run_in(tmp_path)
    made = run.step(write, SOURCE)
    run.step(write, SOURCE)

    assert {stage for stage, _ in heard} == {"write"}
    (_, started), (_, done), (_, cached) = heard
    assert started == StageStarted()
    assert (done.cached, done.digest, done.folder) == (False, made.digest, str(made.folder))
    assert (cached.cached, cached.digest, cached.folder) == (True, made.digest, str(made.folder))


def test_a_build_writes_its_events_to_a_file_of_its_own(run_in, tmp_path):
    for _ in range(2):
        run = run_in(tmp_path)
        with run.recording("tiny-1.0-arm64"):
            run.step(infer, SOURCE)
    records = [Record.from_json(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]

    assert records[0].event == BuildStarted(release="tiny-1.0-arm64")
    assert [(record.stage, type(record.event)) for record in records[1:-1]] == [
        ("infer", StageFinished),
        ("infer", Finding),
        ("infer", Warned),
    ]
    assert isinstance(records[-1].event, BuildFinished)
    assert (records[-1].event.outcome, records[-1].event.error) == ("released", "")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(GateFailed("size"), "failed"), (KeyError("a secret"), "error"), (KeyboardInterrupt(), "interrupted")],
)
def test_the_last_event_says_how_a_build_ended_and_repeats_no_message(run_in, error, outcome, tmp_path):
    with pytest.raises(type(error)), run_in(tmp_path).recording("tiny-1.0-arm64"):
        raise error
    last = Record.from_json((tmp_path / "events.jsonl").read_text().splitlines()[-1]).event

    assert (last.outcome, last.error) == (outcome, type(error).__name__)
    assert "secret" not in (tmp_path / "events.jsonl").read_text()


def test_a_build_whose_events_cannot_be_written_is_stopped_with_what_to_do(run_in, tmp_path):
    (tmp_path / "events.jsonl").mkdir()
    with (
        pytest.raises(StageError, match="free space or fix the permissions"),
        run_in(tmp_path).recording("x"),
    ):
        pass


def test_bytes_that_changed_unseen_are_found_before_a_release_is_made_of_them(run_in, tmp_path):
    made = run_in(tmp_path).step(write, SOURCE)
    before = made.file.stat()
    made.file.write_text("hellO")
    os.utime(made.file, ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(StageError, match=r"write: the stored stage write-\w+ is damaged; build again"):
        run_in(tmp_path).verify(run_in(tmp_path).step(write, SOURCE))
    assert run_in(tmp_path).step(write, SOURCE).file.read_text() == "hello"
