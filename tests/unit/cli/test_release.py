"""``pipeline release``: what it prints, where it takes the key from, and how it refuses."""

from __future__ import annotations

import json

import pytest

from deploy.keys import generate_key
from deploy.manifest import digest_of
from deploy.signing import verify


@pytest.fixture(autouse=True)
def keys(tmp_path, monkeypatch):
    for name in ("EDGE_PIPELINE_SIGNING_KEY", "EDGE_PIPELINE_SIGNING_PASSWORD", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)
    generate_key(tmp_path / "release.key", tmp_path / "release.pub")
    return tmp_path / "release.key", tmp_path / "release.pub"


@pytest.fixture
def release(tmp_path, write_release):
    return write_release(tmp_path / "old")


def test_it_says_what_the_new_release_is(release, keys, tmp_path, pipeline):
    private, public = keys
    out = tmp_path / "new"

    ended = pipeline(
        *("release", release, "--out", out, "--key", private),
        *("--version", "1.3.0", "--counter", 2_000_000, "--expires", "2031-02-03"),
    )

    new = out / "tiny-1.3.0-arm64"
    said = " ".join(ended.out.split())
    assert (ended.code, ended.err) == (0, "")
    assert "name tiny 1.3.0 for arm64 counter 2000000 expires 2031-02-03" in said
    assert f"digest {digest_of(new)}" in said
    assert verify(new, public).version == "1.3.0"


@pytest.mark.parametrize("form", [str, lambda path: path.read_text()], ids=["path", "text"])
def test_the_key_may_come_from_the_environment(form, release, keys, tmp_path, pipeline, monkeypatch):
    monkeypatch.setenv("EDGE_PIPELINE_SIGNING_KEY", form(keys[0]))

    found = json.loads(pipeline("release", release, "--out", tmp_path / "new", "--json").out)

    assert verify(tmp_path / "new" / release.name, keys[1])
    assert found["signed_by"] is not None


def test_an_encrypted_key_needs_its_password(release, tmp_path, pipeline, monkeypatch):
    generate_key(tmp_path / "b.key", tmp_path / "b.pub", "correct horse")
    command = ("release", release, "--out", tmp_path / "new", "--key", tmp_path / "b.key")

    ended = pipeline(*command)
    assert (ended.code, "put its password into" in ended.message) == (3, True)
    assert not (tmp_path / "new").exists()

    monkeypatch.setenv("EDGE_PIPELINE_SIGNING_PASSWORD", "correct horse")
    assert pipeline(*command).code == 0
    assert verify(tmp_path / "new" / release.name, tmp_path / "b.pub")


def test_without_a_key_it_is_unsigned_and_says_so(release, tmp_path, pipeline):
    ended = pipeline("release", release, "--out", tmp_path / "new")

    assert "signed by no one; sign it with --key" in " ".join(ended.out.split())
    assert not (tmp_path / "new" / release.name / "release.sig").exists()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--version", "1.0.0"], 2, "the rollback index would fall from 1002003500 to 1000000500"),
        (["--version", "1.1000.0"], 2, "its numbers are too large"),
        (["--version", "../../x"], 2, "--version: '../../x' cannot be part of a file name"),
        (["--version", "a;reboot"], 2, "--version: 'a;reboot' cannot be part of a file name"),
        (["--version", "1 2"], 2, "--version: '1 2' contains a space; use letters, digits"),
        (["--version", "nightly"], 2, "a number that rises with every release with --counter"),
        (["--version", "9" * 64], 2, "its numbers are too large"),
        (["--version", "x" * 65, "--counter", "2000000"], 2, "--version: 'xxx"),
        (["--version", ""], 2, "--version: ''"),
        (["--counter", "-1"], 2, "--counter"),
        (["--counter", str(2**63)], 2, "--counter"),
        (["--expires", "soon"], 2, "--expires"),
        (["--expires", "2020-01-01"], 2, "--expires 2020-01-01 is in the past"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(options, code, said, release, tmp_path, pipeline):
    ended = pipeline("release", release, "--out", tmp_path / "new", *options)

    assert (ended.code, ended.out) == (code, "")
    assert said in ended.message
    assert not (tmp_path / "new").exists()


def test_a_source_that_is_damaged_ends_with_6(release, keys, tmp_path, pipeline):
    (release / "labels.txt").write_text("x")

    ended = pipeline("release", release, "--out", tmp_path / "new", "--key", keys[0])

    assert (ended.code, ended.out) == (6, "")
    assert "labels.txt: its bytes are not those in SHA256SUMS" in ended.message
    assert not (tmp_path / "new").exists()
