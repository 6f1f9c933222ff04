"""Repacking: the model's bytes as they were, under another name, counter, expiry or signature."""

from __future__ import annotations

import json
from datetime import date

import pytest

from deploy.contents import check_manifest, check_sums
from deploy.errors import SignatureError
from deploy.keys import generate_key
from deploy.manifest import digest_of, read_manifest
from deploy.signing import sign, verify
from pipeline.errors import ConfigError, StageError
from pipeline.release.repackage import repack


@pytest.fixture(autouse=True)
def _no_date(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)


@pytest.fixture
def source(tmp_path, write_release):
    texts = {"tiny-1.2.3-arm64.tflite.zst": b"packed", "android/tiny-1.2.3-arm64.tflite": b"asset"}
    return write_release(tmp_path / "old", texts)


@pytest.fixture
def keys(tmp_path):
    private, public = tmp_path / "release.key", tmp_path / "release.pub"
    generate_key(private, public)
    return private, public


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_new_version_renames_what_carries_it_and_changes_no_byte(source, tmp_path):
    before = files_of(source)

    new = repack(source, tmp_path / "new", version="1.3.0")

    found, again = files_of(new), {"manifest.json", "SHA256SUMS"}
    packages = [[name for name in files if name.startswith("raspberrypi/")] for files in (before, found)]
    assert packages[1] == ["raspberrypi/edge-model-tiny_1.3.0-1003000500_arm64.deb"]
    before, found = (
        {name: files[name] for name in files if name not in made}
        for files, made in zip((before, found), packages, strict=True)
    )
    named = {
        name.replace("tiny-1.2.3-arm64.tflite", "tiny-1.3.0-arm64.tflite", "/" not in name): name
        for name in before
    }
    assert new == tmp_path / "new/tiny-1.3.0-arm64"
    assert {name: found[name] for name in named if name not in again} == {
        name: before[old] for name, old in named.items() if name not in again
    }
    assert found.keys() == named.keys()
    assert files_of(source).items() >= before.items()
    assert check_manifest(new, check_sums(new)).model == "tiny-1.3.0-arm64.tflite"


def test_what_is_not_named_stays_as_it_was(source, tmp_path):
    new = repack(source, tmp_path / "new", expires=date(2031, 2, 3))

    was, now = (read_manifest(folder).model_dump() for folder in (source, new))
    assert now == was | {"expires": date(2031, 2, 3)}


def test_nothing_changed_is_the_same_release(source, tmp_path):
    new = repack(source, tmp_path / "new")

    assert digest_of(new) == digest_of(source)
    assert files_of(new) == files_of(source)


@pytest.mark.parametrize(
    ("version", "counter", "expected"),
    [("1.3.0", None, 1_003_000_500), ("1.0.0", 5_000_000, 5_000_000), (None, 7, 7), ("beta", 9, 9)],
)
def test_the_counter_is_the_versions_unless_it_is_given(version, counter, expected, source, tmp_path):
    new = repack(source, tmp_path / "new", version=version, counter=counter)

    assert read_manifest(new).counter == expected


def test_a_counter_does_not_fall_unasked(source, tmp_path):
    with pytest.raises(ConfigError, match=r"would fall from 1002003500 to 1000000500, .*; give --counter"):
        repack(source, tmp_path / "new", version="1.0.0")


def test_the_date_comes_from_the_environment_if_at_all(source, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767323045")

    assert read_manifest(repack(source, tmp_path / "new")).created == "2026-01-02T03:04:05Z"


def test_a_signed_release_is_signed_anew(source, keys, tmp_path):
    private, public = keys
    sign(source, private)
    generate_key(tmp_path / "b.key", tmp_path / "b.pub")

    new = repack(source, tmp_path / "new", version="2.0.0", key=tmp_path / "b.key")

    assert verify(new, tmp_path / "b.pub").version == "2.0.0"
    assert verify(source, public).version == "1.2.3"


def test_without_a_key_an_old_signature_is_left_behind(source, keys, tmp_path):
    sign(source, keys[0])

    assert not (repack(source, tmp_path / "new") / "release.sig").exists()


def test_it_may_be_put_in_the_place_of_its_source(source, keys, tmp_path):
    new = repack(source, source.parent, key=keys[0])

    assert new == source
    assert verify(source, keys[1])
    assert [path.name for path in source.parent.iterdir()] == [source.name]


def test_a_source_that_is_not_as_its_manifest_says_is_refused(source, tmp_path):
    manifest = json.loads((source / "manifest.json").read_text())
    (source / "manifest.json").write_text(json.dumps(manifest | {"name": "other"}))

    with pytest.raises(SignatureError, match=r"manifest\.json: its bytes are not those in SHA256SUMS"):
        repack(source, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_source_in_a_renamed_folder_is_refused(source, tmp_path):
    with pytest.raises(
        SignatureError, match=r"the release in it is tiny-1\.2\.3-arm64; give the folder that name"
    ):
        repack(source.rename(source.parent / "renamed-1-arm64"), tmp_path / "new")


def test_where_it_cannot_be_written_nothing_is_left(source, tmp_path):
    (tmp_path / "file").write_text("mine")

    with pytest.raises(StageError, match=r"release: .*; free space or fix the permissions"):
        repack(source, tmp_path / "file")

    assert (tmp_path / "file").read_text() == "mine"
