"""Keep keys and passwords out of what the command prints, tracebacks included."""

from __future__ import annotations

import itertools
import re
import sys
from typing import TYPE_CHECKING

from deploy.keys import SIGNING_KEY, SIGNING_PASSWORD, is_key_text, is_on_disk, secret

if TYPE_CHECKING:
    from collections.abc import Iterator

HIDDEN = "[secret]"
# Shorter words of a key, such as "BEGIN", tell nothing.
MIN_CHARACTERS = 16
URLS = {"--store", "--tracking"}
_BASE64 = re.compile(r"[A-Za-z0-9+/=]+")
_USER = re.compile(r"//([^/\s]+)@")
_PEM = re.compile(r"-----BEGIN.*?(?:-----END[^-]*-----|\Z)", re.DOTALL)


def redacted(text: str) -> str:
    """Return ``text`` without any key or password that this process got by argument or environment."""
    for word in sorted(_secrets(), key=len, reverse=True):
        text = text.replace(word, HIDDEN)
    return text


def _secrets() -> Iterator[str]:
    if password := secret(SIGNING_PASSWORD):
        yield password
    # A shell splits a key that is not quoted into several arguments.
    texts = [secret(SIGNING_KEY) or "", *_PEM.findall(" ".join(sys.argv[1:]))]
    yield from (f"{found[1]}@" for flag, value in _flags() if flag in URLS and (found := _USER.search(value)))
    texts += [value for flag, value in _flags() if flag in {"--key", "--public-key"}]
    for text in texts:
        words = [] if is_on_disk(text) else text.split()
        long = (word for word in words if len(word) >= MIN_CHARACTERS)
        yield from (word for word in long if is_key_text(text) or _BASE64.fullmatch(word))


def _flags() -> Iterator[tuple[str, str]]:
    for argument, following in itertools.pairwise([*sys.argv[1:], ""]):
        flag, equals, value = argument.partition("=")
        yield flag, value if equals else following
