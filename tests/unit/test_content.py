"""Digests, and files that are written whole or not at all."""

from __future__ import annotations

import pytest

from pipeline.artifacts import Artifact, Source
from pipeline.config import DataConfig
from pipeline.content import canonical_json, folder_digests, sha256_of, write_whole


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one_and_nothing_else(tmp_path):
    path = tmp_path / "run.json"
    write_whole(path, "old")

    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")

    assert [each.name for each in tmp_path.iterdir()] == ["run.json"]
    assert path.read_text() == "old"


def test_equal_values_have_equal_json_whatever_the_order_of_their_keys():
    assert canonical_json({"b": 1, "a": (2,)}) == canonical_json({"a": [2], "b": 1}) == '{"a":[2],"b":1}'


def test_artifacts_and_sources_count_by_their_digest_and_sections_by_what_can_change_a_result(tmp_path):
    given = [Artifact(folder=tmp_path, digest="aa"), Source(location="here", digest="bb")]

    assert canonical_json(given) == '["aa","bb"]'
    assert sha256_of(DataConfig(source="a", timeout_s=1)) == sha256_of(DataConfig(source="a", timeout_s=2))
    assert sha256_of(DataConfig(source="a", decimal=",")) != sha256_of(DataConfig(source="a"))


def test_every_file_of_a_folder_has_a_digest(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_text("")

    assert folder_digests(tmp_path) == {
        "a/b/c": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    }
