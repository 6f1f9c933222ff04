"""The store: what is a hit, what is damaged, what is evicted, and what stays because a build uses it."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline import store as module
from pipeline.errors import ConfigError
from pipeline.store import Store, hashes, user_store

MADE = 1_700_000_000


def make(store, name, text="hello"):
    """Publish a step with one file."""
    with store.making(name, waits=pytest.fail, warn=pytest.fail) as private:
        (private / "sub").mkdir()
        (private / "sub/file").write_text(text)
        store.publish(private, name, {"made": "here"}, hashes(private))
    return store.root / name


def used(folder, days):
    os.utime(folder, (MADE + days * 86_400,) * 2)


@pytest.fixture
def count_hashed(monkeypatch):
    """The files that were hashed since."""
    hashed = []
    real = module.file_sha256

    def count(path):
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(module, "file_sha256", count)
    return hashed


def test_what_is_published_is_found_with_its_record_and_hashes(tmp_path):
    store = Store(tmp_path)
    folder = make(store, "stage-1")

    found = Store(tmp_path).get("stage-1")

    assert (found.folder, found.record) == (folder, {"made": "here"})
    assert found.files == {"sub/file": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}
    assert Store(tmp_path).get("stage-2") is None


def test_a_hit_hashes_nothing(tmp_path, count_hashed):
    make(Store(tmp_path), "stage-1")
    count_hashed.clear()

    assert Store(tmp_path).get("stage-1") is not None
    assert count_hashed == []


def test_a_copied_store_is_hashed_once(tmp_path, count_hashed):
    make(Store(tmp_path / "one"), "stage-1")
    (tmp_path / "one").rename(tmp_path / "two")
    file = tmp_path / "two/stage-1/sub/file"
    os.utime(file, (MADE, MADE))
    count_hashed.clear()

    assert Store(tmp_path / "two").get("stage-1") is not None
    assert Store(tmp_path / "two").get("stage-1") is not None
    assert count_hashed == [file]


def test_a_change_that_keeps_size_time_stamp_and_inode_is_found_by_verify_alone(tmp_path):
    file = make(Store(tmp_path), "stage-1") / "sub/file"
    make(Store(tmp_path), "stage-2")
    before = file.stat()
    file.write_text("hellO")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert Store(tmp_path).get("stage-1") is not None
    assert dict(Store(tmp_path).verify()) == {"stage-1": False, "stage-2": True}
    assert Store(tmp_path).get("stage-1") is None
    assert dict(Store(tmp_path).verify()) == {"stage-2": True}


def test_the_least_recently_used_steps_go_first(tmp_path):
    store = Store(tmp_path)
    for days, name in enumerate(("stage-1", "stage-2", "stage-3")):
        used(make(store, name), days)
    store.close()
    Store(tmp_path).get("stage-1")

    evicted = Store(tmp_path).prune(limit_bytes=10)

    assert [entry.name for entry in evicted] == ["stage-2"]
    assert [entry.name for entry in Store(tmp_path).entries()] == ["stage-3", "stage-1"]


def test_steps_that_were_not_used_for_long_go_whatever_the_size(tmp_path):
    store = Store(tmp_path)
    for days, name in enumerate(("stage-1", "stage-2")):
        used(make(store, name), days)
    store.close()

    evicted = Store(tmp_path).prune(limit_bytes=1000, unused_since=MADE + 1)

    assert [entry.name for entry in evicted] == ["stage-1"]


def test_steps_in_use_are_never_evicted_and_go_once_their_build_has_ended(tmp_path):
    building = Store(tmp_path)
    make(building, "stage-1")
    with Store(tmp_path) as other:
        make(other, "stage-2")
    assert [entry.name for entry in Store(tmp_path).prune()] == ["stage-2"]

    building.close()

    assert [entry.name for entry in Store(tmp_path).prune()] == ["stage-1"]


def test_the_end_of_a_build_brings_the_store_within_its_limit(tmp_path):
    with Store(tmp_path) as earlier:
        make(earlier, "stage-1")
    with Store(tmp_path, limit_bytes=6) as store:
        make(store, "stage-2")

    assert [entry.name for entry in Store(tmp_path).entries()] == ["stage-2"]


def test_what_a_killed_build_left_is_removed_and_what_a_running_one_makes_is_not(tmp_path):
    (tmp_path / ".stage-killed").mkdir()
    with Store(tmp_path).making("stage-1", waits=pytest.fail, warn=pytest.fail) as private:
        Store(tmp_path).prune()
        assert sorted(path.name for path in tmp_path.iterdir()) == [".stage-1"]
        assert private.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_written_to_still_has_its_steps(tmp_path, monkeypatch):
    folder = make(Store(tmp_path), "stage-1")
    os.utime(folder / "sub/file", (MADE, MADE))

    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    monkeypatch.setattr(Path, "rename", refuse)
    with Store(tmp_path, limit_bytes=0) as store:
        assert store.get("stage-1") is not None


def test_a_store_that_cannot_be_made_is_named_with_the_option(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r"file/store: Not a directory; choose another folder with --store"):
        Store(tmp_path / "file/store")


def test_the_users_store_is_in_the_cache_folder_unless_the_environment_names_another(tmp_path, monkeypatch):
    assert str(user_store()) == os.environ["EDGE_PIPELINE_STORE"]
    monkeypatch.delenv("EDGE_PIPELINE_STORE")
    monkeypatch.setenv("EDGE_PIPELINE_CACHE", str(tmp_path))
    assert user_store() == tmp_path / "store"


def test_threads_that_need_one_step_make_it_once(tmp_path):
    made = []

    def need(store, name):
        with store.making(name, waits=lambda _: None, warn=lambda _: None) as private:
            if private is not None:
                made.append(name)
                (private / "file").write_text(name)
                store.publish(private, name, {}, hashes(private))
        return store.get(name).folder

    names = [f"step-{number}" for number in range(20)]
    with Store(tmp_path) as store, ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(need, [store] * 160, names * 8))

    assert sorted(made) == sorted(names)
    assert folders == [tmp_path / name for name in names] * 8
