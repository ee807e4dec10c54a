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
TreatmentColumn = Annotated[
    list[str] | None,
    typer.Option(help="Treatment; repeated: columns joined by @ [Metadata_treatment]."),
]
Metadata = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Join more metadata to the tables; repeatable [none]."),
]
On = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMNS", help="Join by them: plate,well=Well_Name; one a --metadata [none]."
    ),
]
Regex = Annotated[
    str | None,
    typer.Option(help="Features of tables [Cells_, Cytoplasm_, Nuclei_, or else all numbers]."),
]
Normalize = Annotated[
    str,
    typer.Option(
        help="Per plate, by controls: none, standardize, robustize, mad_robustize, percentile."
    ),
]
NormalizeBy = Annotated[
    str, typer.Option(help="Of --normalize: by the controls of each plate, or of all: plate, all.")
]
Sphere = Annotated[
    str, typer.Option(help="none, zca, pca, zca-cor, pca-cor, tvn, dissertation-printed.")
]
BatchColumn = Annotated[
    str | None, typer.Option(help="Batch of a row [Metadata_Batch, or the plate].")
]
CompoundColumn = Annotated[
    str | None, typer.Option(help="Compound of a treatment, for its neighbours [the treatment].")
]
Ties = Annotated[
    str,
    typer.Option(help="Equal similarities: threshold, expected, pessimistic or optimistic."),
]


@profile_app.command("train")
def _train(
    project: Project,
    experiment: Experiment = "wsl",
    preset: Annotated[
        str, typer.Option(help="dissertation (from ImageNet), small (from `cells`), or scratch.")
    ] = "dissertation",
    split: Annotated[
        str | None,
        typer.Option(
            help="leave_plates_out, leave_cells_out or leave_treatments_out [the configuration's]."
        ),
    ] = None,
    plate: Annotated[
        list[str] | None,
        typer.Option(help="Plates that validate; may be repeated [the configuration's]."),
    ] = None,
    treatment: Annotated[
        list[str] | None, typer.Option(help="Treatments never to be seen; may be repeated [none].")
    ] = None,
    init_weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keras, timm, torchvision, or our own [random]."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Length [the configuration's].")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Length of small and scratch [the preset's].")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="ENTRY=VALUE",
            help="Change an entry [none]: model.input_px=96, as in a config.",
        ),
    ] = None,
    store: Store = "single-cells",
    config: Config = None,
) -> None:
    """Train a network to tell treatments apart, for its features; call again to go on."""
    from cellml.commands import profile_train as command
    from cellml.commands.long_work import plain_console

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
    raise typer.Exit(command.run(options, plain_console()))


@profile_app.command("embed")
def _embed(
    project: Project,
    experiment: Annotated[
        str | None, typer.Option("--experiment", "-e", help="Name of the features [the model's].")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="classical, random, cells (ships), imagenet (with --weights), or a file: of "
            "`train`, DeepProfiler, Keras, timm, torchvision [the configuration's checkpoint, or "
            "what `train` made here]."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="ImageNet: Keras, timm, torchvision [fetched]."),
    ] = None,
    variant: Annotated[
        str, typer.Option(help="Of imagenet, random, others' files: b0 to b7.")
    ] = "b0",
    channel_order: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Of others' files: DNA,RNA,... [the cells' order]."),
    ] = None,
    cyclic_stem: Annotated[
        bool,
        typer.Option("--cyclic-stem", help="Of others' files: fit them to the channels."),
    ] = False,
    intensity: Annotated[
        str | None,
        typer.Option(help="Of others' files: minmax, none [deepprofiler-legacy]."),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(help="timm_tf, if the weights are timm's tf_efficientnet [as found]."),
    ] = None,
    input_px: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="PX",
            help="Resize cells [imagenet, random: the configuration's, or 224; others: as trained "
            "or cut].",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random.")] = 0,
    npz: Annotated[bool, typer.Option("--npz", help="Write DeepProfiler's files, too.")] = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Cells at a time [the configuration's, or 64].")
    ] = None,
    workers: Annotated[int, typer.Option(help="Of classical: processes.")] = 1,
    store: Store = "single-cells",
    config: Config = None,
) -> None:
    """Turn every cell into features; call again to go on."""
    from cellml.commands import profile_embed as command
    from cellml.commands.long_work import plain_console

    options = command.EmbedOptions(
        project=project,
        experiment=experiment or command.default_experiment(model),
        model=model,
        weights=weights,
        variant=variant,
        layout=layout,
        channel_order=[name.strip() for name in (channel_order or "").split(",") if name.strip()],
        cyclic_stem=cyclic_stem,
        intensity=intensity,
        input_px=input_px,
        seed=seed,
        store=store,
        batch_size=batch_size,
        workers=workers,
        npz=npz,
        config=config,
    )
    raise typer.Exit(command.run(options, plain_console()))


@profile_app.command("aggregate")
def _aggregate(
    project: Annotated[
        Path | None, typer.Argument(metavar="[PROJECT]", help="Folder of the project.")
    ] = None,
    experiment: Experiment = "wsl",
    table: Annotated[
        list[str] | None,
        typer.Option(help="Tables of wells or sites, or a folder of features [the project's]."),
    ] = None,
    normalize: Normalize = "none",
    normalize_by: NormalizeBy = "plate",
    control: Annotated[
        str | None, typer.Option(help="Condition for controls [the project's control_value].")
    ] = None,
    select_features: Annotated[
        bool, typer.Option("--select-features", help="Drop features as pycytominer does.")
    ] = False,
    rule: Annotated[
        list[str] | None,
        typer.Option(help="Of --select-features: correlation_threshold=0.8 [pycytominer's]."),
    ] = None,
    blocklist: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Features never wanted, one a line [pycytominer's]."),
    ] = None,
    min_cells: Annotated[int, typer.Option(help="Sites with fewer do not count.")] = 1,
    status: Annotated[
        list[str] | None, typer.Option(help="Cells that count: ok, edge; repeatable [ok].")
    ] = None,
    sphere: Sphere = "none",
    regularisation: Annotated[
        float, typer.Option("--lambda", help="Added to the eigenvalues of the controls.")
    ] = 1e-2,
    batch_column: BatchColumn = None,
    treatment_column: TreatmentColumn = None,
    features_regex: Regex = None,
    metadata: Metadata = None,
    on: On = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Results [outputs/EXPERIMENT/profiles].")
    ] = None,
    workers: Workers = 1,
    config: Config = None,
) -> None:
    """Cells to profiles of sites, wells and treatments; outlying wells and strong treatments."""
    from cellml.commands import profile_aggregate as command
    from cellml.commands.long_work import plain_console

    options = command.AggregateOptions(
        project=project,
        experiment=experiment,
        inputs=table or (),
        normalize=normalize,
        normalize_by=normalize_by,
        control=control,
        select_features=select_features,
        rules=rule or (),
        blocklist=blocklist,
        min_cells=min_cells,
        status=status or ("ok",),
        sphere=sphere,
        regularisation=regularisation,
        batch_column=batch_column,
        treatment_column=_joined(treatment_column),
        features_regex=features_regex,
        metadata=metadata or (),
        on=on or (),
        out=out,
        workers=workers,
        config=config,
    )
    raise typer.Exit(command.run(options, plain_console()))


@profile_app.command("evaluate")
def _evaluate(
    tables: Annotated[list[str], typer.Argument(metavar="TABLE...", help="CSV, TSV, Parquet.")],
    label_column: Annotated[
        str | None,
        typer.Option(help="What treatments share [Metadata_moa; well, site: the treatment]."),
    ] = None,
    treatment_column: TreatmentColumn = None,
    control: Annotated[
        str | None,
        typer.Option(help="Rows that are controls [none]: 'Metadata_role == \"control\"'."),
    ] = None,
    features_regex: Regex = None,
    metadata: Metadata = None,
    on: On = None,
    normalize: Normalize = "none",
    sphere: Sphere = "none",
    regularisation: Annotated[
        float, typer.Option("--lambda", help="Added to the eigenvalues of the controls.")
    ] = 1e-2,
    sweep: Annotated[bool, typer.Option(help="With --sphere: score every lambda.")] = True,
    level: Annotated[str, typer.Option(help="treatment, well or site.")] = "treatment",
    ties: Ties = "threshold",
    p_values: Annotated[
        int, typer.Option(metavar="N", help="Chance, by N random rankings where not exact.")
    ] = 0,
    batch_column: BatchColumn = None,
    compound_column: CompoundColumn = None,
    seed: Annotated[int, typer.Option(help="Of random rankings and replicates.")] = 0,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all numbers to this file [none].")
    ] = None,
) -> None:
    """Score profiles by how well similar ones share mechanisms (well: treatments)."""
    from cellml.commands import profile_evaluate as command
    from cellml.commands.long_work import plain_console

    options = command.EvaluateOptions(
        tables=tables,
        label_column=label_column,
        treatment_column=_joined(treatment_column),
        control=control,
        features_regex=features_regex,
        sphere=sphere,
        regularisation=regularisation,
        level=level,
        json_file=json,
        normalize=normalize,
        ties=ties,
        p_values=p_values,
        batch_column=batch_column,
        compound_column=compound_column,
        metadata=metadata or (),
        on=on or (),
        sweep=sweep,
        seed=seed,
    )
    command.run(options, plain_console())


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
        typer.Option(help="Without a project: NAME=FILE of wells; repeatable [none]."),
    ] = None,
    label_column: Annotated[str, typer.Option(help="Mechanism of a treatment.")] = "Metadata_moa",
    treatment_column: TreatmentColumn = None,
    control: Annotated[
        str | None, typer.Option(help="Condition for control wells [the project's].")
    ] = None,
    features_regex: Regex = None,
    metadata: Metadata = None,
    on: On = None,
    normalize: Normalize = "none",
    sphere: Annotated[str, typer.Option(help="As of `evaluate`.")] = "zca",
    regularisation: Annotated[
        float, typer.Option("--lambda", help="The one fixed beforehand, beside the sweep.")
    ] = 1e-2,
    ties: Ties = "threshold",
    batch_column: BatchColumn = None,
    compound_column: CompoundColumn = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="CSV", help="True strengths, if they are known [none].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder [outputs/report].")
    ] = None,
    umap: Annotated[bool, typer.Option(help="Whether to draw UMAP.")] = True,
) -> None:
    """Compare sets of features: figures, tables and report.html."""
    from cellml.commands import profile_report as command
    from cellml.commands.long_work import plain_console

    options = command.ReportOptions(
        project=project,
        experiments=experiment or (),
        tables=table or (),
        label_column=label_column,
        treatment_column=_joined(treatment_column),
        control=control,
        features_regex=features_regex,
        sphere=sphere,
        regularisation=regularisation,
        batch_column=batch_column,
        compound_column=compound_column,
        normalize=normalize,
        ties=ties,
        metadata=metadata or (),
        on=on or (),
        truth=truth,
        out=out,
        umap=umap,
    )
    command.run(options, plain_console())


def _joined(columns: list[str] | None) -> str:
    """Several columns as one, as `cellml profile init` joins them."""
    return "@".join(columns or ["Metadata_treatment"])
