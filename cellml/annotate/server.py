"""Serves the application on this computer only, until Ctrl-C."""

import errno
import secrets
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from cellml.errors import UsageError

HOST = "127.0.0.1"
GRACE_S = 3


def make_token() -> str:
    """Returns a new token: who has not seen it cannot guess it."""
    return secrets.token_urlsafe(24)


def bind(port: int) -> socket.socket:
    """Takes a port of this computer.

    Args:
      port: From 0 to 65,535; 0 for one that is free.

    Returns:
      The socket, listening: whoever connects from now on waits for an answer.

    Raises:
      UsageError: The port is taken, or may not be used.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}: 0 to 65535 expected")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"--port {port}: another program uses this port; give another one, or none for a "
                "free one"
            ) from error
        raise UsageError(f"--port {port}: {error.strerror}") from error
    return listener


def address(listener: socket.socket, token: str) -> str:
    """Returns the address of the page."""
    return f"http://{HOST}:{listener.getsockname()[1]}/?token={token}"


def serve(app: Any, listener: socket.socket, *, ready: Callable[[], None] | None = None) -> None:
    """Answers requests until Ctrl-C or SIGTERM.

    Args:
      app: The ASGI application.
      listener: See `bind`.
      ready: Called right before.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        ws="none",
        server_header=False,
    )
    server = uvicorn.Server(config)
    if ready is not None:
        ready()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn ends first and then passes the signal on
        pass
    finally:
        listener.close()
