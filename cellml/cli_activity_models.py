"""`cellml activity train|predict`: models of assays. The second half of `cellml.cli_activity`."""

from pathlib import Path
from typing import Annotated

import typer

from cellml.cli_activity import (
    Data,
    Ignore,
    Smiles,
    SplitColumn,
    SplitsFile,
    Strict,
    Targets,
    Workers,
    activity_app,
)

Features = Annotated[
    list[Path] | None,
    typer.Option(
        "--features", metavar="FILE", help="Parquet, CSV or npz, a modality each; repeatable."
    ),
]


@activity_app.command("train")
def _train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the run.")],
    preset: Annotated[
        str, typer.Option(help="cellml, chemprop_v1, chemprop_v2 or morgan.")
    ] = "cellml",
    split: Annotated[
        str | None,
        typer.Option(help="scaffold, scaffold_balanced, random [scaffold_balanced, three parts]."),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Folds, each held out in turn, instead of three parts.")
    ] = None,
    split_column: SplitColumn = None,
    splits_file: SplitsFile = None,
    holdout_fold: Annotated[
        list[str] | None, typer.Option(help="Folds to hold out; repeatable [each in turn].")
    ] = None,
    features: Features = None,
    features_only: Annotated[
        bool, typer.Option("--features-only", help="Leave the structures out.")
    ] = False,
    representation: Annotated[
        str | None, typer.Option(help="graph, morgan or both [the preset's].")
    ] = None,
    ensemble: Annotated[int | None, typer.Option(help="Members, trained together.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Length [the preset's].")] = None,
    kind: Annotated[
        str | None, typer.Option(help="binary, regression or multiclass [binary].")
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="ENTRY=VALUE", help="model.dropout=0.2, as in a config."),
    ] = None,
    baseline: Annotated[bool, typer.Option(help="Whether to train the linear baseline.")] = True,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    smiles_column: Smiles = None,
    targets: Targets = None,
    ignore: Ignore = None,
    strict: Strict = False,
    workers: Workers = 1,
) -> None:
    """Train on SMILES and assays, and features if given; score held-out compounds; resumes."""
    from rich.console import Console

    from cellml.commands import activity_train as command
    from cellml.commands.activity_inputs import CompoundSource

    options = command.TrainOptions(
        source=CompoundSource(data, smiles_column, targets or (), ignore or ()),
        out=out,
        preset=preset,
        split=split,
        folds=folds,
        split_column=split_column,
        splits_file=splits_file,
        holdout=holdout_fold or (),
        features=features or (),
        features_only=features_only,
        representation=representation,
        ensemble=ensemble,
        epochs=epochs,
        kind=kind,
        changes=change or (),
        seed=seed,
        baseline=baseline,
        strict=strict,
        workers=workers,
    )
    raise typer.Exit(command.run(options, Console()))


@activity_app.command("predict")
def _predict(
    data: Annotated[Path, typer.Argument(metavar="NEW.csv", help="SMILES; other columns ignored.")],
    checkpoint: Annotated[
        Path, typer.Option(metavar="DIR", help="Of `train`; a model file; a .pt of Chemprop.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="CSV", help="Predictions.")],
    features: Features = None,
    spread: Annotated[
        bool, typer.Option("--spread", help="Add the standard deviation over the members.")
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Compounds at a time.")] = 256,
    smiles_column: Smiles = None,
    workers: Workers = 1,
) -> None:
    """Predict new compounds: order kept, rows that cannot be predicted say why."""
    from rich.console import Console

    from cellml.commands import activity_predict as command
    from cellml.commands.activity_inputs import CompoundSource

    options = command.PredictOptions(
        source=CompoundSource(data, smiles_column),
        checkpoint=checkpoint,
        out=out,
        features=features or (),
        spread=spread,
        batch_size=batch_size,
        workers=workers,
    )
    raise typer.Exit(command.run(options, Console()))
