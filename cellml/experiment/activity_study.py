"""A study of predictors of assays as a config describes it: what is trained, fused and compared."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cellml.data.text_tables import suggestion
from cellml.errors import UsageError
from cellml.experiment import STUDY as TASK
from cellml.experiment.activity_presets import PRESETS
from cellml.screening.fusion import RULES

STACKING = "stacking"
LINEAR = "linear"
STRUCTURES = ("", "graph", "morgan", "both", "none")
FOLD_SOURCES = ("column", "table", "split")
SIMULATED = {"MO": "morphology", "GE": "expression"}
"""Which simulated profiles stand for a modality, by the beginning of its name."""


@dataclass(frozen=True)
class StudyFolds:
    """Which fold tests each compound: of a column, of another table, or made here.

    Attributes:
      column: Of the table, or of `table`.
      table: Compounds with their folds, joined by the skeleton of the InChIKey (stereoisomers and
        salts' forms written otherwise share it); None for the study's own table.
      smiles_column: Of `table`.
      split: Kind of `cellml activity split`, without a column.
      number: Of folds that `split` makes.
      holdout: Names of the folds to hold out; all, if empty.
    """

    column: str = ""
    table: Path | None = None
    smiles_column: str = ""
    split: str = ""
    number: int = 5
    holdout: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyTable:
    """Compounds and assays.

    Attributes:
      name: Its folder in the run's.
      path: The file; None where it is simulated.
      smiles_column: The first, if empty.
      targets: Assays; all numeric columns, if empty.
      ignore: Numeric columns that are no assays.
      types: Table of the assays' types.
      folds: Of the compounds.
    """

    name: str
    path: Path | None
    smiles_column: str = ""
    targets: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    types: Path | None = None
    folds: StudyFolds = StudyFolds()


@dataclass(frozen=True)
class StudyPredictor:
    """A model that is trained.

    Attributes:
      name: In tables and figures.
      preset: A key of `PRESETS`.
      structures: One of `STRUCTURES`; as the preset has it, if empty; "none" for features alone.
      features: Names of modalities.
      changes: `name.of.entry=value` of the preset.
      trials: Of a search for settings before each training; 0 for none.
    """

    name: str
    preset: str
    structures: str = ""
    features: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    trials: int = 0

    @property
    def n_sources(self) -> int:
        """Modalities, the structure among them; with two or more it is an early fusion."""
        return len(self.features) + (self.structures != "none")


@dataclass(frozen=True)
class StudyFusion:
    """Predictors whose probabilities are joined.

    Attributes:
      name: In tables and figures.
      parts: Predictors.
      rule: Of `cellml activity fuse`.
    """

    name: str
    parts: tuple[str, ...]
    rule: str


@dataclass(frozen=True)
class StudyReport:
    """What stands for what in the tables 1 to 4 and figures 30 to 32.

    Attributes:
      singles: Predictor of each modality.
      late: Of each fusion, as `CS+MO`, the predictor that joins probabilities.
      early: Likewise the one trained on all features.
      statistic: Over the folds, "median" or "mean".
    """

    singles: Mapping[str, str]
    late: Mapping[str, str]
    early: Mapping[str, str]
    statistic: str = "median"


@dataclass(frozen=True)
class Study:
    """Everything that a config says.

    Attributes:
      tables: Each is a study of its own.
      simulate: Arguments of `simulate_screen`, instead of tables.
      features: File of each modality; empty where they are simulated.
      predictors: What is trained.
      late: What is fused.
      chosen: By name, the predictors and fusions among which validation compounds choose.
      best_of: By name, those among which the test compounds choose, retrospectively.
      report: See `StudyReport`.
      published: What the study of 2023 calls our predictors.
      baseline: Whether a linear model is trained beside them.
      seeds: Each trains everything once.
      workers: Processes.
    """

    tables: tuple[StudyTable, ...]
    simulate: Mapping[str, Any]
    features: Mapping[str, Path]
    predictors: tuple[StudyPredictor, ...]
    late: tuple[StudyFusion, ...]
    chosen: Mapping[str, tuple[str, ...]]
    best_of: Mapping[str, tuple[str, ...]]
    report: StudyReport
    published: Mapping[str, str]
    baseline: bool
    seeds: tuple[int, ...]
    workers: int


def read_study(config: ConfigDict) -> Study:
    """Reads a config, and checks that its names fit each other.

    Args:
      config: See `cellml.experiment.activity_study_presets`.

    Returns:
      The study. Paths begin at the config's `folder`, where they are not absolute.

    Raises:
      UsageError: An entry is unknown, missing or names something that is not there; the message
        names the entry.
    """
    known = ("task", "folder", "tables", "simulate", "features", "predictors", "late", "chosen",
             "best_of", "report", "published", "baseline", "seeds", "workers")  # fmt: skip
    top = _entries(config, "config", dict.fromkeys(known))
    if top["task"] != TASK:
        raise UsageError(f"config.task: found {top['task']!r}, {TASK!r} expected")
    folder, simulate = Path(top["folder"] or "."), dict(top["simulate"].items())
    tables = tuple(_table(name, part, folder) for name, part in top["tables"].items())
    if simulate:
        tables = (StudyTable("simulated", None, folds=tables[0].folds if tables else StudyFolds()),)
    study = Study(
        tables,
        simulate,
        {name: folder / file for name, file in top["features"].items()},
        # Single ones first; an ml_collections.ConfigDict gives names in alphabetical order.
        tuple(
            sorted(
                (_predictor(name, part) for name, part in top["predictors"].items()),
                key=lambda one: one.n_sources,
            )
        ),
        tuple(_fusion(name, part) for name, part in top["late"].items()),
        {name: tuple(among) for name, among in top["chosen"].items()},
        {name: tuple(among) for name, among in top["best_of"].items()},
        _report(top["report"]),
        dict(top["published"].items()),
        bool(top["baseline"]),
        tuple(int(seed) for seed in top["seeds"]),
        int(top["workers"]),
    )
    _check(study)
    return study


def files_of(study: Study) -> list[Path]:
    """All files that the study reads."""
    given = [path for table in study.tables for path in (table.path, table.types,
                                                         table.folds.table)]  # fmt: skip
    used = {name for one in study.predictors for name in one.features}
    features = [] if study.simulate else [study.features[n] for n in study.features if n in used]
    return [path for path in given if path is not None] + features


def _entries(part: Any, where: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """All entries of a part, those that are not there by default; None must be there."""
    if not isinstance(part, ConfigDict):
        raise UsageError(f"{where}: found {part!r}, entries {', '.join(defaults)} expected")
    for name in part:
        if name not in defaults:
            raise UsageError(f"{where}: unknown entry {name!r}{suggestion(name, defaults)}")
    found = {}
    for name, default in defaults.items():
        if name not in part and default is None:
            raise UsageError(f"{where}: entry {name!r} is missing")
        found[name] = part.get(name, default)
    return found


def _table(name: str, part: Any, folder: Path) -> StudyTable:
    where = f"config.tables.{name}"
    found = _entries(part, where, {"path": None, "smiles_column": "", "targets": (), "ignore": (),
                                   "types": "", "folds": None})  # fmt: skip
    folds = _entries(
        found["folds"],
        f"{where}.folds",
        {"column": "", "table": "", "smiles_column": "", "split": "", "number": 5, "holdout": ()},
    )
    if bool(folds["column"]) == bool(folds["split"]) or (folds["table"] and folds["split"]):
        raise UsageError(f"{where}.folds: either a column (of a table) or a kind of split expected")
    return StudyTable(
        name,
        folder / found["path"],
        found["smiles_column"],
        tuple(found["targets"]),
        tuple(found["ignore"]),
        folder / found["types"] if found["types"] else None,
        StudyFolds(
            folds["column"],
            folder / folds["table"] if folds["table"] else None,
            folds["smiles_column"],
            folds["split"],
            int(folds["number"]),
            tuple(map(str, folds["holdout"])),
        ),
    )


def _predictor(name: str, part: Any) -> StudyPredictor:
    where = f"config.predictors.{name}"
    found = _entries(part, where, {"preset": None, "structures": "", "features": (),
                                   "changes": (), "trials": 0})  # fmt: skip
    for entry, value, known in (
        ("preset", found["preset"], tuple(PRESETS)),
        ("structures", found["structures"], STRUCTURES),
    ):
        if value not in known:
            raise UsageError(
                f"{where}.{entry}: found {value!r}, one of {', '.join(known)} expected"
            )
    if found["structures"] == "none" and not found["features"]:
        raise UsageError(f"{where}: without structures it needs features")
    return StudyPredictor(
        name,
        found["preset"],
        found["structures"],
        tuple(found["features"]),
        tuple(found["changes"]),
        int(found["trials"]),
    )


def _fusion(name: str, part: Any) -> StudyFusion:
    where = f"config.late.{name}"
    found = _entries(part, where, {"parts": None, "rule": None})
    rules = (*RULES, STACKING)
    if found["rule"] not in rules:
        raise UsageError(
            f"{where}.rule: found {found['rule']!r}, one of {', '.join(rules)} expected"
        )
    if len(set(found["parts"])) < 2:
        raise UsageError(f"{where}.parts: found {list(found['parts'])}, two predictors or more "
                         "expected")  # fmt: skip
    return StudyFusion(name, tuple(found["parts"]), found["rule"])


def _report(part: Any) -> StudyReport:
    where = "config.report"
    found = _entries(part, where, {"singles": None, "late": None, "early": None,
                                   "statistic": "median"})  # fmt: skip
    if found["statistic"] not in ("median", "mean"):
        raise UsageError(
            f"{where}.statistic: found {found['statistic']!r}, median or mean expected"
        )
    singles, late, early = (dict(found[name].items()) for name in ("singles", "late", "early"))
    return StudyReport(singles, late, early, found["statistic"])


def _check(study: Study) -> None:
    if not study.tables or not study.predictors or not study.seeds:
        raise UsageError("config: tables (or simulate), predictors and seeds expected, one or more")
    trained = [one.name for one in study.predictors]
    fused = {one.name: one.rule for one in study.late}
    names = [*trained, *fused, *study.chosen, *study.best_of]
    for name in names:
        if not re.fullmatch(r"[\w+(), .-]+", name) or name == LINEAR or names.count(name) > 1:
            raise UsageError(
                f"config: predictor {name!r}: letters, digits and +-(),. expected, no name twice, "
                f"and not {LINEAR!r}, which is the baseline"
            )
    for predictor in study.predictors:
        for name in predictor.features:
            if study.simulate and name[:2] not in SIMULATED:
                raise UsageError(f"config.predictors.{predictor.name}: no simulated {name!r}, "
                                 f"only {' and '.join(SIMULATED)}")  # fmt: skip
            if not study.simulate and name not in study.features:
                raise UsageError(f"config.predictors.{predictor.name}.features: no {name!r} among "
                                 f"config.features{suggestion(name, study.features)}")  # fmt: skip
    for one in study.late:
        _known(one.parts, trained, f"config.late.{one.name}.parts")
    for name, among in study.chosen.items():
        _known(among, [*trained, *fused], f"config.chosen.{name}")
        if stacked := [each for each in among if fused.get(each) == STACKING]:
            raise UsageError(f"config.chosen.{name}: {stacked[0]!r} was fitted on the validation "
                             "compounds that are to choose")  # fmt: skip
    everything = [*trained, *fused, *study.chosen]
    for name, among in study.best_of.items():
        _known(among, everything, f"config.best_of.{name}")
    report = study.report
    for part, pairs in (("singles", report.singles), ("late", report.late),
                        ("early", report.early)):  # fmt: skip
        _known(list(pairs.values()), everything, f"config.report.{part}")
    if not report.singles:
        raise UsageError("config.report.singles: a predictor or more expected")
    _known(list(study.published), [*everything, LINEAR], "config.published")


def _known(names: Any, known: Any, where: str) -> None:
    if not names and not where.startswith(("config.report", "config.published")):
        raise UsageError(f"{where}: a predictor or more expected")
    for name in names:
        if name not in known:
            raise UsageError(f"{where}: no predictor {name!r}{suggestion(name, known)}")
