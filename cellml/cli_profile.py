"""`cellml profile ...`: from a screen's images to profiles and what they tell.

Part of `cellml.cli`: parses and calls `cellml.commands`, which are imported when they are called.
A function's docstring is the help text of its command.
"""

from pathlib import Path
from typing import Annotated

import typer

profile_app = typer.Typer(
    help="Profiles of wells and treatments, and what they tell.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # brackets are text
    context_settings={"help_option_names": ["-h", "--help"]},
)

Project = Annotated[Path, typer.Argument(metavar="PROJECT", help="Folder of the project.")]
Workers = Annotated[int, typer.Option(help="Processes; each takes a plate at a time.")]
Config = Annotated[str | None, typer.Option(help="File in inputs/config [the only one].")]


@profile_app.command("init")
def _init(
    project: Project,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Render a screen of which the truth is known.")
    ] = False,
    load_data: Annotated[
        Path | None, typer.Option(metavar="CSV", help="LoadData table of CellProfiler [none].")
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="A line a field: plate, well, (site,) images [none]."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Bare images; beside a table, where its files lie [none]."
        ),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(help="Of bare images [none]: '{plate}/{well}_s{site}_w{channel}*.tif'."),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(help="In the order wanted: DNA,RNA or w1=DNA,w2=RNA [all there are]."),
    ] = None,
    barcodes: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Assay_Plate_Barcode, Plate_Map_Name [none].")
    ] = None,
    platemap: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Facts on wells; with --barcodes the maps' folder [none]."
        ),
    ] = None,
    treatment_column: Annotated[
        list[str] | None,
        typer.Option(help="Treatments; repeated: joined by @ [Metadata_treatment, or the well]."),
    ] = None,
    control_value: Annotated[
        list[str] | None, typer.Option(help="Treatment of the controls; may be repeated [none].")
    ] = None,
    box_size: Annotated[
        int | None, typer.Option(metavar="PX", help="Side of a cell [128; simulated: 96].")
    ] = None,
    locations: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Copy what `segment --locations` wrote [none]."),
    ] = None,
    segment: Annotated[
        bool, typer.Option("--segment", help="Find nuclei: locations, and outlines for masks.")
    ] = False,
    model: Annotated[str, typer.Option(help="Of --segment: a model or weights file.")] = "nuclei",
    nuclei_channel: Annotated[
        str | None, typer.Option(help="Of --segment [the one that is called like DNA].")
    ] = None,
    diameter_px: Annotated[
        float | None, typer.Option(help="Of --segment: typical nucleus [as the model knows].")
    ] = None,
    grow_px: Annotated[
        int, typer.Option(help="Of --segment: a cell's mask is its nucleus and so much around.")
    ] = 10,
    plates: Annotated[int | None, typer.Option(help="Of --simulated [3].")] = None,
    batches: Annotated[int | None, typer.Option(help="Of --simulated [2].")] = None,
    effect: Annotated[float | None, typer.Option(help="Of --simulated: of treatments [1].")] = None,
    seed: Annotated[int | None, typer.Option(help="Of --simulated [0].")] = None,
    workers: Annotated[int, typer.Option(help="Of --simulated: processes that render.")] = 1,
    design: Annotated[
        list[str] | None,
        typer.Option(help="Of --simulated, more [none]: n_sites=1,n_rows=3,shape=128x128,..."),
    ] = None,
) -> None:
    """Make a project of a screen's images, and find its nuclei; call again to go on.

    Without a source (--simulated, --load-data, --index, --images) nuclei are added to a project.
    """
    from cellml.commands import profile_init as command
    from cellml.commands.long_work import plain_console

    given = {"n_plates": plates, "n_batches": batches, "effect": effect, "seed": seed}
    named = [f"{name}={value}" for name, value in given.items() if value is not None]
    nuclei = command.NucleiOptions(model, nuclei_channel, diameter_px, grow_px)
    options = command.InitOptions(
        project=project,
        simulated=simulated,
        load_data=load_data,
        index=index,
        images=images,
        pattern=pattern,
        channels=channels,
        barcodes=barcodes,
        platemap=platemap,
        treatment_columns=treatment_column or (),
        control_values=control_value or (),
        box_size=box_size,
        design=[*(design or ()), *named],
        locations=locations,
        nuclei=nuclei if segment else None,
        workers=workers,
    )
    raise typer.Exit(command.run(options, plain_console()))


@profile_app.command("prepare")
def _prepare(project: Project, workers: Workers = 1, config: Config = None) -> None:
    """Correct the illumination of all images and compress them; call again to go on."""
    from cellml.commands import profile_prepare as command
    from cellml.commands.long_work import plain_console

    raise typer.Exit(command.run(command.PrepareOptions(project, workers, config), plain_console()))


@profile_app.command("export")
def _export(
    project: Project,
    store: Annotated[str, typer.Option(help="Name of the folder in outputs/.")] = "single-cells",
    side: Annotated[
        int | None, typer.Option(metavar="PX", help="Side of a cell [the configuration's].")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(help="exact (whole pixels) or deepprofiler [exact].")
    ] = None,
    normalisation: Annotated[
        str | None, typer.Option(help="none, minmax or deepprofiler-legacy [none].")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="uint8 or uint16 [the images'].")] = None,
    masks: Annotated[
        str | None,
        typer.Option(help="none, apply (others' pixels are 0) or keep [the configuration's]."),
    ] = None,
    missing_locations: Annotated[
        str | None, typer.Option(help="error, or empty: such fields have no cells [error].")
    ] = None,
    images: Annotated[
        str, typer.Option(help="auto (prepared, if there are some), prepared or original.")
    ] = "auto",
    strips: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write DeepProfiler's PNG strips as well [no]."),
    ] = None,
    from_strips: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Read PNG strips instead of images [no].")
    ] = None,
    workers: Workers = 1,
    config: Config = None,
) -> None:
    """Cut all single cells into a store; call again to go on."""
    from cellml.commands import profile_export as command
    from cellml.commands.long_work import plain_console

    options = command.ExportOptions(
        project=project,
        store=store,
        side_px=side,
        mode=mode,
        normalisation=normalisation,
        dtype=dtype,
        masks=masks,
        missing_locations=missing_locations,
        images=images,
        workers=workers,
        strips=strips,
        from_strips=from_strips,
        config=config,
    )
    raise typer.Exit(command.run(options, plain_console()))


@profile_app.command("run")
def _run(
    project: Project,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Make the project: a screen of known truth.")
    ] = False,
    design: Annotated[
        list[str] | None,
        typer.Option(help="Of --simulated [the demo's]: effect=0.5, n_plates=3, ..."),
    ] = None,
    features: Annotated[
        str,
        typer.Option(
            help="Sets to compare: classical, random, imagenet, cells, wsl, wsl-cells-out."
        ),
    ] = "classical,random,cells,wsl,wsl-cells-out",
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="ImageNet weights to start from [random ones]."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Of the training [small; with --weights dissertation]; or scratch."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Of each training without weights [the preset's].")
    ] = None,
    prepare: Annotated[bool, typer.Option(help="Whether to correct the illumination.")] = True,
    normalize: Annotated[
        str, typer.Option(help="Of profiles, by the controls; as of `aggregate`.")
    ] = "standardize",
    normalize_by: Annotated[
        str, typer.Option(help="By the controls of each plate, or of all: plate, all.")
    ] = "all",
    workers: Workers = 1,
    umap: Annotated[bool, typer.Option(help="Whether to draw UMAP.")] = True,
) -> None:
    """From a project's images to a report that compares features; call again to go on."""
    from cellml.commands import profile_run as command
    from cellml.commands.long_work import plain_console

    options = command.RunOptions(
        project=project,
        simulated=simulated,
        design=design or (),
        features=[name.strip() for name in features.split(",") if name.strip()],
        weights=weights,
        preset=preset,
        steps=steps,
        prepare=prepare,
        normalize=normalize,
        normalize_by=normalize_by,
        workers=workers,
        umap=umap,
    )
    raise typer.Exit(command.run(options, plain_console()))
