"""Keys: made once, readable by their owner alone, and refused in one line where they cannot be used."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from deploy.errors import DeployError
from deploy.keys import fingerprint, fingerprint_of, generate_key, is_key_text, read_private, read_public
from deploy.signing import sign, verify


@pytest.fixture
def pair(tmp_path):
    private, public = tmp_path / "a.key", tmp_path / "a.pub"
    generate_key(private, public)
    return private, public


def test_a_pair_is_p256_in_pem_and_only_its_owner_reads_the_private_half(tmp_path):
    private, public = tmp_path / "a.key", tmp_path / "a.pub"
    umask = os.umask(0)
    try:
        made = generate_key(private, public)
    finally:
        os.umask(umask)

    key = load_pem_private_key(private.read_bytes(), None)
    assert isinstance(key.curve, ec.SECP256R1)
    assert private.read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert (private.stat().st_mode & 0o777, public.stat().st_mode & 0o777) == (0o600, 0o644)
    assert made == fingerprint(public) == fingerprint_of(read_private(private, None).public_key())
    assert made == hashlib.sha256(public.read_bytes()).hexdigest()


@pytest.mark.parametrize("there", ["a.key", "a.pub"])
def test_no_file_is_replaced_and_none_is_left_alone(there, tmp_path):
    (tmp_path / there).write_text("mine")

    with pytest.raises(DeployError, match=rf"{there}: File exists; name another file with --out"):
        generate_key(tmp_path / "a.key", tmp_path / "a.pub")

    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


def test_a_link_is_not_followed_to_write_a_key(tmp_path):
    (tmp_path / "a.key").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(DeployError, match="File exists"):
        generate_key(tmp_path / "a.key", tmp_path / "a.pub")

    assert not (tmp_path / "elsewhere").exists()


def test_a_password_encrypts_the_private_key(tmp_path):
    private, public = tmp_path / "a.key", tmp_path / "a.pub"
    generate_key(private, public, "correct horse")

    assert "ENCRYPTED" in private.read_text()
    assert fingerprint_of(read_private(private, "correct horse").public_key()) == fingerprint(public)
    with pytest.raises(DeployError, match="encrypted; put its password into EDGE_PIPELINE_SIGNING_PASSWORD"):
        read_private(private, None)
    with pytest.raises(DeployError, match="not its password in EDGE_PIPELINE_SIGNING_PASSWORD"):
        read_private(private, "wrong")


def test_a_password_for_a_key_that_has_none_does_no_harm(pair):
    assert read_private(pair[0], "unneeded")


@pytest.mark.parametrize("curve", [ec.SECP384R1, ec.SECP521R1])
def test_keys_of_the_other_curves_sign_and_verify(curve, tmp_path, write_release):
    key = ec.generate_private_key(curve())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    release = write_release(tmp_path)

    sign(release, private)

    assert verify(release, public).full_name == release.name


OTHERS = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "another curve": lambda: ec.generate_private_key(ec.SECP256K1()),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS.keys())
def test_a_key_of_another_kind_is_refused(make):
    key = make()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    for read in (lambda: read_private(private, None), lambda: read_public(public)):
        with pytest.raises(DeployError, match="not an ECDSA key of curve P-256, P-384 or P-521; make a pair"):
            read()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"-----BEGIN PUBLIC KEY-----\nAAAA\n", b"ssh-ed25519 A"]
)
def test_what_is_no_key_is_refused(content, tmp_path):
    (path := tmp_path / "x").write_bytes(content)

    with pytest.raises(DeployError, match=f"{path}: no public key in PEM form; verify with the .pub file"):
        read_public(path)
    with pytest.raises(DeployError, match=f"{path}: no private key; make a pair with: pipeline keygen"):
        read_private(path, None)


def test_the_two_halves_are_told_apart(pair):
    private, public = pair
    with pytest.raises(DeployError, match="a private key, which is for signing"):
        read_public(private)
    with pytest.raises(DeployError, match="no private key"):
        read_private(public, None)


@pytest.mark.parametrize("path", ["nowhere", "", "a\0b"])
def test_a_key_that_is_not_there_is_refused(path, tmp_path):
    for read in (read_public, lambda path: read_private(path, None)):
        with pytest.raises(DeployError, match="make a pair with: pipeline keygen"):
            read(tmp_path / path)


def test_a_long_path_without_dots_and_dashes_is_no_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path(*["keysOfThisProject"] * 4)
    folder.mkdir(parents=True)
    generate_key(folder / "private", folder / "public")

    for path in (tmp_path / folder, folder):
        assert fingerprint(path / "public") == fingerprint(folder / "public")
        assert read_private(path / "private", None)
        with pytest.raises(DeployError, match="keysOfThisProject/missing: No such file"):
            read_private(path / "missing", None)


@pytest.mark.parametrize("take", [slice(None), slice(0, 70), slice(30, 110)])
def test_a_key_where_its_path_is_expected_is_no_path_though_it_has_slashes(pair, take):
    body = "".join(pair[0].read_text().split("\n")[1:-2])
    text = (body[:10] + "/" + body[11:50] + "/" + body[51:])[take]

    assert is_key_text(text)
    with pytest.raises(DeployError, match="got a key where the path of its file is expected") as refused:
        read_private(Path(text), None)
    assert text[:20] not in str(refused.value)


def test_what_the_environment_holds_is_never_printed():
    secret = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg"
    for text in (secret, f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----"):
        with pytest.raises(DeployError, match="the key in EDGE_PIPELINE_SIGNING_KEY: ") as refused:
            read_private(text, None)
        assert secret not in str(refused.value)


def test_a_key_in_the_environment_leaves_no_file(pair, tmp_path, write_release, listing):
    private, public = (path.read_text() for path in pair)
    release = write_release(tmp_path / "release")
    before = listing(tmp_path)

    sign(release, private)
    verify(release, public)

    new = listing(tmp_path).keys() - before.keys()
    assert new == {str(release / "release.sig")}
