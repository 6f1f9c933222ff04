"""``pipeline verify``: what it prints, where it takes the key from, and that it needs no TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from deploy.keys import fingerprint, generate_key
from deploy.manifest import digest_of
from deploy.signing import sign

NOT_NEEDED = ("tensorflow", "tf_keras", "keras", "ai_edge_litert", "tflite_runtime", "h5py", "PIL", "scipy")


@pytest.fixture(autouse=True)
def public(tmp_path, monkeypatch):
    monkeypatch.delenv("EDGE_PIPELINE_PUBLIC_KEY", raising=False)
    generate_key(tmp_path / "release.key", tmp_path / "release.pub")
    return tmp_path / "release.pub"


@pytest.fixture
def release(tmp_path, write_release):
    folder = write_release(tmp_path)
    sign(folder, tmp_path / "release.key")
    return folder


def test_it_says_what_the_release_is_and_who_signed_it(release, public, pipeline):
    ended = pipeline("verify", release, "--public-key", public)

    said = " ".join(ended.out.split())
    assert (ended.code, ended.err) == (0, "")
    assert "name tiny 1.2.3 for arm64 counter 1002003500 expires never" in said
    assert "runs on aarch64, Android arm64-v8a, with ai-edge-litert >= 1.0.1 files 10" in said
    assert f"digest {digest_of(release)} signed by {fingerprint(public)}" in said


def test_json_holds_the_same(release, public, pipeline):
    ended = pipeline("verify", release, "--public-key", public, "--json")

    assert json.loads(ended.out) == {
        "release": str(release),
        "name": "tiny",
        "version": "1.2.3",
        "target": "arm64",
        "counter": 1002003500,
        "created": None,
        "expires": None,
        "machine": "aarch64",
        "android_abi": "arm64-v8a",
        "runtimes": [{"package": "ai-edge-litert", "least": "1.0.1"}],
        "digest": digest_of(release),
        "files": 10,
        "signed_by": fingerprint(public),
    }


@pytest.mark.parametrize("form", [str, lambda path: path.read_text()], ids=["path", "text"])
def test_the_key_may_come_from_the_environment(form, release, public, pipeline, monkeypatch):
    monkeypatch.setenv("EDGE_PIPELINE_PUBLIC_KEY", form(public))

    assert pipeline("verify", release).code == 0


def test_without_a_key_nothing_is_verified(release, pipeline):
    ended = pipeline("verify", release)

    assert (ended.code, ended.out) == (2, "")
    assert "pass --public-key FILE, set EDGE_PIPELINE_PUBLIC_KEY" in ended.message


@pytest.mark.parametrize("key", ["nowhere.pub", "release.key"])
def test_a_key_that_cannot_be_used_is_bad_input(key, release, tmp_path, pipeline):
    ended = pipeline("verify", release, "--public-key", tmp_path / key)

    assert (ended.code, ended.out) == (3, "")


def test_what_was_tampered_with_ends_with_6(release, public, pipeline):
    (release / "labels.txt").write_text("dog\ncat\n")

    ended = pipeline("verify", release, "--public-key", public, "--json")

    assert (ended.code, ended.out) == (6, "")
    assert "labels.txt: its bytes are not those in SHA256SUMS" in ended.message


def test_verifying_loads_no_tensorflow(release, public):
    program = (
        "import sys\n"
        "from pipeline.cli import main\n"
        f"sys.argv = ['pipeline', 'verify', {str(release)!r}, '--public-key', {str(public)!r}]\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code\n"
        f"print([name for name in {NOT_NEEDED} if name in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
