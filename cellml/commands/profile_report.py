"""`cellml profile report`: all experiments of a project, or bare tables, on one page."""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from cellml import __version__
from cellml.commands.long_work import say
from cellml.commands.profile_corrected import check_correction
from cellml.commands.profile_evaluate import LABELS, EvaluateOptions, check_options
from cellml.commands.profile_outputs import OUTPUTS
from cellml.commands.profile_report_inputs import (
    TRUTH,
    Source,
    find_experiments,
    name_tables,
    read_training,
    read_truth,
)
from cellml.commands.profile_report_quality import read_quality
from cellml.commands.profile_report_scores import result_numbers, score_experiment
from cellml.data.painting_project import CONFIG, open_project
from cellml.data.profile_joins import pair_joins, read_join
from cellml.data.profile_tables import read_profiles
from cellml.data.writers import write_json
from cellml.errors import UsageError
from cellml.metrics.sweep import LAMBDAS
from cellml.report.profiling_quality import QualityControl
from cellml.report.profiling_report import write_profiling_report
from cellml.report.profiling_results import shown_lambda

REPORT = "report"
NUMBERS = "report.json"


@dataclass(frozen=True)
class ReportOptions:
    """What the user asked for.

    Attributes:
      project: Folder of a project, or None to take `tables`.
      experiments: Names below `outputs`; all that have profiles, if empty.
      tables: Without a project: `NAME=FILE` or `FILE`, one row a well; files of one name belong
        together.
      label_column: Mechanism of a treatment, several joined by |.
      treatment_column: Treatment; several columns are joined by @.
      control: Condition for control rows; by default those of the project's control_value. Without
        any, nothing is sphered.
      features_regex: As in `cellml.data.profile_tables.read_profiles`.
      sphere: A key of `cellml.commands.profile_corrected.SPHERING`.
      regularisation: The default lambda, fixed beforehand.
      sweep: Lambdas to try beside it; None is no sphering.
      batch_column: Batch of a well; Metadata_Batch, or else the plate, if None.
      compound_column: Compound of a well; the treatment, if None.
      normalize: As in `EvaluateOptions`.
      ties: Likewise.
      metadata: Likewise.
      on: Likewise.
      truth: CSV of true strengths (treatment, strength); the project's truth.csv, if None.
      out: Folder to write into; `outputs/report` of the project, if None.
      umap: Whether to draw UMAP.
      seed: Of UMAP.
    """

    project: Path | None = None
    experiments: Sequence[str] = ()
    tables: Sequence[str] = ()
    label_column: str = LABELS
    treatment_column: str = "Metadata_treatment"
    control: str | None = None
    features_regex: str | None = None
    sphere: str = "zca"
    regularisation: float = 1e-2
    sweep: Sequence[float | None] = LAMBDAS
    batch_column: str | None = None
    compound_column: str | None = None
    normalize: str = "none"
    ties: str = "threshold"
    metadata: Sequence[Path] = ()
    on: Sequence[str] = ()
    truth: Path | None = None
    out: Path | None = None
    umap: bool = True
    seed: int = 0


def run(options: ReportOptions, console: Console) -> dict[str, Any]:
    """Writes report.html, report.json and every figure as PNG and SVG.

    Args:
      options: See `ReportOptions`.
      console: Where to print.

    Returns:
      What is written to report.json.

    Raises:
      UserError: An option, table, column or condition cannot be used.
    """
    _check(options)
    asked_for = options.control is not None
    if options.control is None and options.project is not None:
        options = dataclasses.replace(options, control=control_of(options))
    joins = [read_join(path, on) for path, on in pair_joins(options.metadata, options.on)]
    sources = _sources(options)
    folder = options.out or (options.project or Path()) / OUTPUTS / REPORT
    truth_file = options.truth
    if truth_file is None and options.project and (options.project / TRUTH).is_file():
        truth_file = options.project / TRUTH
    truth = read_truth(truth_file) if truth_file else None
    results = []
    for source in sources:
        table = read_profiles(source.files, features_regex=options.features_regex, joins=joins)
        say(console, f"{source.name}: {len(table.features)} wells")
        if asked_for and options.control is not None:
            table.with_column(options.treatment_column).matching(options.control)
        evaluate = _evaluation(options, source)
        result = score_experiment(
            source.name,
            table,
            evaluate,
            lambdas=tuple(options.sweep),
            truth=truth,
            training=read_training(source.model) if source.model else None,
            umap=options.umap,
            seed=options.seed,
        )
        for note in result.notes:
            say(console, f"note: {note}")
        results.append(result)
    numbers = {
        "experiments": {result.name: result_numbers(result) for result in results},
        "facts": _facts(options, sources, truth_file),
    }
    title = f"Profiles of {options.project.resolve().name}" if options.project else "Profiles"
    page = write_profiling_report(
        folder, results, title=title, facts=numbers["facts"], quality=_quality(options, sources)
    )
    write_json(folder / NUMBERS, numbers)
    say(console, f"wrote {page}")
    return numbers


def control_of(options: ReportOptions) -> str | None:
    """The condition for controls that a project's configuration implies; None if it says nothing.

    Raises:
      UserError: The project cannot be read.
    """
    if options.project is None or not any((options.project / CONFIG).glob("*.json")):
        return None
    values = open_project(options.project).control_values
    column = options.treatment_column
    shown = column if re.fullmatch(r"[\w.]+", column) else f"`{column}`"
    return " or ".join(f"{shown} == {name!r}" for name in values) or None


def _check(options: ReportOptions) -> None:
    lambdas = (options.regularisation, *options.sweep)
    check_correction(normalize=options.normalize, sphere=options.sphere, lambdas=lambdas)
    check_options(EvaluateOptions((), ties=options.ties))
    if options.project and options.tables:
        raise UsageError("a project or tables of profiles are needed, not both")
    if not options.project and not options.out:
        raise UsageError("--out is needed where there is no project")


def _evaluation(options: ReportOptions, source: Source) -> EvaluateOptions:
    """What `evaluate` would be asked for the same scores."""
    return EvaluateOptions(
        [str(path) for path in source.files],
        label_column=options.label_column,
        treatment_column=options.treatment_column,
        control=options.control,
        features_regex=options.features_regex,
        sphere=options.sphere,
        regularisation=options.regularisation,
        normalize=options.normalize,
        ties=options.ties,
        batch_column=options.batch_column,
        compound_column=options.compound_column,
        seed=options.seed,
    )


def _quality(options: ReportOptions, sources: Sequence[Source]) -> list[QualityControl]:
    """What `aggregate` wrote beside the profiles of a project."""
    if options.project is None:
        return []
    found = [read_quality(s.name, s.files[0].parent, options.project) for s in sources]
    return [one for one in found if one is not None]


def _sources(options: ReportOptions) -> list[Source]:
    if options.project:
        return find_experiments(options.project, options.experiments)
    return name_tables(options.tables)


def _facts(options: ReportOptions, sources: Sequence[Source], truth: Path | None) -> dict[str, str]:
    """What the report was made with; no date, so that equal input gives an equal page."""
    root = options.project or Path()
    facts = {
        "cellml": __version__,
        "mechanism": options.label_column,
        "treatment": options.treatment_column,
        "controls": options.control or "none given",
        "normalisation": options.normalize,
        "sphering": f"{options.sphere}, default lambda {options.regularisation:g}, tried: "
        + ", ".join(shown_lambda(value) for value in options.sweep),
        "seed of UMAP": str(options.seed),
    }
    if truth:
        facts["true strengths"] = _shown(truth, root)
    for source in sources:
        facts[f"profiles of {source.name}"] = ", ".join(_shown(p, root) for p in source.files)
    return facts


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
