"""Signatures over whole releases, as OpenSSF's model_signing makes them: DSSE in a Sigstore bundle.

The library hashes and signs; what it leaves open is closed here. It follows the signature's own list of files
to ignore, waits for pipes, and knows nothing of a release's name, expiry or manifest.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from deploy.contents import (
    HINT,
    MAX_TEXT_BYTES,
    SIGNATURE,
    check_expiry,
    check_manifest,
    check_release,
    check_sums,
    compare,
    list_files,
)
from deploy.errors import DeployError, SignatureError
from deploy.keys import fingerprint_of, in_memory, private_pem, public_pem, read_private, read_public
from deploy.manifest import Manifest, Record, Release, Sha256

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from model_signing.hashing import Config


def sign(folder: Path, key: Path | str, password: str | None = None) -> str:
    """Sign a release folder: write ``release.sig``, and return the public key's fingerprint.

    Args:
        folder: called ``NAME-VERSION-TARGET``; an earlier signature in it is replaced.
        key: the private key, a path or PEM text.
        password: of the key, where it is encrypted.

    Raises:
        DeployError: the key cannot be used.
        SignatureError: the folder is not as its checksums and manifest say.
    """
    from model_signing import signing

    private = read_private(key, password)
    manifest = check_manifest(folder, check_sums(folder))
    if folder.absolute().name != manifest.full_name:
        msg = f"{folder}: a release is signed under its name, {manifest.full_name}"
        raise SignatureError(msg)
    with in_memory(private_pem(private)) as path:
        config = signing.Config()  # type: ignore[no-untyped-call]
        config.use_elliptic_key_signer(private_key=path).set_hashing_config(_hashing())
        config.sign(folder, folder / SIGNATURE)
    return fingerprint_of(private.public_key())


def verify(folder: Path, public_key: Path | str, today: date | None = None) -> Manifest:
    """Return the manifest of a release that the owner of one key signed; see ``verify_release``."""
    return verify_release(folder, [public_key], today=today).manifest


def verify_release(
    folder: Path,
    public_keys: Sequence[Path | str],
    revoked: Collection[str] = (),
    today: date | None = None,
) -> Release:
    """Return a release that is wholly and only what the owner of one of the keys signed.

    Args:
        folder: the release, called ``NAME-VERSION-TARGET`` or by its digest.
        public_keys: paths or PEM texts.
        revoked: fingerprints of revoked keys, which are rejected even if they are among these.
        today: on which it must not have expired; None asks the clock, in UTC.

    Raises:
        SignatureError: no signature, another key's or a revoked one's; a file that is changed, missing,
            renamed, added, a link or no plain file; another name than the folder's; an expiry that is over.
        DeployError: there is no such folder, or the key is no public key.
    """
    keys = {fingerprint_of(key): key for key in map(read_public, public_keys)}
    if SIGNATURE not in list_files(folder):
        msg = f"{folder}: no {SIGNATURE}; sign it with: pipeline release {folder} --out FOLDER --key KEY"
        raise SignatureError(msg)
    content = _signature_bytes(folder / SIGNATURE)
    signer, statement = _read_signature(content, folder / SIGNATURE, keys, revoked)
    sums = check_sums(folder)
    compare(folder, sums, {entry.name: entry.digest for entry in statement.predicate.resources}, SIGNATURE)
    _ask_library(folder, content, keys[signer])
    # From here on the folder is the signer's own word.
    release = check_release(folder, sums)
    manifest = release.manifest
    if statement.subject[0].name != manifest.full_name:
        msg = f"{folder}: the signature is for {statement.subject[0].name!r}, not for {manifest.full_name}"
        raise SignatureError(msg)
    check_expiry(folder, manifest, today or datetime.now(UTC).date())
    return replace(release, signed_by=signer)


class _Key(Record):
    hint: Sha256


class _Material(Record):
    publicKey: _Key  # noqa: N815 - the bundle's names
    tlogEntries: tuple[()]  # noqa: N815


class _Signed(Record):
    sig: str
    keyid: Literal[""]


class _Envelope(Record):
    payload: str
    payloadType: Literal["application/vnd.in-toto+json"]  # noqa: N815
    signatures: tuple[_Signed]


class _Bundle(Record):
    """A Sigstore bundle signed with a key, and no field more."""

    mediaType: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"]  # noqa: N815
    verificationMaterial: _Material  # noqa: N815
    dsseEnvelope: _Envelope  # noqa: N815


class _Resource(Record):
    algorithm: Literal["sha256"]
    digest: Sha256
    name: str


class _Serialization(Record):
    method: Literal["files"]
    hash_type: Literal["sha256"]
    allow_symlinks: Literal[False]
    ignore_paths: tuple[Literal["release.sig"]]


class _Predicate(Record):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Subject(Record):
    name: str
    digest: dict[Literal["sha256"], Sha256]


class _Statement(Record):
    """Return the signed statement: the SHA-256 of each file of the release, under the release's name."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[_Subject]
    predicateType: Literal["https://model_signing/signature/v1.0"]  # noqa: N815
    predicate: _Predicate


def _signature_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        msg = f"{path}: {error.strerror}; {HINT}"
        raise DeployError(msg) from error


def _read_signature(
    content: bytes, path: Path, keys: Collection[str], revoked: Collection[str]
) -> tuple[str, _Statement]:
    """Return whose a signature claims to be, and what it says, before it is verified.

    Nothing is let through that would not change what is signed, so that a file has one form only.
    """
    try:
        bundle = _Bundle.model_validate_json(content)
        _require_canonical(content)
        hint = bundle.verificationMaterial.publicKey.hint
        if hint in revoked:
            msg = f"{path}: signed with a revoked key: {hint}; get a release signed with its successor"
            raise SignatureError(msg)
        if hint not in keys:
            given = "key given is" if len(keys) == 1 else "keys given are"
            msg = f"{path}: signed with another key: {hint}; the public {given} {', '.join(keys)}"
            raise SignatureError(msg)
        envelope = bundle.dsseEnvelope
        _decoded(envelope.signatures[0].sig)
        return hint, _Statement.model_validate_json(_decoded(envelope.payload))
    except (ValidationError, binascii.Error, ValueError, RecursionError) as error:
        msg = f"{path}: not a signature of `pipeline release`; {HINT}"
        raise SignatureError(msg) from error


def _require_canonical(content: bytes) -> None:
    """Refuse JSON with white space between values or a key twice: the library writes neither."""
    compact = (",", ":")
    value = json.loads(content)
    if content.decode() not in (
        json.dumps(value, separators=compact, ensure_ascii=only) for only in (True, False)
    ):
        msg = "not in the one form of its JSON"
        raise ValueError(msg)


def _decoded(text: str) -> bytes:
    """Return base64's bytes, from the one text that stands for them."""
    content = base64.b64decode(text, validate=True)
    if base64.b64encode(content).decode() != text:
        msg = "not in base64's canonical form"
        raise ValueError(msg)
    return content


def _ask_library(folder: Path, signature: bytes, key: EllipticCurvePublicKey) -> None:
    from model_signing import verifying

    with in_memory(public_pem(key)) as path, in_memory(signature) as signed:
        config = verifying.Config()  # type: ignore[no-untyped-call]
        config.use_elliptic_key_verifier(public_key=path).set_hashing_config(_hashing())
        try:
            config.verify(folder, Path(signed))
        except Exception as error:  # whatever it trips over, it has not said that the signature is good
            msg = f"{folder / SIGNATURE}: the signature is not good for these files and this key; {HINT}"
            raise SignatureError(msg) from error


def _hashing() -> Config:
    from model_signing import hashing

    # Relative to the release, so that it is the same path wherever the release lies.
    config = hashing.Config()  # type: ignore[no-untyped-call]
    return config.set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
