"""The keys that releases are signed and verified with: ECDSA, as PEM.

A key is a ``Path``, or a ``str`` out of the environment: PEM text, which never touches a disk, or a path.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

SIGNING_KEY = "EDGE_PIPELINE_SIGNING_KEY"
REVOKED_KEYS = "EDGE_PIPELINE_REVOKED_KEYS"
SIGNING_PASSWORD = "EDGE_PIPELINE_SIGNING_PASSWORD"  # noqa: S105 - the variable's name
SECRETS = (SIGNING_KEY, SIGNING_PASSWORD)
PUBLIC_KEY = "EDGE_PIPELINE_PUBLIC_KEY"
CURVES = ("secp256r1", "secp384r1", "secp521r1")  # those that the library takes
KEYGEN = "make a pair with: pipeline keygen"
MAX_KEY_BYTES = 64 << 10
# PEM text, or base64 of a key's length.
_KEY_TEXT = re.compile(r"-----|PRIVATE KEY|\n|\A[A-Za-z0-9+/=\s]{64,}\Z")
_FIRST_FOLDER = re.compile(r"/*[^/\n]+(?=/)")

_PR_SET_DUMPABLE = 4  # linux/prctl.h
_withheld: dict[str, str] = {}


@contextmanager
def secrets_withheld() -> Iterator[None]:
    """Remove the secrets from the environment inside the block, so that no child process inherits them.

    Only ``secret`` returns them then. Where there are any, no other process of this user can read this one's
    memory or the environment that it began with.
    """
    taken = {name: os.environ.pop(name) for name in SECRETS if name in os.environ}
    if taken:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _withheld.update(taken)
    try:
        yield
    finally:
        os.environ.update(taken)
        for name in taken:
            _withheld.pop(name, None)


def secret(name: str) -> str | None:
    """Return a variable of ``SECRETS``; None if it is not set."""
    return os.environ.get(name, _withheld.get(name))


def generate_key(private: Path, public: Path, password: str | None = None) -> str:
    """Write a new pair of ECDSA P-256 keys as PEM and return the public key's fingerprint.

    Args:
        private: PKCS #8, readable by its owner alone.
        public: to verify with.
        password: encrypts the private key; None or empty leaves it plain.

    Raises:
        DeployError: a file of either name is there already, or cannot be written; then neither is.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    with (
        _written(public, public_pem(key.public_key()), 0o644),
        _written(private, private_pem(key, password), 0o600),
    ):
        return fingerprint_of(key.public_key())


def fingerprint(public_key: Path | str) -> str:
    """Return the SHA-256 of a public key's PEM text, which is that of the file of ``pipeline keygen``.

    Raises:
        DeployError: it is not a public key, or not of a curve that releases are signed with.
    """
    return fingerprint_of(read_public(public_key))


def read_revoked(path: Path) -> frozenset[str]:
    """Return the fingerprints in a file: one a line, ``#`` begins a comment; or that of a public key's file.

    Raises:
        DeployError: it cannot be read, or a line is not a fingerprint.
    """
    content, where = _key_text(path, REVOKED_KEYS)
    if b"-----BEGIN" in content:
        return frozenset({fingerprint(path)})
    found = set()
    for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if text and not re.fullmatch("[0-9a-f]{64}", text):
            msg = f"{where}:{number}: not the fingerprint of a key; write the 64 digits of `pipeline keygen`"
            raise DeployError(msg)
        if text:
            found.add(text)
    return frozenset(found)


def fingerprint_of(key: EllipticCurvePublicKey) -> str:
    """Return a key's fingerprint; the library names it ``hint`` and puts it into the signature."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def signer(key: Path | None) -> tuple[Path | str | None, str | None]:
    """Return the private key to sign with, the named one or else the environment's, and its password."""
    return key or secret(SIGNING_KEY) or None, secret(SIGNING_PASSWORD)


def is_key_text(text: str) -> bool:
    """Return whether a text is a key rather than a path, which may look like base64."""
    return _KEY_TEXT.search(text) is not None and not is_on_disk(text)


def is_on_disk(text: str) -> bool:
    """Return whether a text is a path that exists, or one below a folder that does."""
    first = _FIRST_FOLDER.match(text)
    # These are False for what no path can be, where those of Path raise.
    return os.path.exists(text) or (first is not None and os.path.isdir(first[0]))  # noqa: PTH110, PTH112


def key_files(key: Path | str | None) -> list[Path]:
    """Return the file that a private key is in; none where there is no key, or it is text."""
    return [] if key is None or "-----BEGIN" in str(key) else [Path(key)]


def read_public(source: Path | str) -> EllipticCurvePublicKey:
    """Return the public key of a path or PEM text; errors as ``fingerprint``."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content, where = _key_text(source, PUBLIC_KEY)
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        is_private = b"PRIVATE KEY" in content
        kind = "a private key, which is for signing" if is_private else "no public key in PEM form"
        msg = f"{where}: {kind}; verify with the .pub file of: pipeline keygen"
        raise DeployError(msg) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
        msg = f"{where}: not an ECDSA key of curve P-256, P-384 or P-521; {KEYGEN}"
        raise DeployError(msg)
    return key


def read_private(source: Path | str, password: str | None) -> EllipticCurvePrivateKey:
    """Return the private key of a path or PEM text.

    Raises:
        DeployError: it is none, it is encrypted with another password, or it is of another curve.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content, where = _key_text(source, SIGNING_KEY)
    is_encrypted = b"ENCRYPTED" in content
    try:
        key = load_pem_private_key(content, password.encode() if password and is_encrypted else None)
    except TypeError as error:
        msg = f"{where}: the key is encrypted; put its password into {SIGNING_PASSWORD}"
        raise DeployError(msg) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        problem = f"not its password in {SIGNING_PASSWORD}" if is_encrypted else f"no private key; {KEYGEN}"
        msg = f"{where}: {problem}"
        raise DeployError(msg) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in CURVES:
        msg = f"{where}: not an ECDSA key of curve P-256, P-384 or P-521; {KEYGEN}"
        raise DeployError(msg)
    return key


def _key_text(source: Path | str, variable: str) -> tuple[bytes, str]:
    """Return a key's PEM text and a name for where it is from, which never holds the key itself."""
    if isinstance(source, Path) and is_key_text(str(source)):
        msg = f"got a key where the path of its file is expected; put the key into {variable}"
        raise DeployError(msg)
    where = str(source) if isinstance(source, Path) else f"the key in {variable}"
    if isinstance(source, str) and "-----BEGIN" in source:
        return source.encode(), where
    try:
        with Path(source).open("rb") as stream:
            return stream.read(MAX_KEY_BYTES), where
    except (OSError, ValueError) as error:
        msg = f"{where}: {getattr(error, 'strerror', None) or 'not a valid path'}; {KEYGEN}"
        raise DeployError(msg) from None  # the text of the cause holds what is in the variable


def public_pem(key: EllipticCurvePublicKey) -> bytes:
    """Return the public key in the one form that its fingerprint is of."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: EllipticCurvePrivateKey, password: str | None = None) -> bytes:
    """Return the private key as PKCS #8, encrypted where there is a password."""
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@contextmanager
def in_memory(content: bytes) -> Iterator[str]:
    """Yield the path of a file in memory: the library takes a key as a file, without a password."""
    with os.fdopen(os.memfd_create("key"), "wb") as stream:
        stream.write(content)
        stream.flush()
        yield f"/proc/self/fd/{stream.fileno()}"


@contextmanager
def _written(path: Path, content: bytes, mode: int) -> Iterator[None]:
    """Write a new file, and take it away again where the block fails.

    Raises:
        DeployError: it is there already, or cannot be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    except OSError as error:
        msg = f"{path}: {error.strerror}; name another file with --out"
        raise DeployError(msg) from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
