"""`cellml profile train|embed|aggregate|evaluate|report`: features, profiles and what they tell.

The second half of `cellml.cli_profile`.
"""

from pathlib import Path
from typing import Annotated

import typer

from cellml.cli_profile import Config, Project, Workers, profile_app

Store = Annotated[str, typer.Option(help="Name of the single cells in outputs/.")]
Experiment = Annotated[
    str, typer.Option("--experiment", "-e", help="Name of the folder in outputs/.")
]


@profile_app.command("train")
def _train(
    project: Project,
    experiment: Experiment = "wsl",
    preset: Annotated[
        str, typer.Option(help="dissertation (from ImageNet weights) or scratch.")
    ] = "dissertation",
    split: Annotated[
        str | None,
        typer.Option(
            help="leave_plates_out, leave_cells_out or leave_treatments_out [the configuration's]."
        ),
    ] = None,
    plate: Annotated[
        list[str] | None, typer.Option(help="Plates that validate; may be repeated.")
    ] = None,
    treatment: Annotated[
        list[str] | None, typer.Option(help="Treatments never to be seen; may be repeated.")
    ] = None,
    init_weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Start from: Keras, timm, torchvision, or our own."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Length [the configuration's].")] = None,
    steps: Annotated[int | None, typer.Option(help="Length of the preset scratch.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="ENTRY=VALUE", help="model.input_px=96, as in a config."),
    ] = None,
    store: Store = "single-cells",
    config: Config = None,
) -> None:
    """Train a network to tell treatments apart, for its features; call again to go on."""
    from rich.console import Console

    from cellml.commands import profile_train as command

    options = command.TrainOptions(
        project=project,
        experiment=experiment,
        preset=preset,
        split=split,
        plates=plate or (),
        treatments=treatment or (),
        init_weights=init_weights,
        epochs=epochs,
        steps=steps,
        changes=change or (),
        store=store,
        config=config,
    )
    raise typer.Exit(command.run(options, Console()))


@profile_app.command("embed")
def _embed(
    project: Project,
    experiment: Annotated[
        str | None, typer.Option("--experiment", "-e", help="Name of the features [the model's].")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="classical, random, imagenet (with --weights), or a trained model's file [the one "
            "that `train` made in this experiment]."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="ImageNet: Keras, timm, torchvision [fetched]."),
    ] = None,
    variant: Annotated[str, typer.Option(help="Of imagenet and random: b0 to b7.")] = "b0",
    layout: Annotated[
        str | None, typer.Option(help="timm_tf, if the weights are timm's tf_efficientnet.")
    ] = None,
    input_px: Annotated[
        int, typer.Option(metavar="PX", help="Of imagenet and random: cells are resized to it.")
    ] = 224,
    seed: Annotated[int, typer.Option(help="Of random.")] = 0,
    npz: Annotated[bool, typer.Option("--npz", help="Write DeepProfiler's files, too.")] = False,
    batch_size: Annotated[int, typer.Option(help="Cells at a time.")] = 64,
    workers: Annotated[int, typer.Option(help="Of classical: processes.")] = 1,
    store: Store = "single-cells",
) -> None:
    """Turn every cell into features; call again to go on."""
    from rich.console import Console

    from cellml.commands import profile_embed as command

    options = command.EmbedOptions(
        project=project,
        experiment=experiment or command.default_experiment(model),
        model=model,
        weights=weights,
        variant=variant,
        layout=layout,
        input_px=input_px,
        seed=seed,
        store=store,
        batch_size=batch_size,
        workers=workers,
        npz=npz,
    )
    raise typer.Exit(command.run(options, Console()))


@profile_app.command("aggregate")
def _aggregate(
    project: Annotated[
        Path | None, typer.Argument(metavar="[PROJECT]", help="Folder of the project.")
    ] = None,
    experiment: Experiment = "wsl",
    table: Annotated[
        list[str] | None,
        typer.Option(help="Wells or sites of other programs, or a folder of features; repeatable."),
    ] = None,
    normalize: Annotated[
        str,
        typer.Option(help="none, standardize, robustize or mad_robustize: per plate, by controls."),
    ] = "none",
    control: Annotated[
        str | None, typer.Option(help="Condition for controls [the project's control_value].")
    ] = None,
    select_features: Annotated[
        bool, typer.Option("--select-features", help="Drop features as pycytominer does.")
    ] = False,
    min_cells: Annotated[int, typer.Option(help="Sites with fewer do not count.")] = 1,
    status: Annotated[
        list[str] | None, typer.Option(help="Cells that count: ok, edge; repeatable [ok].")
    ] = None,
    sphere: Annotated[
        str, typer.Option(help="none, zca, pca, zca-cor, pca-cor, dissertation-printed.")
    ] = "none",
    regularisation: Annotated[
        float, typer.Option("--lambda", help="Added to the eigenvalues of the controls.")
    ] = 1e-2,
    treatment_column: Annotated[str, typer.Option(help="Of tables.")] = "Metadata_treatment",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Results [outputs/EXPERIMENT/profiles].")
    ] = None,
    workers: Workers = 1,
    config: Config = None,
) -> None:
    """Cells to profiles of sites, wells and treatments; outlying wells and strong treatments."""
    from rich.console import Console

    from cellml.commands import profile_aggregate as command

    options = command.AggregateOptions(
        project=project,
        experiment=experiment,
        inputs=table or (),
        normalize=normalize,
        control=control,
        select_features=select_features,
        min_cells=min_cells,
        status=status or ("ok",),
        sphere=sphere,
        regularisation=regularisation,
        treatment_column=treatment_column,
        out=out,
        workers=workers,
        config=config,
    )
    raise typer.Exit(command.run(options, Console()))


@profile_app.command("evaluate")
def _evaluate(
    tables: Annotated[list[str], typer.Argument(metavar="TABLE...", help="CSV, TSV, Parquet.")],
    label_column: Annotated[str, typer.Option(help="Mechanism of a treatment.")] = "Metadata_moa",
    treatment_column: Annotated[str, typer.Option(help="Treatment.")] = "Metadata_treatment",
    control: Annotated[
        str | None, typer.Option(help="Rows that are controls: 'Metadata_role == \"control\"'.")
    ] = None,
    features_regex: Annotated[str | None, typer.Option(help="Features [numeric columns].")] = None,
    sphere: Annotated[
        str, typer.Option(help="none, zca, pca, zca-cor, pca-cor, dissertation-printed.")
    ] = "none",
    regularisation: Annotated[
        float, typer.Option("--lambda", help="Added to the eigenvalues of the controls.")
    ] = 1e-2,
    level: Annotated[str, typer.Option(help="treatment, well or site.")] = "treatment",
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all numbers to this file.")
    ] = None,
) -> None:
    """Score profiles by how well similar ones share mechanisms (well: treatments)."""
    from rich.console import Console

    from cellml.commands import profile_evaluate as command

    options = command.EvaluateOptions(
        tables, label_column, treatment_column, control, features_regex, sphere,
        regularisation, level, json,
    )  # fmt: skip
    command.run(options, Console())


@profile_app.command("report")
def _report(
    project: Annotated[
        Path | None, typer.Argument(metavar="[PROJECT]", help="Folder of the project.")
    ] = None,
    experiment: Annotated[
        list[str] | None,
        typer.Option("--experiment", "-e", help="To compare; repeatable [all with profiles]."),
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(help="Without a project: NAME=FILE of well profiles; repeatable."),
    ] = None,
    label_column: Annotated[str, typer.Option(help="Mechanism of a treatment.")] = "Metadata_moa",
    treatment_column: Annotated[str, typer.Option(help="Treatment.")] = "Metadata_treatment",
    control: Annotated[
        str | None, typer.Option(help="Condition for control wells [the project's].")
    ] = None,
    features_regex: Annotated[str | None, typer.Option(help="Features [numeric columns].")] = None,
    sphere: Annotated[str, typer.Option(help="As of `evaluate`.")] = "zca",
    regularisation: Annotated[
        float, typer.Option("--lambda", help="The one fixed beforehand, beside the sweep.")
    ] = 1e-2,
    batch_column: Annotated[
        str | None, typer.Option(help="Batch of a well [Metadata_Batch, or the plate].")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="CSV", help="True strengths, if they are known.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder [outputs/report].")
    ] = None,
    umap: Annotated[bool, typer.Option(help="Whether to draw UMAP.")] = True,
) -> None:
    """Compare sets of features: figures, tables and report.html."""
    from rich.console import Console

    from cellml.commands import profile_report as command

    options = command.ReportOptions(
        project=project,
        experiments=experiment or (),
        tables=table or (),
        label_column=label_column,
        treatment_column=treatment_column,
        control=control,
        features_regex=features_regex,
        sphere=sphere,
        regularisation=regularisation,
        batch_column=batch_column,
        truth=truth,
        out=out,
        umap=umap,
    )
    command.run(options, Console())
