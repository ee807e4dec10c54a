"""`cellml choose`: which method segments the nuclei of a kind of image.

Part of `cellml.cli`: parses and calls `cellml.commands`, which are imported when they are called.
The function's docstring is the help text of the command.
"""

from pathlib import Path
from typing import Annotated

import typer

choose_app = typer.Typer(
    rich_markup_mode="markdown",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@choose_app.command("choose")
def _choose(
    modality: Annotated[
        list[str] | None,
        typer.Option(
            "--modality",
            help="Kind of image: culture, tissue, confocal, h&e, dic, ...; repeatable.",
        ),
    ] = None,
    dimension: Annotated[
        str | None, typer.Option(metavar="2d|3d", help="What the method works on.")
    ] = None,
    challenge: Annotated[
        list[str] | None,
        typer.Option(
            "--challenge",
            help="elongated, concave, deviating, wobbling, heterogeneous, fragmented or "
            "overlapping nuclei; repeatable, all hold.",
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Look at an image and set the filters not given here."),
    ] = None,
    channel: Annotated[int | None, typer.Option(help="Of the image, from 1.")] = None,
    sort: Annotated[
        str, typer.Option(help="match, name, year, challenges, pretrained or score.")
    ] = "match",
    reverse: Annotated[bool, typer.Option("--reverse", help="Turn the order.")] = False,
    html: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Write a page to browse, which needs no network."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List methods that segment nuclei in such images, and say why each one fits."""
    from cellml.commands import choose as command
    from cellml.commands.long_work import plain_console

    options = command.ChooseOptions(
        modality=modality or (),
        dimension=dimension,
        challenges=challenge or (),
        image=image,
        channel=channel,
        sort=sort,
        reverse=reverse,
        html=html,
        as_json=as_json,
    )
    command.run(options, plain_console())
