"""The manifest: read back as it was written, and refused where it is none."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import DeployError
from deploy.manifest import Manifest, digest_of, read_manifest


@pytest.fixture
def folder(tmp_path, write_release):
    return write_release(tmp_path)


@pytest.fixture
def edited(folder):
    """Set one key of the manifest and return the folder."""

    def edit(**changes):
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return folder

    return edit


def test_the_digest_is_that_of_the_manifests_file(folder):
    assert digest_of(folder) == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert read_manifest(folder).full_name == "tiny-1.2.3-arm64" == folder.name


def test_a_manifest_reads_back_as_it_was_written(folder):
    text = (folder / "manifest.json").read_text()
    assert read_manifest(folder).model_dump_json(indent=1) + "\n" == text


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../../x", "a//b", "./a", "a\\b", "a\nb", "a\x1b[31m", "", "a/"]
)
def test_a_path_that_leaves_the_release_or_cannot_be_printed_is_refused(path, edited):
    with pytest.raises(DeployError, match="is not a path inside a release") as refused:
        read_manifest(edited(files={path: "0" * 64}))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("word", ["", "-rf", "a;reboot", "$(x)", "a b", "a\n", "../x", "x" * 65])
@pytest.mark.parametrize("key", ["name", "version", "target", "machine"])
def test_what_is_no_plain_word_is_refused(key, word, edited):
    with pytest.raises(DeployError, match=rf"manifest\.json: {key}: "):
        read_manifest(edited(**{key: word}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("counter", -1),
        ("counter", 2**63),
        ("expires", "soon"),
        ("schema_version", 2),
        ("runtimes", []),
        ("runtimes", [{"package": "os", "least": "1"}]),
        ("files", {"a": "00"}),
        ("surprise", 1),
    ],
)
def test_what_has_no_meaning_is_refused_by_its_key(key, value, edited):
    with pytest.raises(DeployError, match=rf"manifest\.json: {key}"):
        read_manifest(edited(**{key: value}))


def test_a_name_with_terminal_codes_is_shown_without_them(edited):
    with pytest.raises(DeployError) as refused:
        read_manifest(edited(**{"\x1b[31m" + "x" * 1000: 1}))
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "null", "{", "[" * 100_000, '{"a":' * 50_000, "\ufeff{}"],
    ids=lambda text: ascii(text[:8]),  # the whole would be in the environment of every child process
)
def test_what_is_no_manifest_is_one_clear_error(text, folder):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(DeployError, match="build the release again"):
        read_manifest(folder)


def test_a_folder_without_a_manifest_is_one_clear_error(tmp_path):
    with pytest.raises(DeployError, match="No such file or directory; name a release's folder"):
        read_manifest(tmp_path)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_one_clear_error(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "any-bytes"
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(DeployError):
        read_manifest(folder)


def test_a_long_name_and_version_still_name_a_model(tmp_path, write_release):
    folder = write_release(tmp_path, name="n" * 64, version="v" * 64)

    assert isinstance(read_manifest(folder), Manifest)
    assert read_manifest(folder).model == f"{folder.name}.tflite"
