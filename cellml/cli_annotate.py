"""`cellml annotate`: from a folder of images to a page in the browser.

Part of `cellml.cli`: parses and calls `cellml.commands`, which is imported when it is called. A
function's docstring is the help text of its command.
"""

from pathlib import Path
from typing import Annotated

import typer

annotate_app = typer.Typer(rich_markup_mode="markdown")
"""Without a name of its own: its command becomes one of `cellml`."""


@annotate_app.command("annotate")
def _annotate(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="PNG, JPEG and TIFF images.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="DIR", help="For annotations; by default FOLDER/annotations."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="Of the assistant; by default the one used last in this folder, or nuclei.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Classes; by default nucleus or those of DIR."),
    ] = None,
    port: Annotated[int, typer.Option(help="Of this computer; 0 takes a free one.")] = 0,
) -> None:
    """Outline and label objects in a page of the browser, helped by a model that learns.

    Prints the address of the page and serves it on this computer only, until Ctrl-C. Every step is
    saved at once.
    """
    from cellml.commands import annotate as command
    from cellml.commands.long_work import plain_console

    options = command.AnnotateOptions(
        folder=folder, out=out, model=model, classes=classes, port=port
    )
    raise typer.Exit(command.run(options, plain_console()))
