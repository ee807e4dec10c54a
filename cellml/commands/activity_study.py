"""The study of modalities: each alone, early, late and retrospective fusion.

`launch/activity_study.py` calls it.
Runs the commands that a person would run: split, train, fuse, evaluate, report. What is finished is
not done again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from cellml.commands import (
    activity_evaluate,
    activity_fuse,
    activity_report,
    activity_split,
    activity_train,
)
from cellml.commands.activity_inputs import FOLD, CompoundSource
from cellml.commands.activity_scores import plain
from cellml.commands.activity_study_steps import fuse_parts, gather, train_fold
from cellml.commands.long_work import say
from cellml.data.assay_simulation import EXPRESSION, simulate_screen, write_screen
from cellml.data.score_tables import read_score_tables
from cellml.data.text_tables import write_csv
from cellml.data.writers import write_json
from cellml.errors import UsageError
from cellml.metrics.assay_summary import count_above
from cellml.screening.fusion import RULES, best_of

STRUCTURE, EARLY = "CS", "early"
SOURCES = ("structure", "morphology", "expression", "structure+morphology")
TYPES, STUDY = "types.csv", "study.json"


@dataclass(frozen=True)
class StudyOptions:
    """What the user asked for.

    Attributes:
      source: Compounds and assays of hits.
      features: File of each further modality, by its name.
      out: Folder.
      split: As `cellml activity split` knows it, of folds.
      folds: Number of folds, each held out in turn.
      holdout: Names of folds to hold out (from "0"); all, if empty.
      rule: Of late fusion in the tables; the others are scored beside it.
      preset: Of all models.
      epochs: Likewise; the preset's, if None.
      changes: `name.of.entry=value` of all configs.
      assay_types: Table of assays and their types.
      seed: Of everything.
      workers: Processes.
    """

    source: CompoundSource
    features: dict[str, Path]
    out: Path
    split: str = "scaffold"
    folds: int = 5
    holdout: Sequence[str] = ()
    rule: str = "logit_mean"
    preset: str = "cellml"
    epochs: int | None = None
    changes: Sequence[str] = ()
    assay_types: Path | None = None
    seed: int = 0
    workers: int = 1


def main(arguments: Sequence[str]) -> int:
    """Parses the command line and runs the study.

    Args:
      arguments: Of the command line.

    Returns:
      Exit code.
    """
    parser = argparse.ArgumentParser(prog="activity_study", description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, help="SMILES and assays; simulated without")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--feature", action="append", default=[], metavar="NAME=FILE",
                        help="a modality, as MO=morphology.csv; repeatable")  # fmt: skip
    parser.add_argument("--smiles-column")
    parser.add_argument("--assay-types", type=Path)
    parser.add_argument("--split", default="scaffold")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--rule", default="logit_mean", choices=(*RULES, "stacking"))
    parser.add_argument("--preset", default="cellml")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--compounds", type=int, default=1500, help="of a simulated screen")
    parser.add_argument("--assays", type=int, default=24, help="likewise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    pairs = [text.partition("=") for text in given.feature]
    features = {name: Path(file) for name, _, file in pairs}
    data, types = given.data, given.assay_types
    if data is None:
        data, features, types = simulate(
            given.out / "screen", n_compounds=given.compounds, n_assays=given.assays,
            seed=given.seed,
        )  # fmt: skip
    options = StudyOptions(
        CompoundSource(data, given.smiles_column),
        features,
        given.out,
        split=given.split,
        folds=given.folds,
        rule=given.rule,
        preset=given.preset,
        epochs=given.epochs,
        changes=given.changes,
        assay_types=types,
        seed=given.seed,
        workers=given.workers,
    )
    run(options, Console())
    return 0


def simulate(
    folder: Path, *, n_compounds: int, n_assays: int, seed: int = 0
) -> tuple[Path, dict[str, Path], Path]:
    """Writes a screen whose assays depend on known modalities, 5 % of its readouts mistaken.

    Args:
      folder: Where to.
      n_compounds: Number of compounds.
      n_assays: Number of assays; they depend on `SOURCES` in turn.
      seed: Of everything.

    Returns:
      The table of assays, profiles by modality, and the table of the assays' types.
    """
    screen = simulate_screen(
        n_compounds=n_compounds, n_assays=n_assays, sources=SOURCES, mistaken=0.05, seed=seed
    )
    assays, morphology = write_screen(folder, screen)
    types = write_types(folder, screen.assays)
    return assays, {"MO": morphology, "GE": folder / EXPRESSION}, types


def write_types(folder: Path, assays: Sequence[str]) -> Path:
    """Writes what simulated assays depend on, by their names, as a table of types."""
    kinds = [name.rpartition("_")[0].replace("_and_", " + ") for name in assays]
    write_csv(folder / TYPES, pa.table({"assay": list(assays), "type": kinds}))
    return folder / TYPES


def run(options: StudyOptions, console: Console) -> dict[str, Any]:
    """Trains, fuses, scores; writes study.json, `scores/` and `report/`.

    Args:
      options: See `StudyOptions`.
      console: Where to print.

    Returns:
      What is written to study.json.

    Raises:
      UserError: A file cannot be used.
      UsageError: Options do not fit.
    """
    _check(options)
    out, quiet = options.out, Console(quiet=True)
    data = _split(options, quiet)
    singles = (STRUCTURE, *options.features)
    for name in (*singles, EARLY):
        say(console, f"training {name}")
        _train(options, data, name, quiet)
    files = {name: _gather(out, name) for name in (*singles, EARLY)}
    say(console, "fusing and scoring")
    late = _fuse(options, data, singles, files, quiet)
    predictors = {**files, **late}
    activity_evaluate.run(
        activity_evaluate.EvaluateOptions(
            data,
            [f"{name}={path}" for name, path in predictors.items()],
            out / "scores",
            split_column=FOLD,
            assay_types=options.assay_types,
            workers=options.workers,
        ),
        console,
    )
    facts = _retrospective(options, singles)
    write_json(out / STUDY, facts)
    activity_report.run(
        activity_report.ReportOptions(
            [out / "scores" / activity_evaluate.ASSAYS],
            out / "report",
            singles=singles,
            early=[f"{'+'.join(singles)}={EARLY}"],
            fusions=[f"{name}={name}" for name in late if set(name.split("+")) <= set(singles)],
        ),
        console,
    )
    console.print(_table(facts), soft_wrap=True, markup=False)
    return facts


def _check(options: StudyOptions) -> None:
    if not options.features or STRUCTURE in options.features or EARLY in options.features:
        raise UsageError(f"--feature NAME=FILE: a modality not called {STRUCTURE} or {EARLY}")
    for name, path in options.features.items():
        if not path.is_file() or not name or "+" in name:
            raise UsageError(f"--feature {name}={path}: NAME=FILE expected, no + in the name")


def _split(options: StudyOptions, quiet: Console) -> CompoundSource:
    """Gives every compound its fold; what follows reads the table with it."""
    activity_split.run(
        activity_split.SplitOptions(
            options.source,
            options.out / "split",
            split=options.split,
            folds=options.folds,
            seed=options.seed,
            similarity=False,
            workers=options.workers,
        ),
        quiet,
    )
    table = options.out / "split" / activity_split.TABLE
    targets, ignore = options.source.targets, options.source.ignore
    return CompoundSource(table, options.source.smiles_name, targets, ignore)


def _train(options: StudyOptions, data: CompoundSource, name: str, quiet: Console) -> None:
    own = [options.features[name]] if name in options.features else []
    train = activity_train.TrainOptions(
        data,
        options.out / "models" / name,
        preset=options.preset,
        split_column=FOLD,
        holdout=options.holdout,
        features=list(options.features.values()) if name == EARLY else own,
        features_only=bool(own),
        epochs=options.epochs,
        changes=options.changes,
        seed=options.seed,
        baseline=False,
        workers=options.workers,
    )
    # Scored together with the others, later.
    plan = activity_train.make_plan(train, quiet)
    activity_train.write_plan(plan, quiet)
    for folder, config in plan.configs.items():
        train_fold(config, train.out / folder)


def _gather(out: Path, name: str) -> Path:
    """Predictions of held-out compounds, and beside them those of validation compounds by run."""
    path = out / "predictions" / f"{name}.csv"
    folders = sorted((out / "models" / name).glob(f"{activity_train.FOLDER}*"))
    gather(folders, path, out / "validation" / f"{name}.csv")
    return path


def _fuse(
    options: StudyOptions,
    data: CompoundSource,
    singles: Sequence[str],
    files: dict[str, Path],
    quiet: Console,
) -> dict[str, Path]:
    """Every set of modalities by the rule of the study, all of them by the other rules, too."""
    jobs = {
        "+".join(some): (some, options.rule)
        for size in range(2, len(singles) + 1)
        for some in combinations(singles, size)
    }
    others = [rule for rule in (*RULES, activity_fuse.STACKING) if rule != options.rule]
    jobs |= {f"{'+'.join(singles)} by {rule}": (tuple(singles), rule) for rule in others}
    made = {}
    for name, (some, rule) in jobs.items():
        path = options.out / "fused" / f"{name.replace(' ', '_')}.csv"
        parts = {single: files[single] for single in some}
        validation = {single: options.out / "validation" / f"{single}.csv" for single in some}
        fuse_parts(parts, validation, rule, path, data.path, quiet)
        made[name] = path
    return made


def _retrospective(options: StudyOptions, singles: Sequence[str]) -> dict[str, Any]:
    """Mean and counts of every predictor, and of the best of some for each assay."""
    table = read_score_tables([options.out / "scores" / activity_evaluate.ASSAYS])
    auroc = {name: scores["auroc_median"] for name, scores in table.scores.items()}
    late = "+".join(singles)
    auroc["best of the single ones"] = best_of(np.stack([auroc[n] for n in singles])).value
    auroc["best of single ones and late"] = best_of(
        np.stack([auroc[n] for n in (*singles, late)])
    ).value
    kinds = np.array(table.types or [""] * len(table.assays))
    facts: dict[str, Any] = {}
    for name, values in auroc.items():
        counts = count_above(values)
        facts[name] = {
            "mean": plain(counts.mean),
            "above": {f"{limit:g}": n for limit, n in counts.above.items()},
            "undefined": counts.n_undefined,
            "by_type": {
                str(kind): plain(count_above(values[kinds == kind]).mean)
                for kind in dict.fromkeys(kinds.tolist())
            },
        }
    return {"assays": len(table.assays), "singles": list(singles), "late": late,
            "rule": options.rule, "predictors": facts}  # fmt: skip


def _table(facts: dict[str, Any]) -> Table:
    table = Table(title=f"AUROC over {facts['assays']} assays (median over folds)", box=None)
    kinds = [k for k in next(iter(facts["predictors"].values()))["by_type"] if k]
    for name in ("predictor", "mean", "> .7", "> .9", *kinds):
        first = name == "predictor"
        table.add_column(name, justify="left" if first else "right", no_wrap=first)
    for name, found in facts["predictors"].items():
        numbers = [found["mean"], *(found["by_type"][kind] for kind in kinds)]
        first, *others = ("-" if value is None else f"{value:.3f}" for value in numbers)
        above = found["above"]
        table.add_row(name, first, str(above["0.7"]), str(above["0.9"]), *others)
    return table
