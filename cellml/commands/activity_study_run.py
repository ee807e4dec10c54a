"""`launch/activity_study.py --config FILE --workdir DIR`: a study that a config describes.

Flags: --config=FILE, --workdir=DIR, --published=DIR, and any --config.x.y=value.

Every table and seed has a folder `<table>/seed_<n>` of models, predictions, scores and a report;
what is finished is not done again. study.csv and study.json sum up all of them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console

from cellml.commands import activity_evaluate, activity_report, activity_train, activity_tune
from cellml.commands.activity_inputs import FOLD
from cellml.commands.activity_published import PublishedScores, compare_published
from cellml.commands.activity_study_choice import choose_by_validation
from cellml.commands.activity_study_steps import (
    fuse_parts,
    fuse_validation,
    gather,
    train_fold,
)
from cellml.commands.activity_study_summary import (
    HOW,
    over_seeds,
    shown,
    summarise,
    summary_rows,
)
from cellml.commands.activity_study_tables import Prepared, prepare
from cellml.commands.config_changes import change_config
from cellml.commands.long_work import EXIT_INTERRUPTED, say
from cellml.commands.train import read_flags
from cellml.data.text_tables import write_csv
from cellml.data.writers import write_json
from cellml.errors import UsageError, UserError
from cellml.experiment.activity_study import (
    STACKING,
    Study,
    StudyPredictor,
    StudyTable,
    files_of,
    read_study,
)

ROWS, SUMMARY, CHOICES = "study.csv", "study.json", "chosen.json"
USAGE = """\
Usage: launch/activity_study.py --config=FILE --workdir=DIR [--published=DIR] [--config.x.y=value]

  --config=FILE        A study of the folder configs/, e.g. configs/activity_broad.py.
  --workdir=DIR        Everything the study writes goes here; a study found there goes on.
  --published=DIR      Scores per assay as published with Moshkov et al. 2023, to stand beside ours.
  --config.x.y=value   Overrides one entry, e.g. --config.folder=DATA."""


class SearchInterrupted(UserError):
    """A signal stopped the search for settings; finished trials stay."""

    exit_code = EXIT_INTERRUPTED


@dataclass(frozen=True)
class Place:
    """Where one table and seed are.

    Attributes:
      table: The table.
      data: What it is trained on.
      seed: Of everything.
      folder: Of this table and seed.
    """

    table: StudyTable
    data: Prepared
    seed: int
    folder: Path

    def predictions(self, name: str) -> Path:
        """File of a predictor for held-out compounds."""
        return self.folder / "predictions" / f"{name}.csv"

    def validation(self, name: str) -> Path:
        """Likewise for validation compounds."""
        return self.folder / "validation" / f"{name}.csv"


def main(arguments: Sequence[str]) -> int:
    """Parses flags and runs the study.

    Args:
      arguments: The command line without the program's name.

    Returns:
      Exit code 0.

    Raises:
      UserError: A flag, config or file cannot be used, or the study was stopped: the same command
        goes on from there.
    """
    if any(flag in ("--help", "-h", "-help") for flag in arguments):
        print(USAGE)
        return 0
    config, workdir, more = read_flags(arguments, "activity_study", extra=("published",))
    published = Path(more["published"]) if more["published"] else None
    run(config, workdir, Console(), published=published)
    return 0


def run(
    config: ConfigDict, workdir: Path, console: Console, *, published: Path | None = None
) -> dict[str, Any]:
    """Trains, fuses, scores and reports every table and seed of a config.

    Args:
      config: See `cellml.experiment.activity_study.read_study`.
      workdir: Folder for everything.
      console: Where to print.
      published: Folder of published scores per assay.

    Returns:
      What is written to study.json.

    Raises:
      UserError: A file cannot be used.
      UsageError: The config does not fit, or the folder holds another study.
      TrainingInterrupted, SearchInterrupted: The process was asked to end.
    """
    study = read_study(config)
    if missing := [path for path in files_of(study) if not path.is_file()]:
        raise UsageError(
            f"{missing[0]}: no such file ({len(missing)} of the config's files are missing; "
            "config.folder says where they are)"
        )
    beside = None if published is None else PublishedScores.read(published, study.report.statistic)
    tables: dict[str, Any] = {}
    for table in study.tables:
        data = prepare(study, table, workdir / table.name, console)
        seeds = []
        for seed in study.seeds:
            place = Place(table, data, seed, workdir / table.name / f"seed_{seed}")
            say(console, f"{table.name}, seed {seed}")
            seeds.append(_run_place(study, place, beside, console))
        tables[table.name] = over_seeds(seeds)
        console.print(shown(table.name, tables[table.name]), soft_wrap=True, markup=False)
    facts = {"tables": tables, "seeds": list(study.seeds), "how": HOW}
    write_csv(workdir / ROWS, summary_rows(tables))
    write_json(workdir / SUMMARY, facts)
    say(console, f"wrote {workdir / ROWS} and {SUMMARY}")
    return facts


def _run_place(
    study: Study, place: Place, beside: PublishedScores | None, console: Console
) -> dict[str, Any]:
    for predictor in study.predictors:
        folders = _train(study, predictor, place, console)
        gather(folders, place.predictions(predictor.name), place.validation(predictor.name))
    kinds = _fuse(study, place, console)
    names = [one.name for one in study.predictors] + [one.name for one in study.late]
    names += study.chosen
    scores = place.folder / "scores"
    activity_evaluate.run(
        activity_evaluate.EvaluateOptions(
            place.data.source,
            [f"{name}={place.predictions(name)}" for name in names],
            scores,
            split_column=FOLD,
            assay_types=place.data.types,
            baseline=study.baseline,
            workers=study.workers,
        ),
        Console(quiet=True),
    )
    table = scores / activity_evaluate.ASSAYS
    chapters = []
    if beside is not None and study.published:
        chapters = compare_published(table, study.published, beside, place.folder / "report")
    report = study.report
    activity_report.run(
        activity_report.ReportOptions(
            [table],
            place.folder / "report",
            statistic=report.statistic,
            singles=[f"{name}={predictor}" for name, predictor in report.singles.items()],
            fusions=[f"{name}={predictor}" for name, predictor in report.late.items()],
            early=[f"{name}={predictor}" for name, predictor in report.early.items()],
            title=f"Assays of {place.table.name}",
        ),
        console,
        more=chapters,
    )
    return summarise(scores, kinds, study.best_of)


def _train(study: Study, predictor: StudyPredictor, place: Place, console: Console) -> list[Path]:
    """Every fold of a predictor that is not finished; gives the folders of all."""
    options = train_options(study, predictor, place)
    quiet = Console(quiet=True)
    plan = activity_train.make_plan(options, quiet)
    activity_train.write_plan(plan, quiet)
    configs = plan.configs
    search = place.folder / "search" / predictor.name
    if predictor.trials and any(not (search / name / activity_tune.BEST).is_file()
                                for name in configs):  # fmt: skip
        tune = activity_tune.TuneOptions(replace(options, out=search), predictor.trials)
        if activity_tune.run(tune, console) == EXIT_INTERRUPTED:
            raise SearchInterrupted(f"{search}: stopped; run again to go on")
    folders = []
    for number, (name, config) in enumerate(configs.items(), 1):
        if predictor.trials:
            best = json.loads((search / name / activity_tune.BEST).read_text(encoding="utf-8"))
            for change in best["settings"]:
                change_config(config, change)
        folders.append(options.out / name)
        did = train_fold(config, folders[-1])
        what = f"[{number}/{len(configs)}] {predictor.name}, {name.replace('_', ' ')}"
        say(console, f"{what}: {'trained' if did else 'was finished'}")
    return folders


def train_options(
    study: Study, predictor: StudyPredictor, place: Place
) -> activity_train.TrainOptions:
    """What `cellml activity train` would be asked for.

    Args:
      study: See `Study`.
      predictor: One of its predictors.
      place: Table and seed.

    Returns:
      The options; the folder of molecules is shared by all predictors of the table.
    """
    alone = predictor.structures == "none"
    return activity_train.TrainOptions(
        place.data.source,
        place.folder / "models" / predictor.name,
        preset=predictor.preset,
        split_column=FOLD,
        holdout=place.table.folds.holdout,
        features=[place.data.features[name] for name in predictor.features],
        features_only=alone,
        representation=None if alone else predictor.structures or None,
        changes=predictor.changes,
        cache=place.folder.parent / "molecules",
        seed=place.seed,
        baseline=False,
        workers=study.workers,
    )


def _fuse(study: Study, place: Place, console: Console) -> dict[str, str]:
    """Late fusions and choices by validation; says what is what."""
    source, quiet = place.data.source, Console(quiet=True)
    kinds = {one.name: "early" for one in study.predictors if one.n_sources > 1}
    for one in study.late:
        files = {name: place.predictions(name) for name in one.parts}
        validation = {name: place.validation(name) for name in one.parts}
        fuse_parts(files, validation, one.rule, place.predictions(one.name), source.path, quiet)
        if one.rule != STACKING:
            fuse_validation(validation, one.rule, place.validation(one.name), quiet)
        kinds[one.name] = "late"
    table = source.read(besides=[FOLD])
    choices = {}
    for name, among in study.chosen.items():
        files = {each: place.predictions(each) for each in among}
        validation = {each: place.validation(each) for each in among}
        choices[name] = choose_by_validation(files, validation, table, place.predictions(name))
        kinds[name] = "chosen"
        for fold, choice in choices[name].items():
            say(console, f"{name}, fold {fold}: {choice['chosen']}")
    if choices:
        write_json(place.folder / CHOICES, choices)
    return kinds
