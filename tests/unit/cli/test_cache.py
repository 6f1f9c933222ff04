"""``pipeline cache``: what the store holds, and what goes."""

from __future__ import annotations

import json
import os

import pytest

from pipeline.store import Store, hashes


@pytest.fixture
def store(tmp_path):
    """A store with three results of two stages, the first unused for years."""
    with Store(tmp_path / "store") as opened:
        for name in ("prune-1", "prune-2", "judge-3"):
            with opened.making(name, waits=pytest.fail, warn=pytest.fail) as private:
                (private / "file").write_bytes(bytes(1_000_000))
                opened.publish(private, name, {}, hashes(private))
    os.utime(opened.root / "prune-1", (1_700_000_000,) * 2)
    return opened.root


def test_show_lists_the_stages_with_their_results_and_sizes(store, pipeline):
    shown = pipeline("cache", "show", "--store", store)
    found = json.loads(pipeline("cache", "show", "--store", store, "--json").out)

    assert shown.code == 0
    assert shown.out.splitlines()[0] == f"{store}: 3 results, 3.0 MB"
    assert [line.split()[:3] for line in shown.out.splitlines()[2:]] == [
        ["judge", "1", "1.0"],
        ["prune", "2", "2.0"],
    ]
    assert (found["store"], found["size_bytes"]) == (str(store), 3_000_000)
    assert [(each["stage"], each["results"]) for each in found["stages"]] == [("judge", 1), ("prune", 2)]


def test_the_environment_names_the_store(store, pipeline, monkeypatch):
    monkeypatch.setenv("EDGE_PIPELINE_STORE", str(store))

    assert pipeline("cache", "show").out.startswith(f"{store}: 3 results")


def test_an_empty_store_is_no_error(tmp_path, pipeline):
    assert (
        pipeline("cache", "show", "--store", tmp_path / "new").out == f"{tmp_path}/new: 0 results, 0.0 MB\n"
    )


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (("--cache-size", "2.5MB"), 2),
        (("--cache-size", "999KB"), 0),
        (("--unused-days", "30"), 2),
        ((), 3),
    ],
)
def test_prune_removes_the_least_recently_used_results(options, left, store, pipeline):
    ended = pipeline("cache", "prune", "--store", store, *options, "--json")
    found = json.loads(ended.out)

    assert ended.code == 0
    assert len(Store(store).entries()) == left
    assert found["size_bytes"] == left * 1_000_000
    assert found["removed"][:1] == (["prune-1"] if left < 3 else [])


def test_clear_removes_all_but_what_a_running_build_uses(store, pipeline):
    with Store(store) as building:
        building.get("prune-2")
        ended = pipeline("cache", "clear", "--store", store)

    assert ended.out == f"{store}: removed 2 results, 2.0 MB; 1 are left\n"
    assert [entry.name for entry in Store(store).entries()] == ["prune-2"]


def test_verify_finds_and_removes_a_damaged_result_and_ends_with_6(store, pipeline):
    assert pipeline("cache", "verify", "--store", store).out == f"{store}: 3 results, 0 damaged\n"
    (store / "judge-3/file").write_bytes(b"\1" * 1_000_000)

    ended = pipeline("cache", "verify", "--store", store, "--json")

    assert ended.code == 6
    assert json.loads(ended.out)["damaged"] == ["judge-3"]
    assert ended.message == "pipeline: damaged and removed: judge-3; the next build makes them again"
    assert pipeline("cache", "verify", "--store", store).code == 0


@pytest.mark.parametrize("size", ["much", "-1", "5 apples", "GB"])
def test_a_size_that_is_none_is_one_line_with_an_example(size, store, pipeline):
    ended = pipeline("cache", "prune", "--store", store, f"--cache-size={size}")

    assert ended.code == 2
    assert "write for example 500MB or 20GB" in ended.message


def test_a_store_below_a_file_is_one_line(tmp_path, pipeline):
    (tmp_path / "file").write_text("")

    ended = pipeline("cache", "show", "--store", tmp_path / "file/store")

    assert (ended.code, ended.out) == (3, "")
    assert "it is below a file" in ended.message
