"""The web application: addresses, who may ask, and errors as sentences. JSON goes both ways."""

import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from anyio import to_thread
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.datastructures import Headers, MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cellml.annotate.document import Conflict
from cellml.annotate.handlers import Bytes, Call, Download, Handlers, NotFoundError
from cellml.annotate.workspace import ReadOnlyError
from cellml.errors import UserError

PAGE = Path(__file__).parent / "page"
OCTETS = "application/octet-stream"
HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Nothing is loaded from elsewhere, and the token stays here."""

Handler = Callable[[Call], Any]


def make_app(handlers: Handlers, token: str) -> Starlette:
    """Puts the application together.

    Args:
      handlers: What the routes do.
      token: What every request but those for /static must carry.

    Returns:
      The application; jobs are cancelled and the folder is given free when it ends.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette):
        yield
        await to_thread.run_sync(handlers.jobs.close)
        handlers.workspace.close()

    one = "/api/images/{index:int}"
    routes = [
        Route("/", _page),
        Mount("/static", StaticFiles(directory=PAGE)),
        _route("/api/folder", handlers.folder),
        _route("/api/classes", handlers.set_classes, "POST"),
        _route("/api/model", handlers.set_model, "POST"),
        _route(one, handlers.image),
        _route(f"{one}/tiles/{{level:int}}/{{row:int}}/{{column:int}}", handlers.tile),
        _route(f"{one}/operations", handlers.operations, "POST"),
        _route(f"{one}/undo", handlers.undo, "POST"),
        _route(f"{one}/redo", handlers.redo, "POST"),
        _route(f"{one}/assist", handlers.assist, "POST"),
        _route(f"{one}/propose", handlers.propose, "POST"),
        _route(f"{one}/import", handlers.import_file, "POST"),
        _route("/api/brush", handlers.brush, "POST"),
        _route("/api/train", handlers.train, "POST"),
        _route("/api/rank", handlers.rank, "POST"),
        _route("/api/next", handlers.next_image),
        _route("/api/jobs", handlers.list_jobs),
        _route("/api/jobs/{job:int}/cancel", handlers.cancel_job, "POST"),
        _route("/api/export", handlers.export, "POST"),
        _route("/api/export.zip", handlers.export_zip),
    ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(Guard, token=token)],
        exception_handlers={HTTPException: _http_error, Exception: _internal_error},
    )


class Guard:
    """Lets nobody in but this computer's browser with the token, and sets `HEADERS`."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403 itself, or hands the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = self._refusal(scope)
        if refused is None:
            await self._app(scope, receive, send_safe)
        else:
            await _error(403, refused)(scope, receive, send_safe)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        # a page from elsewhere may send a browser here under a name of its own
        if host.partition(":")[0].lower() not in HOSTS:
            return f"host {host!r} found, {' or '.join(HOSTS)} expected"
        if scope["path"].startswith("/static/"):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        given = headers.get("x-token") or query.get("token", [""])[0]
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return "the token is missing or wrong: open the address that `cellml annotate` printed"
        return None


async def _page(request: Request) -> Response:
    return FileResponse(PAGE / "index.html", media_type="text/html")


def _route(path: str, handler: Handler, method: str = "GET") -> Route:
    return Route(path, _endpoint(handler), methods=[method])


def _endpoint(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Reads a request, runs the handler in a thread, and turns what it gives into a response."""

    def work(call: Call) -> Response:
        try:
            found = handler(call)
        except Conflict as error:
            return _error(409, str(error), revision=error.revision)
        except ReadOnlyError as error:
            return _error(403, str(error))
        except NotFoundError as error:
            return _error(404, str(error))
        except UserError as error:
            return _error(422, str(error))
        if isinstance(found, Bytes):
            return Response(found.data, headers=found.headers, media_type=OCTETS)
        if isinstance(found, Download):
            background = BackgroundTask(found.remove)
            return FileResponse(found.path, filename=found.path.name, background=background)
        return _json(200, found)

    async def endpoint(request: Request) -> Response:
        path, query = dict(request.path_params), dict(request.query_params)
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            async with request.form(max_files=1, max_fields=10) as form:
                file = form.get("file")
                upload = (file.filename or "", file.file) if isinstance(file, UploadFile) else None
                return await to_thread.run_sync(work, Call(path, query, {}, upload))
        try:
            body = json.loads(await request.body() or b"{}") if request.method == "POST" else {}
        except (ValueError, RecursionError):
            return _error(400, "the request is not JSON, or too deeply nested")
        if not isinstance(body, dict):
            return _error(400, f"{type(body).__name__} found, a JSON object expected")
        return await to_thread.run_sync(work, Call(path, query, body))

    return endpoint


def _json(status: int, value: Any) -> Response:
    # in ASCII, since a file's name need not be Unicode: such a byte is written as \\udcXX
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Response(text, status, media_type="application/json")


def _error(status: int, sentence: str, **fields: Any) -> Response:
    return _json(status, {"error": sentence, **fields})


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _error(error.status_code, f"{request.method} {request.url.path}: {error.detail}")


async def _internal_error(request: Request, error: Exception) -> Response:
    logging.getLogger(__name__).error("%s %s", request.method, request.url.path, exc_info=error)
    return _error(500, f"internal error, please report it: {type(error).__name__}: {error}")
