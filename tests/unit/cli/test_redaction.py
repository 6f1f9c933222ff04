"""A private key or its password is in nothing that the command prints."""

from __future__ import annotations

import pytest

from deploy.keys import generate_key
from pipeline.cli.redaction import redacted


@pytest.fixture
def key_text(tmp_path):
    generate_key(tmp_path / "release.key", tmp_path / "release.pub")
    return (tmp_path / "release.key").read_text()


def words(key_text):
    return [word for word in key_text.split() if len(word) > 16]


@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.parametrize(
    "form",
    [
        lambda text: [text],
        lambda text: [" ".join(text.split())],  # as echo $KEY gives it
        lambda text: text.split(),  # not quoted
        lambda text: ["".join(text.split("\n")[1:-2])],  # without its first and last line
        lambda text: [text[:100]],
    ],
    ids=["whole", "one line", "not quoted", "bare", "cut"],
)
@pytest.mark.parametrize("flag", ["--key", "--public-key"])
def test_a_key_given_in_the_place_of_a_path_is_not_printed(pipeline, key_text, tmp_path, form, flag, debug):
    command = ["verify", str(tmp_path)] if flag == "--public-key" else ["build", "--target", "arm64"]
    ended = pipeline(*command, flag, *form(key_text), *debug)

    assert ended.code in {2, 3}
    assert not any(word in ended.err + ended.out for word in words(key_text))


@pytest.mark.parametrize("damage", [lambda text: text[:120], lambda text: "".join(text.split("\n")[1:-2])])
def test_a_key_of_the_environment_that_cannot_be_used_is_not_printed(pipeline, key_text, monkeypatch, damage):
    monkeypatch.setenv("EDGE_PIPELINE_SIGNING_KEY", damage(key_text))
    monkeypatch.setenv("EDGE_PIPELINE_SIGNING_PASSWORD", "correct horse battery")
    ended = pipeline("build", "--target", "arm64", "--debug")

    assert ended.code == 3
    assert not any(word in ended.err for word in [*words(key_text), "correct horse"])


def test_the_path_of_a_missing_key_is_printed(pipeline, tmp_path):
    for path in (tmp_path / "release" / "keys" / "release.key", "nowhere/keys-of-this-project.pem"):
        assert f"{path}: No such file" in pipeline("build", "--target", "arm64", "--key", path).message


def test_a_key_in_the_place_of_its_path_is_named_as_such(pipeline, key_text):
    ended = pipeline("build", "--target", "arm64", "--key", key_text)

    assert ended.message == (
        "pipeline: got a key where the path of its file is expected; "
        "put the key into EDGE_PIPELINE_SIGNING_KEY"
    )


@pytest.mark.parametrize(
    "arguments", [["--tracking", "mlflow:{}"], ["--tracking=mlflow:{}"], ["--store", "{}"]]
)
def test_a_password_in_a_url_is_not_printed(monkeypatch, arguments):
    url = "http://me:pass@word@127.0.0.1:5000"
    monkeypatch.setattr("sys.argv", ["pipeline", "search", *(each.format(url) for each in arguments)])
    assert redacted(f"request to {url}/api failed") == "request to http://[secret]127.0.0.1:5000/api failed"
