"""Steps: what is kept, what is made again, and what a crash, a full disk or a second build leaves behind."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import pytest

from calibration.errors import CalibrationError
from pipeline.artifacts import Artifact, Source
from pipeline.config import CalibrationConfig
from pipeline.errors import ConfigError, GateFailed, InputError, StageError
from pipeline.workspace import Workspace, write_whole

VERSION = 1
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


def configured(source: Source, *, config: CalibrationConfig, out: Path) -> Note:
    calls.append("configured")
    return Note(text=str(config.samples))


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


def names(workspace):
    """What is in the store, hidden files included."""
    return sorted(path.name for path in (workspace.root / "steps").iterdir())


def test_a_step_runs_once_and_is_then_taken_from_the_store(tmp_path):
    first = Workspace(tmp_path).step(write, SOURCE, text="once")
    workspace = Workspace(tmp_path)
    second = workspace.step(write, SOURCE, text="once")

    assert calls == ["once"]
    assert second == first
    assert second.file.read_text() == "once"
    assert [step["cached"] for step in workspace.steps] == [True]


def test_the_place_of_a_source_and_of_the_workspace_is_no_part_of_the_result(tmp_path):
    one = Workspace(tmp_path / "one").step(write, SOURCE)
    other = Workspace(tmp_path / "other").step(write, Source(location="elsewhere.keras", digest="aa"))

    assert one.digest == other.digest
    assert one.folder.name == other.folder.name


def test_another_setting_input_version_or_tool_is_another_step(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    workspace.step(write, SOURCE, text="a")
    workspace.step(write, SOURCE, text="b")
    workspace.step(write, Source(location="model.keras", digest="bb"), text="a")
    monkeypatch.setattr(sys.modules[__name__], "VERSION", 2)
    workspace.step(write, SOURCE, text="a")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99")
    Workspace(tmp_path).step(write, SOURCE, text="a")

    assert len(calls) == len(names(workspace)) == 5


def test_a_config_section_is_keyed_by_its_values(tmp_path):
    workspace = Workspace(tmp_path)
    for samples in (8, 8, 9):
        workspace.step(configured, SOURCE, config=CalibrationConfig(samples=samples))

    assert calls == ["configured"] * 2


def test_a_step_follows_the_content_of_its_input(tmp_path):
    workspace = Workspace(tmp_path)
    for text in ("a", "b", "a"):
        workspace.step(copy, workspace.step(write, SOURCE, text=text))

    assert calls == ["a", "copy", "b", "copy"]


def test_findings_and_notes_are_reported_by_a_cached_step_too(tmp_path):
    heard = []
    for _ in range(2):
        workspace = Workspace(tmp_path, lambda level, text: heard.append((level, text)))
        workspace.step(infer, SOURCE)

    assert calls == ["infer"]
    assert [line for line in heard if line[0] in ("info", "warning")] == [
        ("info", "task: binary"),
        ("warning", "-1 is 0"),
    ] * 2


@pytest.mark.parametrize("damage", ["flip", "remove", "add", "record", "no record", "other record", "list"])
def test_a_damaged_step_is_made_again_with_a_warning(damage, tmp_path):
    heard = []
    workspace = Workspace(tmp_path, lambda level, text: heard.append((level, text)))
    made = workspace.step(write, SOURCE)
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

    again = workspace.step(write, SOURCE)

    assert again == made
    assert again.file.read_text() == "hello"
    assert len(calls) == 2
    assert [text for level, text in heard if level == "warning"] == [
        f"the stored step {made.folder.name} is damaged; it is made again"
    ]


def test_a_damaged_step_that_cannot_be_removed_is_not_used(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    made = workspace.step(write, SOURCE)
    made.file.write_text("hellO")
    monkeypatch.setattr("shutil.rmtree", lambda *arguments, **options: None)

    assert workspace.step(write, SOURCE).file.read_text() == "hello"


def test_a_damaged_step_that_cannot_be_moved_stops_the_build(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    made = workspace.step(write, SOURCE)
    made.file.write_text("hellO")
    rename = Path.rename

    def refuse(path, target):
        if path == made.folder:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StageError, match=r"is damaged and cannot be moved: .*; remove that folder, or build"):
        workspace.step(write, SOURCE)
    assert len(calls) == 1


def test_a_damaged_step_that_appears_meanwhile_is_not_taken_for_the_result(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    made = Workspace(tmp_path / "other").step(write, SOURCE)
    stored = workspace._store / made.folder.name
    rename = Path.rename

    def slower(path, target):
        if target == stored and not stored.exists():
            shutil.copytree(made.folder, stored)
            (stored / "file").unlink(missing_ok=True)
            (stored / "more").write_text("x")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", slower)
    with pytest.raises(StageError, match="free space or fix the permissions"):
        workspace.step(write, SOURCE)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        ("gate", GateFailed, "too large"),
        ("leaf", InputError, "no samples"),
        ("disk", StageError, "fail: .*No space left on device; free space"),
        ("bug", StageError, "fail: KeyError: 'kernel'; run again with --debug"),
        ("chatter", StageError, "fail: RuntimeError: first line;"),
    ],
)
def test_a_stage_that_fails_leaves_nothing_and_is_said_in_one_line(error, kind, said, tmp_path):
    workspace = Workspace(tmp_path)
    kept = workspace.step(write, SOURCE)

    with pytest.raises(kind, match=said) as caught:
        workspace.step(fail, SOURCE, error=error)

    assert "\n" not in str(caught.value)
    assert names(workspace) == [kept.folder.name]
    assert Workspace(tmp_path).step(write, SOURCE) == kept


def test_builds_with_one_key_at_once_are_both_right(tmp_path):
    together = Barrier(4)

    def build(_):
        together.wait()
        return Workspace(tmp_path).step(write, SOURCE)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(build, range(4)))

    assert len(set(results)) == 1
    assert results[0].file.read_text() == "hello"
    assert names(Workspace(tmp_path)) == [results[0].folder.name]


STAGE = """
import os, signal, sys, time
from pathlib import Path
from pipeline.artifacts import Artifact, Source
from pipeline.workspace import Workspace, write_whole

def slow(source: Source, *, out: Path) -> Artifact:
    (out / "a").write_text("a")
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    while len(list(Path(sys.argv[1]).glob("steps/*slow-*"))) < int(sys.argv[2]):
        time.sleep(0.01)
    (out / "b").write_text("b")
    return Artifact()

if __name__ == "__main__":
    print(Workspace(Path(sys.argv[1])).step(slow, Source(location="x", digest="x")).digest)
"""


def start(program, root, mode):
    return subprocess.Popen([sys.executable, program, root, mode], stdout=subprocess.PIPE, text=True)


def test_two_processes_with_one_key_both_end_with_the_same_step(tmp_path):
    (program := tmp_path / "stage.py").write_text(STAGE)
    builds = [start(program, tmp_path / "out", "2") for _ in range(2)]
    digests = [build.communicate(timeout=60)[0] for build in builds]

    assert [build.returncode for build in builds] == [0, 0]
    assert digests[0] == digests[1] != ""
    [step] = (tmp_path / "out/steps").iterdir()
    assert sorted(path.name for path in step.iterdir()) == ["a", "artifact.json", "b"]


def test_a_build_killed_within_a_stage_is_taken_up_with_the_same_result(tmp_path):
    (program := tmp_path / "stage.py").write_text(STAGE)
    killed = start(program, tmp_path / "out", "die")
    killed.communicate(timeout=60)
    resumed, _ = start(program, tmp_path / "out", "1").communicate(timeout=60)
    undisturbed, _ = start(program, tmp_path / "other", "1").communicate(timeout=60)

    assert killed.returncode == -9
    assert resumed == undisturbed != ""
    assert [path.name for path in (tmp_path / "out/steps").glob(".*")] == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="file/out/steps: Not a directory; build into another folder"):
        Workspace(tmp_path / "file/out")


def test_a_store_that_is_full_before_a_stage_starts_is_an_error_of_that_stage(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)

    def full(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(StageError, match=r"write: .*No space left on device"):
        workspace.step(write, SOURCE)


def test_run_json_says_what_was_made_with_which_tools(tmp_path):
    workspace = Workspace(tmp_path)
    note = workspace.step(write, SOURCE)
    workspace.step(copy, note)

    run = json.loads((tmp_path / "run.json").read_text())

    assert [step["stage"] for step in run["steps"]] == ["write", "copy"]
    assert run["steps"][0]["digest"] == note.digest
    assert run["tools"]["numpy"].startswith("1.26")


def test_listeners_hear_the_start_the_end_and_the_cache(tmp_path):
    heard = []
    workspace = Workspace(tmp_path, lambda level, text: heard.append((level, text.split()[0])))
    made = workspace.step(write, SOURCE)
    workspace.step(write, SOURCE)

    digest = made.digest[:16]
    assert heard == [
        ("start", "write"),
        ("done", "write"),
        ("detail", digest),
        ("cached", "write"),
        ("detail", digest),
    ]


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "run.json"
    write_whole(path, "old")

    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")

    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]
    assert path.read_text() == "old"
