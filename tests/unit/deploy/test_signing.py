"""Signatures: only the key's owner makes one, over one release, in one form."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st
from model_signing import hashing, signing

from deploy.contents import checksums, sums_text
from deploy.errors import DeployError, SignatureError
from deploy.manifest import digest_of, read_manifest
from deploy.signing import sign, verify

NAME = "tiny-1.2.3-arm64"
MODEL = f"{NAME}.tflite"
LIBRARY = Path(sys.executable).with_name("model_signing")


def sum_again(folder):
    (folder / "SHA256SUMS").write_text(sums_text(checksums(folder)))


def edit_manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def with_new_sums(change):
    """As someone does it who knows what SHA256SUMS is."""

    def damage(signed):
        change(signed)
        sum_again(signed.release)

    return damage


def by_the_owner(change, *, allow_symlinks=False, ignored=("release.sig",)):
    """The key's owner signs it with the library alone, which asks nothing of a release."""

    def damage(signed):
        folder = change(signed) or signed.release
        config = hashing.Config().use_file_serialization(allow_symlinks=allow_symlinks)
        config.set_ignored_paths(paths=ignored, ignore_git_paths=False).set_allow_symlinks(allow_symlinks)
        signer = signing.Config().use_elliptic_key_signer(private_key=signed.key).set_hashing_config(config)
        signer.sign(folder, folder / "release.sig")
        return folder

    return damage


def signature_with(change):
    """``change(bundle, signed)`` edits the signature's JSON."""

    def damage(signed):
        path = signed.release / "release.sig"
        bundle = json.loads(path.read_text())
        change(bundle, signed)
        path.write_text(json.dumps(bundle, separators=(",", ":")))

    return damage


def with_value(value, *path):
    def change(bundle, signed):
        *above, last = path
        for key in above:
            bundle = bundle[key]
        bundle[last] = value

    return signature_with(change)


def signature_edited(edit):
    def damage(signed):
        path = signed.release / "release.sig"
        path.write_text(edit(path.read_text()))

    return damage


def signature_of(content):
    return lambda signed: (signed.release / "release.sig").write_bytes(content)


def cut(share):
    def damage(signed):
        path = signed.release / "release.sig"
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return damage


def sign_payload(bundle, sign_bytes):
    """Sign the payload again, by another key or algorithm."""
    envelope = bundle["dsseEnvelope"]
    kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"])
    encoded = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    envelope["signatures"][0]["sig"] = base64.b64encode(sign_bytes(encoded)).decode()


def write_to(name, content):
    return lambda signed: (signed.release / name).write_bytes(content)


def from_other(name):
    def damage(signed):
        shutil.copyfile(signed.other / name, signed.release / name)

    return damage


def as_the_other(signed):
    shutil.rmtree(signed.release)
    shutil.copytree(signed.other, signed.release)


def by_a_stranger(signed):
    sign(signed.release, signed.stranger)


def by_a_stranger_as_the_owner(signed):
    material = json.loads((signed.release / "release.sig").read_text())["verificationMaterial"]
    sign(signed.release, signed.stranger)
    with_value(material, "verificationMaterial")(signed)


def with_ed25519(bundle, signed):
    sign_payload(bundle, ed25519.Ed25519PrivateKey.generate().sign)


def with_p384(bundle, signed):
    key = ec.generate_private_key(ec.SECP384R1())
    sign_payload(bundle, lambda content: key.sign(content, ec.ECDSA(hashes.SHA384())))


def with_sha512(bundle, signed):
    key = load_pem_private_key(signed.key.read_bytes(), None)
    sign_payload(bundle, lambda content: key.sign(content, ec.ECDSA(hashes.SHA512())))


def payload_of_other(bundle, signed):
    other = json.loads((signed.other / "release.sig").read_text())
    bundle["dsseEnvelope"]["payload"] = other["dsseEnvelope"]["payload"]


def before_1_0(bundle, signed):
    envelope = bundle["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicateType"] = "https://model_signing/Digests/v0.1"
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    key = load_pem_private_key(signed.key.read_bytes(), None)
    sign_payload(bundle, lambda content: key.sign(content, ec.ECDSA(hashes.SHA256())))


def changed_at_once(signed):
    """The model, its hash in the manifest and both checksums."""
    (signed.release / MODEL).write_bytes(b"another model")
    files = read_manifest(signed.release).files
    edit_manifest(signed.release, files={name: checksums(signed.release)[name] for name in files})
    sum_again(signed.release)


def files_of_manifest(change):
    def damage(signed):
        files = dict(read_manifest(signed.release).files)
        change(files)
        edit_manifest(signed.release, files=files)
        sum_again(signed.release)

    return damage


def sums_of_zeros(signed):
    text = (signed.release / "SHA256SUMS").read_text()
    (signed.release / "SHA256SUMS").write_text("0" * 8 + text[8:])


def named_otherwise(signed):
    other = by_the_owner(lambda signed: signed.release.rename(signed.release.parent / "other"))(signed)
    other.rename(signed.release)


CHANGED = "its bytes are not those in release.sig"
NOT_NAMED = "a file too many: release.sig does not name it"
NO_SIGNATURE = "not a signature of `pipeline release`"
NOT_GOOD = "the signature is not good for these files and this key"
NONE = [{"sig": "", "keyid": ""}]
SIGNATURES = ("dsseEnvelope", "signatures")

REFUSED = {
    "another model and its checksum": (with_new_sums(write_to(MODEL, b"x")), f"{MODEL}: {CHANGED}"),
    "another report and its checksum": (with_new_sums(write_to("report.json", b"{}")), CHANGED),
    "another model, in the manifest too": (changed_at_once, f"manifest.json: {CHANGED}"),
    "a later expiry": (
        with_new_sums(lambda s: edit_manifest(s.release, expires="2999-01-01")),
        f"manifest.json: {CHANGED}",
    ),
    "an extra file and its checksum": (with_new_sums(write_to("x", b"")), f"x: {NOT_NAMED}"),
    "an extra file that git ignores": (
        with_new_sums(write_to(".gitignore", b"")),
        f".gitignore: {NOT_NAMED}",
    ),
    "a missing file and its checksum": (
        with_new_sums(lambda s: (s.release / MODEL).unlink()),
        f"{MODEL}: missing, but release.sig names it",
    ),
    "a renamed file and its checksum": (
        with_new_sums(lambda s: (s.release / MODEL).rename(s.release / "x.tflite")),
        f"{MODEL}: missing, but release.sig names it",
    ),
    "another release's file": (with_new_sums(from_other("c/model.h")), f"c/model.h: {CHANGED}"),
    "another release's manifest": (with_new_sums(from_other("manifest.json")), CHANGED),
    "another release's signature": (from_other("release.sig"), "missing, but release.sig names it"),
    "another release under this name": (as_the_other, "the release in it is tiny-1.2.4-arm64"),
    "another release's payload": (signature_with(payload_of_other), "missing, but release.sig names it"),
    "another key": (by_a_stranger, "signed with another key: "),
    "another key under the owner's fingerprint": (by_a_stranger_as_the_owner, NOT_GOOD),
    "Ed25519": (signature_with(with_ed25519), NOT_GOOD),
    "P-384": (signature_with(with_p384), NOT_GOOD),
    "the right key with SHA-512": (signature_with(with_sha512), NOT_GOOD),
    "the format before 1.0": (signature_with(before_1_0), NO_SIGNATURE),
    "no signature": (
        lambda s: (s.release / "release.sig").unlink(),
        "no release.sig; sign it with: pipeline",
    ),
    "half the signature": (cut(0.5), NO_SIGNATURE),
    "all but the last byte": (cut(0.9999), NO_SIGNATURE),
    "an empty signature": (cut(0), NO_SIGNATURE),
    "an empty value": (with_value(NONE, *SIGNATURES), NOT_GOOD),
    "no value": (with_value([], *SIGNATURES), NO_SIGNATURE),
    "two values": (with_value(NONE * 2, *SIGNATURES), NO_SIGNATURE),
    "a value that is not base64": (with_value("?", *SIGNATURES, 0, "sig"), NO_SIGNATURE),
    "a value that is not canonical": (with_value("TR==", *SIGNATURES, 0, "sig"), NO_SIGNATURE),
    "another payload type": (with_value("text/plain", "dsseEnvelope", "payloadType"), NO_SIGNATURE),
    "another media type": (with_value("application/json", "mediaType"), NO_SIGNATURE),
    "a certificate": (with_value({"certificate": {}}, "verificationMaterial"), NO_SIGNATURE),
    "no fingerprint": (with_value({}, "verificationMaterial", "publicKey"), NO_SIGNATURE),
    "a key of its own": (with_value("x", "verificationMaterial", "publicKey", "rawBytes"), NO_SIGNATURE),
    "text": (signature_of(b"signed, me"), NO_SIGNATURE),
    "white space after it": (signature_edited(lambda text: text + "\n"), NO_SIGNATURE),
    "white space before it": (signature_edited(lambda text: " " + text), NO_SIGNATURE),
    "white space in it": (signature_edited(lambda text: text.replace(",", ", ", 1)), NO_SIGNATURE),
    "a key twice": (signature_edited(lambda text: '{"mediaType":"x",' + text[1:]), NO_SIGNATURE),
    "4 MiB of white space after it": (
        signature_edited(lambda text: text + " " * (4 << 20)),
        "more than a release can hold",
    ),
    "binary": (signature_of(bytes(range(256))), NO_SIGNATURE),
    "null": (signature_of(b"null"), NO_SIGNATURE),
    "deep JSON": (signature_of(b"[" * 100_000), NO_SIGNATURE),
    "a huge number": (signature_of(b"1" * 100_000), NO_SIGNATURE),
    "signed, but not as SHA256SUMS says": (by_the_owner(sums_of_zeros), "not those in SHA256SUMS"),
    "signed, but not as the manifest says": (
        by_the_owner(files_of_manifest(lambda files: files.update({"c/model.h": "0" * 64}))),
        "c/model.h: its bytes are not those in manifest.json",
    ),
    "signed, but not in the manifest": (
        by_the_owner(files_of_manifest(lambda files: files.pop("c/model.h"))),
        "c/model.h: a file too many: manifest.json does not name it",
    ),
    "signed, but without a model": (
        by_the_owner(with_new_sums(lambda s: edit_manifest(s.release, model="x.tflite"))),
        "x.tflite: the model is missing from manifest.json",
    ),
    "signed under another name": (named_otherwise, f"the signature is for 'other', not for {NAME}"),
    "signed with a file left out": (
        by_the_owner(with_new_sums(write_to("x", b"")), ignored=["x", "release.sig"]),
        NO_SIGNATURE,
    ),
    "signed with links allowed": (by_the_owner(lambda s: None, allow_symlinks=True), NO_SIGNATURE),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("damage", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_as_it_was_signed_is_refused(damage, said, refusal):
    assert said in refusal(damage)


def test_a_release_as_it_was_signed_is_verified_and_left_alone(signed, tmp_path, listing):
    before = listing(tmp_path)

    assert verify(signed.release, signed.public) == read_manifest(signed.release)
    assert listing(tmp_path) == before


def test_the_path_to_a_release_may_be_relative_and_lead_through_links(signed, tmp_path, monkeypatch):
    (tmp_path / "way").symlink_to(signed.release.parent)
    monkeypatch.chdir(signed.release)

    for path in (Path(), Path("..") / NAME, tmp_path / "way" / NAME):
        assert verify(path, signed.public).full_name == NAME


def test_on_a_device_a_release_may_be_called_by_its_digest(signed):
    folder = signed.release.rename(signed.release.parent / digest_of(signed.release))

    assert verify(folder, signed.public).full_name == NAME
    with pytest.raises(SignatureError, match=f"signed under its name, {NAME}"):
        sign(folder, signed.key)


def test_the_library_itself_verifies_a_release(signed):
    options = ("--signature", signed.release / "release.sig", "--public_key", signed.public)
    command = [LIBRARY, "verify", "key", signed.release, *options]
    good = subprocess.run(command, capture_output=True, text=True)
    assert good.returncode == 0, good.stderr

    (signed.release / MODEL).write_bytes(b"x")
    assert subprocess.run(command, capture_output=True).returncode == 1


def test_the_day_of_expiry_is_the_last_good_one(signed, tmp_path, write_release, pipeline):
    release = write_release(tmp_path / "three", expires=date(2020, 2, 29))
    sign(release, signed.key)

    assert verify(release, signed.public, today=date(2020, 2, 29)).expires == date(2020, 2, 29)
    with pytest.raises(SignatureError, match="expired on 2020-02-29"):
        verify(release, signed.public, today=date(2020, 3, 1))
    ended = pipeline("verify", release, "--public-key", signed.public)
    assert (ended.code, "expired on 2020-02-29; build it again" in ended.message) == (6, True)


def test_a_signed_folder_with_a_bad_manifest_is_bad_input(signed):
    by_the_owner(with_new_sums(lambda s: edit_manifest(s.release, counter="many")))(signed)

    with pytest.raises(DeployError, match=r"manifest\.json: counter: .*; build the release again"):
        verify(signed.release, signed.public)


def test_signing_again_replaces_the_signature(signed):
    sign(signed.release, signed.stranger)
    sign(signed.release, signed.key)

    assert verify(signed.release, signed.public)


@pytest.mark.parametrize("damage", [write_to(MODEL, b"x"), write_to("x", b"")], ids=["changed", "added"])
def test_what_would_not_verify_is_not_signed(damage, signed, tmp_path, listing):
    damage(signed)
    before = listing(tmp_path)

    with pytest.raises(SignatureError):
        sign(signed.release, signed.key)

    assert listing(tmp_path) == before


def assert_refused(signed, name, change):
    """Change a file, verify, and put the file back."""
    path = signed.release / name
    content = path.read_bytes()
    if (changed := bytes(change(bytearray(content)))) == content:
        return
    path.write_bytes(changed)
    try:
        with pytest.raises(SignatureError):
            verify(signed.release, signed.public)
    finally:
        path.write_bytes(content)
    assert verify(signed.release, signed.public)


def drawn_file(data, signed):
    files = sorted(path for path in signed.release.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    return path.relative_to(signed.release), path.stat().st_size


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_byte_flipped_in_any_file_is_refused(copied, data):
    name, size = drawn_file(data, copied)
    at, flip = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, 255))

    assert_refused(copied, name, lambda old: old[:at] + bytes([old[at] ^ flip]) + old[at + 1 :])


@settings(max_examples=100, deadline=None)
@given(data=st.data(), put=st.binary(max_size=8).filter(lambda put: put.strip()))
def test_any_bytes_cut_out_or_put_in_are_refused(copied, data, put):
    name, size = drawn_file(data, copied)
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))

    assert_refused(copied, name, lambda old: old[:start] + put + old[end:])
