"""A store that machines share: what is fetched, made once, verified, and what a failure costs."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time

import fsspec
import pytest
import zstandard
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.artifacts import Artifact, Source
from pipeline.errors import ConfigError
from pipeline.lease import Lease
from pipeline.run import Run
from pipeline.shared_store import SharedStore, _connected, open_store
from pipeline.store import RECORD, Store, hashes, user_store

NAME = "stage-1"
ARCHIVE = f"{NAME}.tar.zst"
WORKER = """
import os, shutil, signal, sys, time
from pathlib import Path
from pipeline.shared_store import SharedStore
from pipeline.store import Store, hashes

root, url, log, mode = sys.argv[1:]

def write(text):
    with open(log, "a") as file:
        file.write(f"{text}\\n")

def copy_half(source, target):
    Path(target).write_bytes(Path(source).read_bytes()[:100])
    os.kill(os.getpid(), signal.SIGKILL)

if mode == "die while publishing":
    shutil.copyfile = copy_half
store = Store(Path(root), shared=SharedStore(url, stale_s=1.2, poll_s=0.05))
with store.making("stage-1", waits=lambda text: write("waits"), warn=write) as private:
    if private is not None:
        write("made")
        if mode == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        while mode == "wait for the other" and "waits" not in Path(log).read_text():
            time.sleep(0.01)
        if mode == "wait for the other":
            time.sleep(2)  # longer than a lease lasts that is not renewed
        (private / "sub").mkdir()
        (private / "sub/file").write_text("hello")
        store.publish(private, "stage-1", {"made": "here"}, hashes(private))
print(store.get("stage-1").files)
"""


class Faulty(MemoryFileSystem):
    """A network on which the operations named in ``broken`` fail."""

    protocol = "faulty"
    store = {}  # noqa: RUF012 - as its parent does
    pseudo_dirs = [""]  # noqa: RUF012
    broken = set()  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("faulty://"))

    def _fail(self, operation):
        if operation in self.broken:
            raise ConnectionResetError(104, "Connection reset by peer")

    def put_file(self, *arguments, **options):
        self._fail("put_file")
        super().put_file(*arguments, **options)

    def get_file(self, *arguments, **options):
        self._fail("get_file")
        super().get_file(*arguments, **options)

    def pipe_file(self, path, value, mode="overwrite", **options):
        self._fail(f"pipe_file {mode}")
        super().pipe_file(path, value, mode=mode, **options)


@pytest.fixture(autouse=True)
def faulty():
    """The filesystem faulty://, unbroken."""
    fsspec.register_implementation("faulty", Faulty, clobber=True)
    Faulty.store.clear()
    Faulty.broken.clear()
    MemoryFileSystem.store.clear()
    _connected.cache_clear()
    return Faulty


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    """The URL of an empty shared store."""
    return f"memory://bucket{tmp_path}" if request.param == "memory" else f"file://{tmp_path}/bucket"


def opened(folder, url, **options):
    return Store(folder, shared=SharedStore(url, **{"stale_s": 0.3, "poll_s": 0.01} | options))


def make(store, text="hello", waits=pytest.fail, warn=pytest.fail):
    """Make or fetch the stage; returns whether it was made."""
    with store.making(NAME, waits=waits, warn=warn) as private:
        if private is not None:
            (private / "sub").mkdir()
            (private / "sub/file").write_text(text)
            store.publish(private, NAME, {"made": "here"}, hashes(private))
    assert (store.root / NAME / "sub/file").read_text() == text
    return private is not None


def names(url):
    files, root = fsspec.url_to_fs(url)
    return sorted(path.rpartition("/")[2] for path in files.ls(root, detail=False))


def packed(*members):
    """Return an archive of (name, type, content or target of a link)."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, kind, text in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            member.linkname = text if kind == tarfile.SYMTYPE else ""
            data = text.encode() if kind == tarfile.REGTYPE else b""
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return zstandard.compress(content.getvalue())


def test_a_stage_that_one_machine_made_is_fetched_by_the_others(tmp_path, url):
    assert make(opened(tmp_path / "one", url))
    other = opened(tmp_path / "two", url)

    assert not make(other)
    assert other.get(NAME).record == {"made": "here"}
    assert names(url) == ["about.txt", ARCHIVE]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [NAME]


def test_a_fetched_stage_is_hashed_once_and_then_found_without_the_network(tmp_path, faulty, monkeypatch):
    make(opened(tmp_path / "one", "faulty://bucket"))
    make(opened(tmp_path / "two", "faulty://bucket"))
    faulty.broken.add("get_file")
    monkeypatch.setattr("pipeline.store.file_sha256", pytest.fail)

    assert not make(opened(tmp_path / "two", "faulty://bucket"))


def test_a_build_counts_a_fetched_stage_as_cached(tmp_path, analysed, url):
    ran = []

    def stage(source, *, out):
        ran.append(source)
        (out / "file").write_text("hello")
        return Artifact()

    stage.__annotations__["return"] = Artifact
    runs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(analysed, tmp_path / name)
        run = Run(tmp_path / "out" / name, opened(tmp_path / name, url))
        run.step(stage, Source(location="x", digest="x"))
        runs += run.steps

    assert len(ran) == 1
    assert [step["cached"] for step in runs] == [False, True]
    assert runs[0]["digest"] == runs[1]["digest"]


@pytest.mark.parametrize("damage", ["truncated", "a byte", "empty", "no archive"])
def test_a_damaged_object_is_discarded_with_a_warning_and_made_again(tmp_path, url, damage):
    make(opened(tmp_path / "one", url))
    files, root = fsspec.url_to_fs(url)
    content = files.cat_file(f"{root}/{ARCHIVE}")
    damaged = {
        "truncated": content[: len(content) // 2],
        "a byte": content[:-20] + bytes([content[-20] ^ 1]) + content[-19:],
        "empty": b"",
        "no archive": b"<html>Sign in</html>",
    }[damage]
    files.pipe_file(f"{root}/{ARCHIVE}", damaged)
    warned = []

    assert make(opened(tmp_path / "two", url), warn=warned.append)
    assert warned == [f"{url}: the stage {NAME} is damaged; it is made again"]
    assert not make(opened(tmp_path / "three", url))


@pytest.mark.parametrize(
    "members",
    [
        [("../outside", tarfile.REGTYPE, "x")],
        [("link", tarfile.SYMTYPE, "..")],
        [("link", tarfile.SYMTYPE, ".."), ("link/outside", tarfile.REGTYPE, "x")],
        [("pipe", tarfile.FIFOTYPE, "")],
        [("further", tarfile.REGTYPE, "x")],
    ],
)
def test_an_archive_with_anything_but_the_files_of_its_record_is_damaged(tmp_path, members):
    record = make_record(tmp_path / "made")
    files, root = fsspec.url_to_fs("memory://bucket")
    sound = [(RECORD, tarfile.REGTYPE, record), ("sub/file", tarfile.REGTYPE, "hello")]
    files.pipe_file(f"{root}/{ARCHIVE}", packed(*sound))
    assert not make(opened(tmp_path / "one", "memory://bucket"))
    files.pipe_file(f"{root}/{ARCHIVE}", packed(*members, *sound))
    warned = []

    assert make(opened(tmp_path / "two", "memory://bucket"), warn=warned.append)
    assert len(warned) == 1
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == [NAME]
    assert not (tmp_path / "outside").exists()


def make_record(folder):
    make(Store(folder))
    return (folder / NAME / RECORD).read_text()


@pytest.fixture
def start(tmp_path):
    """Start a process that needs the stage; it has a store of its own, and all log into ``tmp_path/log``."""
    (program := tmp_path / "worker.py").write_text(WORKER)

    def begin(name, mode):
        command = [
            sys.executable,
            program,
            tmp_path / name,
            f"file://{tmp_path}/bucket",
            tmp_path / "log",
            mode,
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    return begin


def test_of_two_machines_with_one_url_the_second_waits_and_fetches_what_the_first_made(start, tmp_path):
    workers = [start(name, "wait for the other") for name in ("one", "two")]
    found = [worker.communicate(timeout=120)[0] for worker in workers]

    assert [worker.returncode for worker in workers] == [0, 0]
    assert found[0] == found[1] != ""
    assert sorted((tmp_path / "log").read_text().split()) == ["made", "waits"]
    assert names(f"file://{tmp_path}/bucket") == ["about.txt", ARCHIVE]


def test_a_lease_whose_holder_died_is_taken_over(start, tmp_path):
    killed = start("one", "die")
    killed.communicate(timeout=60)
    assert names(f"file://{tmp_path}/bucket") == ["about.txt", f"{NAME}.lease"]
    other = start("two", "go")
    other.communicate(timeout=60)

    assert (killed.returncode, other.returncode) == (-signal.SIGKILL, 0)
    assert (tmp_path / "log").read_text().split() == ["made", "waits", "made"]
    assert names(f"file://{tmp_path}/bucket") == ["about.txt", ARCHIVE]


def test_a_machine_killed_while_it_publishes_leaves_no_half_written_stage(start, tmp_path):
    killed = start("one", "die while publishing")
    killed.communicate(timeout=60)
    left = names(f"file://{tmp_path}/bucket")
    other = start("two", "go")
    other.communicate(timeout=60)

    assert (killed.returncode, other.returncode) == (-signal.SIGKILL, 0)
    assert any(name.startswith(f".{NAME}.") for name in left)
    assert ARCHIVE not in left
    assert (tmp_path / "log").read_text().split() == ["made", "waits", "made"]
    assert not make(opened(tmp_path / "three", f"file://{tmp_path}/bucket"))


def test_a_lease_that_is_renewed_is_not_taken_over(tmp_path, url):
    files, root = fsspec.url_to_fs(url)
    make(opened(tmp_path / "other", url))  # makes the folder
    options = {"is_folder": url.startswith("file"), "stale_s": 0.3, "poll_s": 0.01}
    holder, waiting = (Lease(files, f"{root}/x.lease", **options) for _ in range(2))
    assert holder.acquire()
    assert not waiting.acquire()
    waited = []
    thread = threading.Thread(target=lambda: waited.append(waiting.wait(lambda _: None)))
    thread.start()
    time.sleep(1)
    assert thread.is_alive()

    holder.release()
    thread.join(timeout=10)

    assert waited == [True]
    assert waiting.acquire()
    waiting.release()
    assert "x.lease" not in names(url)


def test_a_holder_that_lost_its_lease_leaves_that_of_its_successor(tmp_path):
    files, root = fsspec.url_to_fs("memory://bucket")
    holder = Lease(files, f"{root}/x.lease", is_folder=False, stale_s=0.1, poll_s=0.01)
    assert holder.acquire()
    successor = json.dumps({"owner": "successor"}).encode()
    files.pipe_file(f"{root}/x.lease", successor)
    time.sleep(0.2)
    holder.release()

    assert files.cat_file(f"{root}/x.lease") == successor


def test_without_exclusive_creation_a_stage_is_made_without_a_lease(tmp_path, faulty):
    faulty.broken.add("pipe_file create")

    assert make(opened(tmp_path / "one", "faulty://bucket"))
    assert not make(opened(tmp_path / "two", "faulty://bucket"))


def test_a_stage_that_fails_gives_up_its_lease_and_publishes_nothing(tmp_path, url):
    store = opened(tmp_path / "one", url)
    with pytest.raises(RuntimeError), store.making(NAME, waits=pytest.fail, warn=pytest.fail):
        raise RuntimeError

    assert names(url) == ["about.txt"]
    assert make(opened(tmp_path / "two", url))


@pytest.mark.parametrize("broken", ["put_file", "get_file"])
def test_without_a_network_the_stage_is_made_with_one_warning(tmp_path, faulty, broken):
    store = opened(tmp_path / "one", "faulty://bucket")
    faulty.broken.add(broken)
    warned = []

    assert make(store, warn=warned.append)
    store.close()
    shutil.rmtree(tmp_path / "one" / NAME)
    assert make(store, warn=warned.append)
    cause = "ConnectionResetError: [Errno 104] Connection reset by peer"
    assert warned == [f"faulty://bucket: {cause}; going on without the shared store"]
    assert names("faulty://bucket") == ["about.txt"]


def test_a_folder_is_opened_as_before_and_a_url_with_the_users_own_store_as_cache(tmp_path):
    assert open_store(str(tmp_path / "folder")).root == tmp_path / "folder"
    assert open_store("memory://bucket").root == user_store()


def test_a_url_in_the_variable_of_the_users_store_is_refused(monkeypatch):
    monkeypatch.setenv("EDGE_PIPELINE_STORE", "s3://bucket")
    with pytest.raises(ConfigError, match=r"EDGE_PIPELINE_STORE=s3://bucket: a URL; name a folder"):
        user_store()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file://relative", r"--store file://relative: .* write file:///FOLDER"),
        (
            "nonsense://x",
            r"--store nonsense://x: cannot be used \(ValueError: Protocol not known: nonsense\)",
        ),
        (
            "file:///proc/x",
            r"--store file:///proc/x: cannot be used \(\w+: .*\); check the address, the cred",
        ),
        ("s3://key:secret@bucket", r"--store s3://bucket: needs the package s3fs; .*: pip install s3fs$"),
        ("gs://bucket", r"--store gs://bucket: needs the package gcsfs; .*: pip install gcsfs$"),
    ],
)
def test_a_url_that_cannot_be_used_is_one_line_with_a_fix(monkeypatch, url, message):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ConfigError, match=message) as caught:
        SharedStore(url)
    assert "\n" not in str(caught.value)


def test_fsspec_is_imported_only_for_a_url(tmp_path):
    program = (
        "import sys; from pipeline.shared_store import open_store; "
        f"open_store({str(tmp_path)!r}); assert 'fsspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ, timeout=60)


def test_a_search_with_a_url_that_cannot_be_used_ends_before_any_work(pipeline, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    options = (
        "--target",
        "arm64",
        "--model",
        "zoo:resnet8",
        "--data",
        "fashion-mnist",
        "--out",
        tmp_path / "out",
    )
    ended = pipeline("search", *options, "--store", "s3://bucket")

    assert ended.code == 2
    assert "--store s3://bucket: needs the package s3fs" in ended.message
    assert not (tmp_path / "out").exists()


def test_other_commands_refuse_a_url(pipeline):
    ended = pipeline("cache", "show", "--store", "s3://bucket")

    assert ended.code == 2
    assert "s3://bucket is a URL, which only pipeline search takes; name a folder" in ended.err
