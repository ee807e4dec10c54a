"""`cellml activity ...`: from SMILES and profiles to predictions of assays and what they tell.

Part of `cellml.cli`: parses and calls `cellml.commands`, which are imported when they are called.
A function's docstring is the help text of its command.
"""

from pathlib import Path
from typing import Annotated

import typer

activity_app = typer.Typer(
    help="Compounds and assays: splits, predictions, scores.",
    no_args_is_help=True,
    rich_markup_mode="markdown",  # brackets are text
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[
    Path, typer.Argument(metavar="DATA.csv", help="SMILES, and a column an assay; empty: untested.")
]
Smiles = Annotated[str | None, typer.Option(help="Column of the SMILES [the first].")]
Targets = Annotated[
    list[str] | None, typer.Option("--targets", help="An assay; may be repeated [all numeric].")
]
Ignore = Annotated[
    list[str] | None, typer.Option("--ignore", help="A numeric column that is none; repeatable.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at a SMILES that cannot be read.")]
Cache = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of molecule codes, to share.")
]
Workers = Annotated[int, typer.Option(help="Processes.")]
SplitColumn = Annotated[
    str | None, typer.Option(help="Names the fold of each compound, or train, val, test.")
]
SplitsFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Splits as Chemprop has them, JSON or pickle.")
]
Radius = Annotated[int, typer.Option(help="Of the baseline's Morgan bits.")]
Size = Annotated[int, typer.Option(help="Of the baseline's Morgan bits.")]
Chirality = Annotated[bool, typer.Option(help="Whether its bits tell stereoisomers apart.")]
C = Annotated[float, typer.Option("--regularisation", help="Weight C of its data.")]


@activity_app.command("filter")
def _filter(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for results.")],
    smiles_column: Smiles = None,
    targets: Targets = None,
    ignore: Ignore = None,
    pains: Annotated[bool, typer.Option(help="Whether to take out PAINS compounds.")] = True,
    jaccard: Annotated[float, typer.Option(help="Assays that share more hits are similar.")] = 0.7,
    cut: Annotated[float, typer.Option(help="Of the tree of assays, of its largest distance.")] = (
        0.95
    ),
    keep: Annotated[float, typer.Option(help="Share of a cluster of assays that stays.")] = 0.3,
    frequent: Annotated[
        float, typer.Option(help="Compounds that hit this share of the assays go.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the choice among redundant assays.")] = 0,
    paper: Annotated[
        bool, typer.Option("--paper", help="As the published code does, faults included.")
    ] = False,
    strict: Strict = False,
    workers: Workers = 1,
) -> None:
    """Take out PAINS, empty and redundant assays, frequent hitters; say what went and why."""
    from cellml.commands import activity_filter as command
    from cellml.commands.activity_inputs import CompoundSource
    from cellml.commands.long_work import plain_console

    options = command.FilterOptions(
        source=CompoundSource(data, smiles_column, targets or (), ignore or ()),
        out=out,
        pains=pains,
        jaccard=jaccard,
        cut=cut,
        keep=keep,
        frequent=frequent,
        seed=seed,
        paper=paper,
        strict=strict,
        workers=workers,
    )
    command.run(options, plain_console())


@activity_app.command("split")
def _split(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for results.")],
    split: Annotated[
        str | None,
        typer.Option(
            help="scaffold, scaffold_balanced, random, kmeans, column or file [scaffold]."
        ),
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Number of folds [5].")] = None,
    fractions: Annotated[
        str | None, typer.Option(help="Train, val, test instead of folds: .8,.1,.1.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Folds or parts that are there, to report on.")
    ] = None,
    splits_file: SplitsFile = None,
    features: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Profiles for --split kmeans.")
    ] = None,
    identity_safe: Annotated[
        bool, typer.Option("--identity-safe", help="No InChIKey skeleton on two sides.")
    ] = False,
    similarity: Annotated[bool, typer.Option(help="Whether to report similarities.")] = True,
    seed: Annotated[int, typer.Option(help="Of what is random.")] = 0,
    smiles_column: Smiles = None,
    targets: Targets = None,
    ignore: Ignore = None,
    strict: Strict = False,
    workers: Workers = 1,
) -> None:
    """Write a column of folds, Chemprop's splits JSON, and what leaks between the folds."""
    from cellml.commands import activity_split as command
    from cellml.commands.activity_inputs import CompoundSource, binary_fractions
    from cellml.commands.long_work import plain_console

    options = command.SplitOptions(
        source=CompoundSource(data, smiles_column, targets or (), ignore or ()),
        out=out,
        split=split or ("column" if column else "file" if splits_file else "scaffold"),
        folds=folds,
        fractions=binary_fractions(fractions) if fractions else None,
        column=column,
        splits_file=splits_file,
        features=features,
        identity_safe=identity_safe,
        seed=seed,
        similarity=similarity,
        strict=strict,
        workers=workers,
    )
    command.run(options, plain_console())


@activity_app.command("fingerprint")
def _fingerprint(
    data: Data,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help=".npz, .parquet or .csv.")
    ],
    kind: Annotated[str, typer.Option(help="morgan (bits), counts or descriptors.")] = "morgan",
    radius: Annotated[int, typer.Option(help="Bonds around each atom.")] = 2,
    size: Annotated[int, typer.Option(help="Bits or counts.")] = 2048,
    chirality: Annotated[bool, typer.Option("--chirality", help="Tell stereoisomers apart.")] = (
        False
    ),
    largest_fragment: Annotated[
        bool, typer.Option("--largest-fragment", help="Leave counter-ions out.")
    ] = False,
    smiles_column: Smiles = None,
    strict: Strict = False,
    workers: Workers = 1,
) -> None:
    """Write Morgan fingerprints or RDKit's descriptors; npz as Chemprop reads it."""
    from cellml.commands import activity_fingerprint as command
    from cellml.commands.long_work import plain_console

    options = command.FingerprintOptions(
        data=data,
        out=out,
        kind=kind,
        radius=radius,
        size=size,
        chirality=chirality,
        smiles_column=smiles_column,
        largest_fragment=largest_fragment,
        strict=strict,
        workers=workers,
    )
    command.run(options, plain_console())


@activity_app.command("baseline")
def _baseline(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Predictions, CSV.")],
    split_column: SplitColumn = None,
    splits_file: SplitsFile = None,
    radius: Radius = 3,
    size: Size = 4096,
    chirality: Chirality = True,
    regularisation: C = 0.1,
    smiles_column: Smiles = None,
    targets: Targets = None,
    ignore: Ignore = None,
    strict: Strict = False,
    workers: Workers = 1,
) -> None:
    """Predict held-out compounds by a logistic regression an assay on Morgan bits."""
    from cellml.commands import activity_baseline as command
    from cellml.commands.activity_inputs import CompoundSource
    from cellml.commands.long_work import plain_console

    options = command.BaselineOptions(
        source=CompoundSource(data, smiles_column, targets or (), ignore or ()),
        out=out,
        split_column=split_column,
        splits_file=splits_file,
        settings=command.LinearSettings(radius, size, chirality, regularisation),
        strict=strict,
        workers=workers,
    )
    command.run(options, plain_console())


@activity_app.command("evaluate")
def _evaluate(
    predictions: Annotated[
        list[str], typer.Argument(metavar="NAME=FILE...", help="A name may have several files.")
    ],
    truth: Annotated[Path, typer.Option(metavar="DATA.csv", help="SMILES and readouts.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for all scores.")
    ] = None,
    split_column: SplitColumn = None,
    splits_file: SplitsFile = None,
    assay_types: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Assays and their types.")
    ] = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="Only readouts that all predictors speak of.")
    ] = False,
    kind: Annotated[str, typer.Option(help="binary, regression or multiclass.")] = "binary",
    similarity: Annotated[
        bool, typer.Option(help="Whether to score by similarity to the training compounds.")
    ] = True,
    figures: Annotated[bool, typer.Option(help="Whether to draw into --out.")] = True,
    baseline: Annotated[bool, typer.Option(help="Whether to train the linear baseline.")] = True,
    radius: Radius = 3,
    size: Size = 4096,
    chirality: Chirality = True,
    regularisation: C = 0.1,
    smiles_column: Smiles = None,
    targets: Targets = None,
    ignore: Ignore = None,
    workers: Workers = 1,
) -> None:
    """Score predictions per assay and fold, beside a linear baseline on the same split."""
    from cellml.commands import activity_evaluate as command
    from cellml.commands.activity_baseline import LinearSettings
    from cellml.commands.activity_inputs import CompoundSource
    from cellml.commands.long_work import plain_console

    options = command.EvaluateOptions(
        source=CompoundSource(truth, smiles_column, targets or (), ignore or ()),
        predictions=predictions,
        out=out,
        split_column=split_column,
        splits_file=splits_file,
        assay_types=assay_types,
        shared=shared,
        kind=kind,
        similarity=similarity,
        figures=figures,
        baseline=baseline,
        settings=LinearSettings(radius, size, chirality, regularisation),
        workers=workers,
    )
    command.run(options, plain_console())


@activity_app.command("fuse")
def _fuse(
    predictions: Annotated[
        list[str], typer.Argument(metavar="NAME=FILE...", help="With best_of: tables of scores.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="CSV to write.")],
    rule: Annotated[
        str, typer.Option(help="maximum, mean, logit_mean, stacking or best_of.")
    ] = "maximum",
    validation: Annotated[
        list[str] | None,
        typer.Option(help="Of stacking: NAME=FILE of validation compounds; repeatable."),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(metavar="DATA.csv", help="Of stacking: readouts.")
    ] = None,
    fold_column: Annotated[str, typer.Option(help="Of predictions and truth.")] = "fold",
    penalty: Annotated[float, typer.Option(help="Of stacking, on the way from the mean.")] = 1.0,
    predictor: Annotated[
        list[str] | None, typer.Option(help="Of best_of: one to choose from; repeatable [all].")
    ] = None,
    score: Annotated[str, typer.Option(help="Of best_of.")] = "auroc_median",
    smiles_column: Smiles = None,
    targets: Targets = None,
) -> None:
    """Join predictions of several predictors; best_of chooses per assay by the test scores."""
    from cellml.commands import activity_fuse as command
    from cellml.commands.long_work import plain_console

    options = command.FuseOptions(
        predictions=predictions,
        out=out,
        rule=rule,
        targets=targets or (),
        smiles_column=smiles_column,
        validation=validation or (),
        truth=truth,
        fold_column=fold_column,
        penalty=penalty,
        predictors=predictor or (),
        score=score,
    )
    command.run(options, plain_console())


@activity_app.command("report")
def _report(
    scores: Annotated[
        list[Path], typer.Argument(metavar="SCORES.csv...", help="assays.csv of `evaluate`.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the page.")],
    statistic: Annotated[str, typer.Option(help="median or mean over the folds.")] = "median",
    published: Annotated[
        bool, typer.Option("--published", help="These are the study's own predictors.")
    ] = False,
    single: Annotated[
        list[str] | None, typer.Option(help="NAME=PREDICTOR of one modality; repeatable.")
    ] = None,
    fusion: Annotated[
        list[str] | None, typer.Option(help="A+B=PREDICTOR, late fusion; repeatable.")
    ] = None,
    early: Annotated[
        list[str] | None, typer.Option(help="A+B=PREDICTOR, early fusion; repeatable.")
    ] = None,
    assay_types: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Assays and their types.")
    ] = None,
    title: Annotated[str, typer.Option(help="Of the page.")] = (
        "Assays predicted from structures and profiles"
    ),
) -> None:
    """Draw and tabulate which modality predicts which assays: writes report.html."""
    from cellml.commands import activity_report as command
    from cellml.commands.long_work import plain_console

    options = command.ReportOptions(
        scores=scores,
        out=out,
        statistic=statistic,
        published=published,
        singles=single or (),
        fusions=fusion or (),
        early=early or (),
        assay_types=assay_types,
        title=title,
    )
    command.run(options, plain_console())
