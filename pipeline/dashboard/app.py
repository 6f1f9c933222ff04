"""The dashboard as a web application: addresses, and who may ask for them.

A browser may be led here by any page of the web, so every request is checked: its ``Host`` must be an address
of this server, as DNS rebinding would otherwise make this server part of another site; its ``Origin``, where
there is one, must be this server; and without loopback it must have the token. Nothing here changes anything.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from pipeline.dashboard.pages import NotFoundError
from pipeline.dashboard.templates import STATIC, static_file
from pipeline.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from pipeline.dashboard.pages import Pages

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FILE_POLICY = (
    "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; img-src data:; {scripts}"
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Of a file: it belongs to no site, and only scripts whose hash our own template names run in it."""
HASHES = re.compile(r"script-src ((?:'sha256-[A-Za-z0-9+/=]+' ?)+)")
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
COOKIE = "pipeline-dashboard"
MAX_PAGE = 100_000


class Guard:
    """Refuses requests that did not come from a page of this server, or lack the token.

    Args:
        app: what it guards.
        is_host: whether a name or an address, without the port, is one of this server.
        token: what a request must have; "" for loopback.
    """

    def __init__(self, app: ASGIApp, is_host: Callable[[str], bool], token: str) -> None:
        self._app, self._is_host, self._token = app, is_host, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                more = [each for each in (*HEADERS, _policy()) if each[0] not in names]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        from starlette.requests import Request

        request = Request(scope)
        host = request.headers.get("host", "")
        if len(request.headers.getlist("host")) != 1 or not self._is_host(host_of(host)):
            return PlainTextResponse("this server does not have that name; see --name\n", 400)
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return PlainTextResponse("a page of another site may not ask\n", 403)
        if not self._token:
            return None
        given = request.query_params.get("token")
        if given is not None and _is_same(given, self._token):
            # The token leaves the address, which is shown and kept in the history.
            answer = RedirectResponse(request.url.path, 303)
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            return answer
        if _is_same(request.cookies.get(COOKIE, ""), self._token):
            return None
        return PlainTextResponse("open the address with the token that pipeline dashboard printed\n", 401)


def host_of(header: str) -> str:
    """Return the name or address of a ``Host`` header, without the port; lower case."""
    match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::\d{1,5})?", header)
    return match[1].strip("[]").lower() if match else ""


def _policy() -> tuple[bytes, bytes]:
    return b"content-security-policy", POLICY.encode()


def _is_same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


class _Answers:
    """Answers requests with pages and files; whatever is wrong with a folder is a page, too."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages

    def show(self, make: Callable[[Request], str]) -> Callable[[Request], Any]:
        """Return what answers with the page that ``make`` returns."""

        async def answer(request: Request) -> Response:
            return await self._safely(lambda: HTMLResponse(make(request)))

        return answer

    async def live(self, request: Request) -> Response:
        """Answer with the panels of what runs."""

        def make() -> Response:
            text, mark = self.pages.live_html(request.query_params.get("at"))
            return HTMLResponse(text, headers={"X-Running": mark})

        return await self._safely(make)

    async def file(self, request: Request) -> Response:
        """Answer with a file, which may do nothing but be looked at."""

        def make() -> Response:
            name = request.query_params.get("name", "")
            content, kind = self.pages.file(_at(request), name)
            policy = FILE_POLICY.format(scripts=_scripts(content) if name == "report.html" else "")
            headers = {"Content-Security-Policy": policy}
            if kind in {"text/xml", "application/json"}:
                headers["Content-Disposition"] = f'attachment; filename="{name}"'
            return Response(content, media_type=kind, headers=headers)

        return await self._safely(make)

    async def static(self, request: Request) -> Response:
        """Answer with a style sheet or a script of the pages."""
        name = request.path_params["name"]
        if name not in STATIC:
            return await self.not_found(request)
        content, kind = static_file(name)
        return Response(content, media_type=kind, headers={"Cache-Control": "max-age=3600"})

    async def not_found(self, *_: Any) -> Response:
        """Answer that there is no such page."""
        page = self.pages.problem("Not found", "This folder has nothing of that name.")
        return HTMLResponse(page, 404)

    async def failed(self, request: Request, error: Exception) -> Response:
        """Answer that a page cannot be made, such as of a report with values that no build writes."""
        page = self.pages.problem("This cannot be shown", f"Its values are damaged: {type(error).__name__}.")
        return HTMLResponse(page, 500)

    async def _safely(self, make: Callable[[], Response]) -> Response:
        try:
            return await run_in_threadpool(make)
        except NotFoundError:
            return await self.not_found()
        except InputError as error:
            return HTMLResponse(self.pages.problem("This cannot be shown", str(error)), 422)


def make_app(pages: Pages, is_host: Callable[[str], bool], token: str = "") -> ASGIApp:
    """Return the application; arguments as for ``Guard``."""
    answers = _Answers(pages)
    shown: dict[str, Callable[[Request], str]] = {
        "/": lambda request: pages.builds(
            request.query_params.get("name", ""), _number(request.query_params.get("page"))
        ),
        "/compare": lambda request: pages.compare(request.query_params.getlist("build")),
        "/searches": lambda _: pages.searches(),
        "/releases": lambda _: pages.releases(),
        "/devices": lambda _: pages.devices(),
        "/search": lambda request: pages.search(_at(request)),
        **dict.fromkeys(("/build", "/release", "/report"), lambda request: pages.build(_at(request))),
    }
    routes = [
        *(Route(path, answers.show(make)) for path, make in shown.items()),
        Route("/live", answers.live),
        Route("/file", answers.file),
        Route("/static/{name}", answers.static),
    ]
    return Guard(
        Starlette(routes=routes, exception_handlers={404: answers.not_found, Exception: answers.failed}),
        is_host,
        token,
    )


def _at(request: Request) -> str:
    return request.query_params.get("at", "")


def _scripts(content: bytes) -> str:
    """Return the part of a policy that lets the scripts of our own template run, by their hashes."""
    head = content.partition(b"<title>")[0].decode(errors="replace")
    match = HASHES.search(head)
    return f"script-src {match[1].strip()}; " if match else ""


def _number(text: str | None) -> int:
    return min(max(int(text), 1), MAX_PAGE) if text and re.fullmatch(r"[0-9]{1,6}", text) else 1


def named(names: Collection[str]) -> Callable[[str], bool]:
    """Return what accepts these names and addresses as those of this server."""
    known = {name.lower() for name in names}
    return lambda host: host in known
