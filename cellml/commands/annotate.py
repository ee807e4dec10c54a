"""`cellml annotate`: a page in the browser to outline and label the objects of images."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cellml.commands.long_work import say
from cellml.errors import UsageError

if TYPE_CHECKING:
    from cellml.annotate.workspace import Workspace

OUT = "annotations"
MODEL = "nuclei"


@dataclass(frozen=True)
class AnnotateOptions:
    """What the user asked for; see `cellml annotate --help`."""

    folder: Path
    out: Path | None = None
    model: str | None = None
    classes: str | None = None
    port: int = 0


def run(options: AnnotateOptions, console: Console) -> int:
    """Serves the page until Ctrl-C.

    Args:
      options: See `AnnotateOptions`.
      console: Where the address goes.

    Returns:
      Exit code 0.

    Raises:
      UsageError: Wrong folder, model, classes or port, or the folder is open elsewhere.
      UserError: A damaged file among the annotations.
    """
    from cellml.annotate import server
    from cellml.annotate.images import ImageFolder
    from cellml.annotate.workspace import Workspace

    images = ImageFolder.scan(options.folder)
    out = options.out if options.out is not None else options.folder / OUT
    names = class_names(options.classes)
    listener = server.bind(options.port)
    try:
        workspace = Workspace(images, out, class_names=names)
        try:
            _serve(workspace, options, listener, console)
        finally:
            workspace.close()
    finally:
        listener.close()
    return 0


def _serve(
    workspace: "Workspace", options: AnnotateOptions, listener: socket.socket, console: Console
) -> None:
    from cellml.annotate import server
    from cellml.annotate.app import make_app
    from cellml.annotate.assist import Assistant
    from cellml.annotate.handlers import Handlers
    from cellml.annotate.jobs import Jobs
    from cellml.annotate.learning import Models

    models = Models(workspace.out, options.model, Assistant.load, default=MODEL)
    models.warm_up()
    token = server.make_token()

    def ready() -> None:
        many = len(workspace.images.entries)
        say(console, f"{many} image{'s' * (many != 1)} of {workspace.images.folder}")
        if not workspace.writable:
            say(console, f"Read only: {workspace.why_read_only}; give --out to save elsewhere.")
        else:
            say(console, f"Annotations are saved in {workspace.out} at every step.")
        say(console, "Open this address in a browser, Ctrl-C ends:")
        say(console, server.address(listener, token))

    server.serve(make_app(Handlers(workspace, models, Jobs()), token), listener, ready=ready)
    say(console, "Ended; everything is saved.")


def class_names(given: str | None) -> list[str]:
    """Reads the classes of the command line.

    Args:
      given: Names with commas, or None.

    Returns:
      The names, each once.

    Raises:
      UsageError: There is no name.
    """
    if given is None:
        return []
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise UsageError(f"--classes {given!r}: names with commas expected")
    return list(dict.fromkeys(names))
