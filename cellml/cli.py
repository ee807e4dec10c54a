"""The `cellml` command: parses, calls `cellml.commands`, turns user errors into one line.

Commands are imported when they are called, so that `cellml --help` answers at once and so that
flags are set before jax is imported.
"""

import enum
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cellml import __version__, platform
from cellml.cli_activity_models import activity_app  # with all its commands
from cellml.cli_annotate import annotate_app
from cellml.cli_choose import choose_app
from cellml.cli_profile_features import profile_app  # with all its commands
from cellml.errors import UsageError, UserError

PASS_ON = {"ignore_unknown_options": True, "help_option_names": []}
PassedOn = Annotated[list[str] | None, typer.Argument(metavar="FLAGS...")]

app = typer.Typer(
    name="cellml",
    help="Microscope images of cells to labels, features and predictions.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # brackets are text
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(profile_app, name="profile")
app.add_typer(activity_app, name="activity")
app.add_typer(annotate_app)
app.add_typer(choose_app)


class Tta(enum.StrEnum):
    """Presets of test-time augmentation."""

    NONE = "none"
    DISSERTATION6 = "dissertation6"
    D4 = "d4"


class Device(enum.StrEnum):
    """Kinds of devices."""

    CPU = "cpu"
    GPU = "gpu"


class Transforms(enum.StrEnum):
    """Presets with more than one transform."""

    DISSERTATION6 = "dissertation6"
    D4 = "d4"


class Reference(enum.StrEnum):
    """Which object anchors a group, see `cellml.tta.instances`."""

    FIRST = "first"
    MEDOID = "medoid"


class Tie(enum.StrEnum):
    """What becomes of exactly half of the votes."""

    DROP = "drop"
    KEEP = "keep"


class Majority(enum.StrEnum):
    """Whose votes count for a pixel."""

    PRESENT = "present"
    ALL = "all"


class Overlap(enum.StrEnum):
    """Who gets a pixel that several objects won."""

    OBJECT = "object"
    PIXEL = "pixel"


class Preset(enum.StrEnum):
    """Definitions of the instance scores."""

    KAGGLE = "kaggle"
    NUCLEAIZER = "nucleaizer"
    STARDIST = "stardist"
    CELLPOSE = "cellpose"


def _show_version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(f"cellml {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = None,
) -> None:
    platform.configure()


@app.command()
def segment(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH...", help="Images, folders or quoted patterns.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for results.")],
    model: Annotated[
        str | None,
        typer.Option(help="A shipped model by name, or a weights file [default: nuclei]."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A weights file of your own, instead of --model.")
    ] = None,
    tta: Annotated[Tta, typer.Option(help="Test-time augmentation.")] = Tta.NONE,
    diameter_px: Annotated[
        float | None,
        typer.Option("--diameter-px", help="Typical nucleus diameter; rescales to the model's."),
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="Channel to segment, from 1, where there are several.")
    ] = None,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Write `<stem>_uncertainty.tif`.")
    ] = False,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Write `<stem>_overlay.png` with outlines.")
    ] = False,
    rois: Annotated[
        bool, typer.Option("--rois", help="Write `<stem>_rois.zip` for ImageJ.")
    ] = False,
    locations: Annotated[
        bool, typer.Option("--locations", help="Write centres as DeepProfiler reads them.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run.")
    ] = False,
    device: Annotated[
        Device | None, typer.Option(help="Default: the accelerator, if there is one.")
    ] = None,
    tile: Annotated[
        int, typer.Option(metavar="PX", help="Side of the tiles of large images.")
    ] = 1024,
) -> None:
    """Find nuclei: writes `<stem>_labels.tif`, nuclei.csv and nuclei.parquet.

    Exit code 1 if an image failed (the others are done), 2 if the command cannot start as asked.
    """
    if model is not None and weights is not None:
        raise UsageError("--model and --weights exclude each other")
    try:
        platform.select_device(device)
        if device is not None:  # imports jax, which a wrong path need not wait for
            platform.require_device(device)
    except (ValueError, RuntimeError) as error:
        raise UsageError(f"--device {device}: {error}") from error
    from cellml.commands import segment as command
    from cellml.commands.long_work import plain_console

    options = command.SegmentOptions(
        paths=paths,
        out=out,
        model=str(weights) if weights is not None else model or "nuclei",
        tta=str(tta),
        diameter_px=diameter_px,
        channel=channel,
        tile_px=tile,
        uncertainty=uncertainty,
        overlay=overlay,
        rois=rois,
        locations=locations,
        resume=resume,
    )
    raise typer.Exit(command.run(options, plain_console()))


@app.command("evaluate-masks")
def evaluate_masks(
    truth: Annotated[Path, typer.Option(metavar="DIR", help="True label images.")],
    pred: Annotated[Path, typer.Option(metavar="DIR", help="Predicted label images.")],
    preset: Annotated[Preset, typer.Option(help="Definition of the scores.")] = Preset.KAGGLE,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all numbers to this file.")
    ] = None,
) -> None:
    """Score predicted label images against true ones, matched by file name."""
    from cellml.commands import evaluate_masks as command
    from cellml.commands.long_work import plain_console

    raise typer.Exit(
        command.run(truth, pred, preset=str(preset), json_path=json, console=plain_console())
    )


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="A shipped model, or a weights file.")] = "nuclei",
    data: Annotated[str, typer.Option(help="Data set.")] = "dsb2018",
    split: Annotated[str, typer.Option(help="Its split, e.g. fluo_15/cv1/test.")] = "validation",
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where built data sets lie [./data].")
    ] = None,
    manual_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Images, instead of the download.")
    ] = None,
    tta: Annotated[
        list[Tta] | None, typer.Option(help="Presets to compare [none, d4]; may be repeated.")
    ] = None,
    preset: Annotated[Preset, typer.Option(help="Definition of the scores.")] = Preset.KAGGLE,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all numbers to this file.")
    ] = None,
) -> None:
    """Score a model on the whole images of a data set, with and without TTA."""
    from cellml.commands import evaluate as command

    command.run(
        model=model,
        data=data,
        split=split,
        data_dir=data_dir,
        manual_dir=manual_dir,
        tta=[str(name) for name in tta or (Tta.NONE, Tta.D4)],
        preset=str(preset),
        json_file=json,
    )


@app.command()
def doctor() -> None:
    """Show versions, devices, memory, data folders and models."""
    from cellml.commands import doctor as command
    from cellml.commands.long_work import plain_console

    raise typer.Exit(command.run(plain_console()))


@app.command(context_settings=PASS_ON, add_help_option=False)
def train(flags: PassedOn = None) -> None:
    """Train a model: --config=FILE --workdir=DIR [--config.x=y ...]."""
    from cellml.commands import train as command

    raise typer.Exit(command.main(flags or []))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the tour.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Segment, evaluate, study TTA and train a little; writes report.html."""
    from cellml.commands import demo as command

    raise typer.Exit(command.run(out))


@app.command("tta-study", context_settings=PASS_ON, add_help_option=False)
def tta_study(flags: PassedOn = None) -> None:
    """Study what test-time augmentation gains, per checkpoint and image."""
    from cellml.commands import tta_study as command

    raise typer.Exit(command.main(flags or []))


@app.command("tta-transform")
def tta_transform(
    paths: Annotated[
        list[str], typer.Argument(metavar="IMAGES...", help="Images, folders or quoted patterns.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="A new folder.")],
    tta: Annotated[Transforms, typer.Option(help="Transforms to apply.")] = Transforms.D4,
    channel: Annotated[
        int | None, typer.Option(help="Channel to keep, from 1, where there are several.")
    ] = None,
) -> None:
    """Write transformed copies of images, to be segmented elsewhere: one folder a transform."""
    from cellml.commands import tta_transform as command
    from cellml.commands.long_work import plain_console

    raise typer.Exit(
        command.run(paths, out=out, tta=str(tta), channel=channel, console=plain_console())
    )


@app.command("tta-merge")
def tta_merge(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="One folder of label images per transform.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="A new folder.")],
    truth: Annotated[
        Path | None, typer.Option(metavar="DIR", help="True label images: prints the gain.")
    ] = None,
    tta: Annotated[
        Transforms | None, typer.Option(help="Transforms to merge [default: those there].")
    ] = None,
    iou_min: Annotated[
        float, typer.Option(help="Objects of two versions are the same from this IoU on.")
    ] = 0.5,
    reference: Annotated[
        Reference, typer.Option(help="Who decides what an object is.")
    ] = Reference.FIRST,
    tie: Annotated[Tie, typer.Option(help="Objects in exactly half of the versions.")] = Tie.DROP,
    pixel_majority: Annotated[
        Majority, typer.Option(help="Whose votes count for a pixel.")
    ] = Majority.PRESENT,
    pixel_tie: Annotated[Tie, typer.Option(help="Pixels with exactly half.")] = Tie.DROP,
    overlap: Annotated[
        Overlap, typer.Option(help="Whether the better object or the pixel's votes decide.")
    ] = Overlap.OBJECT,
    preset: Annotated[Preset, typer.Option(help="Definition of the scores.")] = Preset.KAGGLE,
) -> None:
    """Merge label images that were predicted elsewhere on the copies of `tta-transform`.

    Writes `<stem>_labels.tif` and objects.csv with every object's vote share.
    """
    from cellml.commands import tta_merge as command
    from cellml.commands.long_work import plain_console

    options = {
        "iou_min": iou_min,
        "reference": str(reference),
        "tie": str(tie),
        "pixel_majority": str(pixel_majority),
        "pixel_tie": str(pixel_tie),
        "overlap": str(overlap),
    }
    raise typer.Exit(
        command.run(
            folder,
            out=out,
            truth=truth,
            tta=str(tta) if tta is not None else None,
            options=options,
            preset=str(preset),
            console=plain_console(),
        )
    )


LISTS = {"--targets", "--features", "--ignore", "--challenge", "--modality"}
"""Options of `activity` and `choose` that take several values, as in `--targets A B`."""


def spread_lists(arguments: list[str]) -> list[str]:
    """Repeats an option of LISTS before each of its values, as click wants it."""
    if arguments[:1] not in (["activity"], ["choose"]):
        return arguments
    spread: list[str] = []
    option = ""
    for text in arguments:
        if text.startswith("-"):
            option = text if text in LISTS else ""
        elif option and "=" in text:
            option = ""  # NAME=FILE is an argument, no value of a list
        elif option and spread[-1] != option:
            spread.append(option)
        spread.append(text)
    return spread


def main() -> None:
    """Entry point: user errors become one line on stderr and an exit code."""
    try:
        app(args=spread_lists(sys.argv[1:]))
    except SystemExit as done:
        if sys.argv[1:2] == ["annotate"] and isinstance(done.code, int):
            # Its threads may be compiling: XLA aborts the process if the interpreter ends then.
            # Every change is on the disk by now.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(done.code)
        raise
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
