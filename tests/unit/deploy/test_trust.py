"""Several keys, revoked ones, and a release that changes while it is verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deploy import signing
from deploy.errors import DeployError, SignatureError
from deploy.keys import fingerprint, generate_key, read_revoked
from deploy.signing import verify_release

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    generate_key(tmp_path / "other.key", tmp_path / "other.pub")
    return tmp_path / "other.pub"


def test_any_of_several_keys_verifies(signed: Any, other: Path) -> None:
    for keys in ([other, signed.public], [signed.public, other]):
        assert verify_release(signed.release, keys).signed_by == fingerprint(signed.public)
    with pytest.raises(SignatureError, match=f"the public key given is {fingerprint(other)}"):
        verify_release(signed.release, [other])


def test_a_revoked_key_counts_no_more(signed: Any, other: Path, tmp_path: Path) -> None:
    revoked = tmp_path / "revoked.txt"
    revoked.write_text(f"# leaked\n\n{fingerprint(signed.public)}  # 2026\n{'0' * 64}\n")
    for file in (revoked, signed.public):
        with pytest.raises(SignatureError, match="signed with a revoked key"):
            verify_release(signed.release, [signed.public, other], read_revoked(file))
    verify_release(signed.release, [signed.public], read_revoked(other))


@pytest.mark.parametrize("text", ["x", "a" * 63, "A" * 64, "a" * 65, "\x1b[2J"])
def test_a_line_that_is_no_fingerprint_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "revoked.txt").write_text(f"{'0' * 64}\n{text}\n")
    with pytest.raises(DeployError, match=r"revoked\.txt:2: not the fingerprint of a key"):
        read_revoked(tmp_path / "revoked.txt")


def test_a_manifest_that_changes_after_its_hash_was_read_is_refused(
    signed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = signing._ask_library

    def swap(folder: Path, *more: Any) -> None:
        real(folder, *more)
        path = folder / "manifest.json"
        path.write_bytes(path.read_bytes().replace(b"1.2.3", b"1.2.4"))

    monkeypatch.setattr(signing, "_ask_library", swap)
    with pytest.raises(SignatureError, match=r"manifest\.json changed while it was read"):
        verify_release(signed.release, [signed.public])


def test_the_commands_take_several_keys_and_revoked_ones(
    signed: Any, other: Path, pipeline: Any, tmp_path: Path
) -> None:
    words = ["verify", signed.release, "--public-key", other, "--public-key", signed.public]
    assert pipeline(*words).code == 0
    ended = pipeline(*words, "--revoked-key", signed.public)
    assert (ended.code, "revoked key" in ended.message) == (6, True)
    words = [
        "deploy",
        *words[1:],
        "--revoked-key",
        signed.public,
        "--to",
        "local://",
        "--root",
        tmp_path / "d",
    ]
    assert pipeline(*words).code == 6
    assert not (tmp_path / "d").exists()
