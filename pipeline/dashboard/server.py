"""Serve the dashboard: which address, who may ask, and how it ends."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
from typing import TYPE_CHECKING

import uvicorn

from pipeline.dashboard.app import make_app, named
from pipeline.dashboard.folder import Library
from pipeline.dashboard.pages import Pages
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

TOKEN = "EDGE_PIPELINE_DASHBOARD_TOKEN"  # noqa: S105 - the name of a variable
MIN_TOKEN_CHARACTERS = 16
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def serve(folder: Path, host: str, port: int, names: Sequence[str], on_ready: Callable[[str], None]) -> None:
    """Serve a folder until Ctrl-C.

    Args:
        folder: of builds.
        host: the address to listen on; all but loopback need a token.
        port: 0 takes a free one.
        names: further names by which browsers reach this server.
        on_ready: called with the address to open, once it answers.

    Raises:
        ConfigError: the address cannot be listened on, or the token is too short.
        KeyboardInterrupt: Ctrl-C.
    """
    is_local = host == "localhost" or _is_loopback(host)
    token = "" if is_local else _token()
    listener = _listen(host, port)
    bound = listener.getsockname()[1]
    accepts = named([*LOOPBACK_NAMES, *names]) if is_local else _accepts([host, *names])
    pages = Pages(Library(folder), str(folder))
    pages.prepare()
    app = make_app(pages, accepts, token)
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=1,
    )
    shown = f"[{host}]" if ":" in host else host
    server = _Server(config, lambda: on_ready(f"http://{shown}:{bound}/{f'?token={token}' if token else ''}"))
    with listener:
        server.run([listener])


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it answers; Ctrl-C stays with the command."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _accepts(names: Sequence[str]) -> Callable[[str], bool]:
    """Return what accepts names of this machine, and any literal address: only a name can be rebound."""
    is_named = named([*LOOPBACK_NAMES, socket.gethostname(), *names])

    def accepts(host: str) -> bool:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return is_named(host)
        return True

    return accepts


def _token() -> str:
    """Return the token of the environment, or a new one."""
    given = os.environ.get(TOKEN)
    if given is None:
        return secrets.token_urlsafe(24)
    if not re.fullmatch(rf"[A-Za-z0-9_-]{{{MIN_TOKEN_CHARACTERS},}}", given):
        msg = f"{TOKEN} must have at least {MIN_TOKEN_CHARACTERS} letters, digits, '-' or '_'"
        raise ConfigError(msg)
    return given


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"--host {host} --port {port}: {reason}; choose another with --port, or 0 for any that is free"
        raise ConfigError(msg) from error
    return listener
