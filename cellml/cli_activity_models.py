"""`cellml activity train|predict|tune|explain`: models; second half of `cellml.cli_activity`."""

from pathlib import Path
from typing import Annotated

import typer

from cellml.cli_activity import (
    Cache,
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


Preset = Annotated[str, typer.Option(help="cellml, chemprop_v1, chemprop_v2, morgan or tanimoto.")]
Split = Annotated[
    str | None,
    typer.Option(help="scaffold, scaffold_balanced, random [scaffold_balanced, three parts]."),
]
Folds = Annotated[
    int | None, typer.Option(help="Folds, each held out in turn, instead of three parts.")
]
Holdout = Annotated[
    list[str] | None, typer.Option(help="Folds to hold out; repeatable [each in turn].")
]
FeaturesOnly = Annotated[bool, typer.Option("--features-only", help="Leave the structures out.")]
ScaleFeatures = Annotated[
    bool,
    typer.Option(help="Whether features are standardised by the training compounds."),
]
Representation = Annotated[str | None, typer.Option(help="graph, morgan or both [the preset's].")]
Ensemble = Annotated[int | None, typer.Option(help="Members, trained together.")]
Epochs = Annotated[int | None, typer.Option(help="Length [the preset's].")]
Kind = Annotated[str | None, typer.Option(help="binary, regression or multiclass [binary].")]
Change = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="ENTRY=VALUE", help="model.dropout=0.2, as in a config."),
]
Seed = Annotated[int, typer.Option(help="Of everything.")]


@activity_app.command("train")
def _train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the run.")],
    preset: Preset = "cellml",
    split: Split = None,
    folds: Folds = None,
    split_column: SplitColumn = None,
    splits_file: SplitsFile = None,
    holdout_fold: Holdout = None,
    features: Features = None,
    features_only: FeaturesOnly = False,
    scale_features: ScaleFeatures = True,
    representation: Representation = None,
    ensemble: Ensemble = None,
    epochs: Epochs = None,
    kind: Kind = None,
    change: Change = None,
    baseline: Annotated[bool, typer.Option(help="Whether to train the linear baseline.")] = True,
    leakage_report: Annotated[
        bool, typer.Option("--leakage-report", help="Write leakage.json: what the split lets by.")
    ] = False,
    seed: Seed = 0,
    smiles_column: Smiles = None,
    targets: Targets = None,
    ignore: Ignore = None,
    strict: Strict = False,
    cache: Cache = None,
    workers: Workers = 1,
) -> None:
    """Train on SMILES and assays, and features if given; score held-out compounds; resumes."""
    from cellml.commands import activity_train as command
    from cellml.commands.activity_inputs import CompoundSource
    from cellml.commands.long_work import plain_console

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
        scale_features=scale_features,
        representation=representation,
        ensemble=ensemble,
        epochs=epochs,
        kind=kind,
        changes=change or (),
        seed=seed,
        baseline=baseline,
        leakage=leakage_report,
        strict=strict,
        cache=cache,
        workers=workers,
    )
    raise typer.Exit(command.run(options, plain_console()))


@activity_app.command("tune")
def _tune(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder of the search.")],
    trials: Annotated[int, typer.Option(help="Finished ones in all, for each held-out fold.")] = 20,
    timeout: Annotated[
        float | None, typer.Option(metavar="MIN", help="Begin no trial after so many minutes.")
    ] = None,
    inner_split: Annotated[
        str, typer.Option(help="scaffold_balanced or random, .8/.1/.1, to rate trials by.")
    ] = "scaffold_balanced",
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="NAME=LOW:HIGH:STEP",
            help="Of hidden, depth, dropout, layers; repeatable [the dissertation's].",
        ),
    ] = None,
    preset: Preset = "cellml",
    split: Split = None,
    folds: Folds = None,
    split_column: SplitColumn = None,
    splits_file: SplitsFile = None,
    holdout_fold: Holdout = None,
    features: Features = None,
    features_only: FeaturesOnly = False,
    scale_features: ScaleFeatures = True,
    representation: Representation = None,
    ensemble: Ensemble = None,
    epochs: Epochs = None,
    kind: Kind = None,
    change: Change = None,
    seed: Seed = 0,
    smiles_column: Smiles = None,
    targets: Targets = None,
    ignore: Ignore = None,
    strict: Strict = False,
    cache: Cache = None,
    workers: Workers = 1,
) -> None:
    """Search settings on what is not held out, with Optuna; resumes; prints the train command."""
    from cellml.commands import activity_tune as command
    from cellml.commands.activity_inputs import CompoundSource
    from cellml.commands.activity_train import TrainOptions
    from cellml.commands.long_work import plain_console

    train = TrainOptions(
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
        scale_features=scale_features,
        representation=representation,
        ensemble=ensemble,
        epochs=epochs,
        kind=kind,
        changes=change or (),
        seed=seed,
        strict=strict,
        cache=cache,
        workers=workers,
    )
    options = command.TuneOptions(train, trials, timeout, inner_split, ranges or ())
    raise typer.Exit(command.run(options, plain_console()))


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
    dropout_samples: Annotated[
        int, typer.Option(help="Passes of MC dropout a member; adds their deviation, too.")
    ] = 0,
    batch_size: Annotated[int, typer.Option(help="Compounds at a time.")] = 256,
    smiles_column: Smiles = None,
    strict: Strict = False,
    cache: Cache = None,
    workers: Workers = 1,
) -> None:
    """Predict new compounds: order kept, rows that cannot be predicted say why."""
    from cellml.commands import activity_predict as command
    from cellml.commands.activity_inputs import CompoundSource
    from cellml.commands.long_work import plain_console

    options = command.PredictOptions(
        source=CompoundSource(data, smiles_column),
        checkpoint=checkpoint,
        out=out,
        features=features or (),
        spread=spread,
        dropout_samples=dropout_samples,
        batch_size=batch_size,
        strict=strict,
        cache=cache,
        workers=workers,
    )
    raise typer.Exit(command.run(options, plain_console()))


@activity_app.command("explain")
def _explain(
    checkpoint: Annotated[
        Path, typer.Option(metavar="DIR", help="Of `train`; a model file; a .pt of Chemprop.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for results.")],
    data: Annotated[
        Path | None, typer.Argument(metavar="[NEW.csv]", help="SMILES; other columns ignored.")
    ] = None,
    smiles: Annotated[
        list[str] | None, typer.Option("--smiles", help="A compound; repeatable; no table then.")
    ] = None,
    assay: Annotated[str | None, typer.Option(help="To explain [the only one].")] = None,
    category: Annotated[
        int | None, typer.Option("--class", help="Number of the class, of a multi-class model.")
    ] = None,
    features: Features = None,
    steps: Annotated[int, typer.Option(help="Gradients a compound; more are more exact.")] = 64,
    batch_size: Annotated[int, typer.Option(help="Compounds at a time.")] = 64,
    smiles_column: Smiles = None,
    cache: Cache = None,
    workers: Workers = 1,
) -> None:
    """Draw which atoms speak for a hit and which against it: integrated gradients."""
    from cellml.commands import activity_explain as command
    from cellml.commands.long_work import plain_console

    options = command.ExplainOptions(
        data=data,
        checkpoint=checkpoint,
        out=out,
        smiles=smiles or (),
        smiles_column=smiles_column,
        assay=assay,
        category=category,
        features=features or (),
        steps=steps,
        batch_size=batch_size,
        cache=cache,
        workers=workers,
    )
    raise typer.Exit(command.run(options, plain_console()))
