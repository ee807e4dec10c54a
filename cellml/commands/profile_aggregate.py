"""`cellml profile aggregate`: cells to sites (median), wells (mean) and treatments (mean)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Bool
from rich.console import Console

from cellml.commands.long_work import EXIT_INTERRUPTED, count, say, showing, terminate_as_interrupt
from cellml.commands.profile_fields import KEY_COLUMNS, TREATMENT, FeatureSource
from cellml.commands.profile_outputs import output_folder
from cellml.commands.profile_quality import QUALITY, write_quality, write_strengths
from cellml.commands.profile_sites import (
    CellRules,
    aggregate_sites,
    agreed,
    read_wells,
    sites_path,
)
from cellml.commands.profile_sources import open_source
from cellml.commands.profile_well_correction import (
    CorrectionOptions,
    WellCorrection,
    correct_rows,
    fit_wells,
    notes_of,
)
from cellml.data.crops import Status
from cellml.data.painting_project import Project, open_project
from cellml.data.profile_files import (
    COUNT,
    ProfileRows,
    profile_schema,
    profile_table,
    read_profile_rows,
    write_profiles,
)
from cellml.data.profile_joins import pair_joins, read_join
from cellml.data.profile_tables import ProfileTable
from cellml.data.writers import atomic, remove_temporary, write_json
from cellml.errors import UsageError, UserError
from cellml.profiling.aggregate import group_codes, group_mean

WELLS_COUNT = "Metadata_n_wells"


@dataclass(frozen=True)
class AggregateOptions:
    """What the user asked for; see `cellml profile aggregate --help`.

    Attributes:
      project: Folder of the project; None where tables and `out` are given.
      experiment: Name of the folder in outputs/.
      inputs: Tables, or a folder of features; outputs/<experiment>/features by default.
      normalize: One of `NORMALISATIONS`, against the controls.
      normalize_by: One of `NORMALIZE_BY`: controls of the plate, or of all plates.
      control: Wells that are controls, as `Metadata_role == "control"`; by default those with the
        project's control_value.
      select_features: Whether to drop features as pycytominer does; implied by the next two.
      rules: As of `cellml.commands.profile_selection.parse_rules`; the usual ones, if empty.
      blocklist: File of features that are never wanted; pycytominer's, if None.
      min_cells: A site with fewer cells does not count.
      status: Names of `cellml.data.crops.Status`: which cells count.
      sphere: As in `cellml profile evaluate`.
      regularisation: Lambda of the sphering.
      batch_column: Batch of a well, for TVN; Metadata_Batch or else the plate, if None.
      treatment_column: Of tables; several columns are joined by @.
      features_regex: Of tables, as in `cellml.data.profile_tables.read_profiles`.
      metadata: Tables of metadata to join to tables.
      on: By which columns, one entry each.
      false_alarms: Share of sound wells that quality control may list.
      out: Folder of the results; outputs/<experiment>/profiles by default.
      workers: Processes.
      config: File in inputs/config.
    """

    project: Path | None
    experiment: str = "profiles"
    inputs: Sequence[str] = ()
    normalize: str = "none"
    normalize_by: str = "plate"
    control: str | None = None
    select_features: bool = False
    rules: Sequence[str] = ()
    blocklist: Path | None = None
    min_cells: int = 1
    status: Sequence[str] = ("ok",)
    sphere: str = "none"
    regularisation: float = 1e-2
    batch_column: str | None = None
    treatment_column: str = TREATMENT
    features_regex: str | None = None
    metadata: Sequence[Path] = ()
    on: Sequence[str] = ()
    false_alarms: float = 1e-3
    out: Path | None = None
    workers: int = 1
    config: str | None = None

    @property
    def correction(self) -> CorrectionOptions:
        """The part that says how profiles are corrected."""
        return CorrectionOptions(
            self.normalize,
            self.select_features,
            self.rules,
            self.blocklist,
            self.sphere,
            self.regularisation,
            self.batch_column,
            self.normalize_by,
        )


def run(options: AggregateOptions, console: Console) -> int:
    """Writes site, well and treatment.parquet, quality.csv, plates.csv and strengths.csv.

    Args:
      options: See `AggregateOptions`.
      console: Where progress and the summary go.

    Returns:
      Exit code: 0, or 130 if interrupted.

    Raises:
      UserError: Features, a table, the project or a condition cannot be used.
      UsageError: Options do not fit each other.
    """
    _check(options)
    project = None
    if options.project is not None and (options.project / "inputs").is_dir():
        project = open_project(options.project, config=options.config)
    inputs, out = _places(options)
    if options.out is None:
        remove_temporary(out)
    known = None
    if project is not None and not options.inputs:
        known = set(project.index["plate"].to_pylist())
    source = open_source(
        inputs,
        project,
        known_plates=known,
        treatment_column=options.treatment_column,
        features_regex=options.features_regex,
        joins=[read_join(path, on) for path, on in pair_joins(options.metadata, options.on)],
    )
    say(
        console,
        f"{source.what}: {len(source.names)} features, {count(len(source.plates), 'plate')}",
    )
    for note in source.notes:
        say(console, f"note: {note}")
    try:
        with terminate_as_interrupt():
            _aggregate(source, out, project, options, console)
    except KeyboardInterrupt:
        say(console, "Interrupted: nothing is half-written. Run the same command to go on.")
        return EXIT_INTERRUPTED
    return 0


def _aggregate(
    source: FeatureSource,
    out: Path,
    project: Project | None,
    options: AggregateOptions,
    console: Console,
) -> None:
    rules = CellRules(_statuses(options.status), options.min_cells)
    with showing("plates", console) as progress:
        kept = aggregate_sites(
            source, out / "sites", rules, workers=options.workers, progress=progress
        )
    if kept:
        say(console, f"sites of {count(kept, 'plate')} are there from a former run")
    wells = read_wells(out / "sites", source.plates, options.min_cells)
    is_control = _controls(wells, project, options)
    there = np.asarray(np.isfinite(wells.values).any(1))
    if not there.any():
        raise UserError(f"{source.what}: no site has {options.min_cells} cells or more that count")
    fitted_on = _take(wells, np.flatnonzero(there))
    correction = fit_wells(fitted_on, source.names, is_control[there], options.correction)
    for note in notes_of(correction):
        say(console, note)
    corrected = correct_rows(wells, correction)
    _write_sites(out, source.plates, correction, options)
    _write_wells(out, corrected, there, correction.fitted.names)
    outliers, of_quality = write_quality(
        out / QUALITY,
        corrected,
        correction.fitted.names,
        min_cells=options.min_cells,
        project=project,
        false_alarms=options.false_alarms,
    )
    treatments, no_strengths = write_strengths(out / "strengths.csv", corrected, is_control)
    write_json(out / "aggregate.json", _facts(source, correction, options, wells, is_control))
    for note in filter(None, (*of_quality, no_strengths)):
        say(console, f"note: {note}")
    say(
        console,
        f"{int(wells.n_cells.sum())} {source.unit}, {count(int(there.sum()), 'well')} "
        f"({int((is_control & there).sum())} controls), {len(correction.fitted.names)} features, "
        f"{count(treatments, 'treatment')} ranked, {count(outliers, 'well')} to look at; {out}",
    )


def _check(options: AggregateOptions) -> None:
    options.correction.check()
    if options.min_cells < 1 or options.workers < 1:
        raise UsageError("--min-cells and --workers: at least 1 expected")
    if not 0 < options.false_alarms < 1:
        raise UsageError(f"--false-alarms {options.false_alarms:g}: between 0 and 1 expected")
    output_folder(options.project or Path(), options.experiment)
    if options.project is None and (not options.inputs or options.out is None):
        raise UsageError("without a project, tables and --out are needed")
    _statuses(options.status)


def _statuses(names: Sequence[str]) -> tuple[int, ...]:
    known = {status.name.lower(): int(status) for status in Status}
    for name in names:
        if name.lower() not in known:
            raise UsageError(f"--status {name}: expected some of {', '.join(known)}")
    return tuple(sorted({known[name.lower()] for name in names}))


def _places(options: AggregateOptions) -> tuple[list[str], Path]:
    """Where features come from, and where profiles go."""
    if options.project is None:
        return list(options.inputs), options.out or Path()  # `_check` made sure of it
    folder = output_folder(options.project, options.experiment)
    inputs = list(options.inputs) or [str(folder / "features")]
    if not options.inputs and not (folder / "features").is_dir():
        raise UserError(f"{folder / 'features'}: no features; `cellml profile embed` makes them")
    return inputs, options.out or folder / "profiles"


def _controls(
    wells: ProfileRows, project: Project | None, options: AggregateOptions
) -> Bool[np.ndarray, " w"]:
    """Which wells are controls; some have to be, where anything depends on them."""
    import pandas as pd

    none = np.zeros(len(wells.n_cells), bool)
    if options.control is not None:
        table = ProfileTable(wells.values, (), pd.DataFrame(dict(wells.metadata)))
        found = table.matching(options.control)
        how = f"condition {options.control!r}"
    elif project is not None:
        wanted = project.control_values
        found = np.array([t in wanted for t in wells.metadata[TREATMENT]], bool)
        value = " or ".join(map(repr, wanted)) if wanted else "given"
        how = f"{project.config_file}: {'' if wanted else 'no '}control_value {value}"
    else:
        found, how = none, "no --control given"
    if not found.any() and options.correction.needs_controls:
        raise UserError(f"{how}: no well is a control, normalisation and sphering need some")
    return found


def _write_sites(
    out: Path, plates: Sequence[str], correction: WellCorrection, options: AggregateOptions
) -> None:
    """Writes the corrected sites plate by plate; a table of wells alone has none."""
    path = out / "site.parquet"
    columns = dict.fromkeys(
        name
        for plate in plates
        for name in pq.read_schema(sites_path(out / "sites", plate)).names
        if name.startswith("Metadata_") and name != COUNT
    )
    if KEY_COLUMNS[2] not in columns:
        path.unlink(missing_ok=True)
        return
    schema = profile_schema(list(columns), correction.fitted.names)
    with (
        atomic(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd") as file,
    ):
        for plate in plates:
            rows, _ = read_profile_rows(sites_path(out / "sites", plate))
            good = np.flatnonzero(
                (rows.n_cells >= options.min_cells) & np.isfinite(rows.values).any(1)
            )
            part = correct_rows(_take(rows, good), correction)
            if good.size:
                file.write_table(profile_table(part, schema))


def _write_wells(
    out: Path, wells: ProfileRows, there: Bool[np.ndarray, " w"], names: Sequence[str]
) -> None:
    """Writes the wells that have cells, and the mean of those of each treatment."""
    wells = _take(wells, np.flatnonzero(there))
    write_profiles(out / "well.parquet", wells, names)
    treatments, treatment = group_codes(np.array(wells.metadata[TREATMENT], dtype=str))
    treatment = np.where(treatments[treatment] == "", -1, treatment)
    n = treatments.size
    values = group_mean(wells.values, treatment, n_groups=n)
    treated = treatment >= 0
    n_wells = np.bincount(treatment[treated], minlength=n)
    n_cells = np.bincount(treatment[treated], wells.n_cells[treated], n).astype(np.int64)
    others = [name for name in wells.metadata if name not in (*KEY_COLUMNS, TREATMENT)]
    metadata = {TREATMENT: treatments.tolist(), WELLS_COUNT: [str(k) for k in n_wells.tolist()]}
    found = {name: agreed(wells.metadata[name], treatment, n) for name in others}
    metadata |= {name: texts for name, texts in found.items() if any(texts)}
    rows = _take(ProfileRows(metadata, n_cells, values), np.flatnonzero(n_wells > 0))
    write_profiles(out / "treatment.parquet", rows, names)


def _take(rows: ProfileRows, at: np.ndarray) -> ProfileRows:
    metadata = {
        name: [str(column[i]) for i in at.tolist()] for name, column in rows.metadata.items()
    }
    return ProfileRows(metadata, rows.n_cells[at], rows.values[at])


def _facts(
    source: FeatureSource,
    correction: WellCorrection,
    options: AggregateOptions,
    wells: ProfileRows,
    is_control: Bool[np.ndarray, " w"],
) -> dict[str, Any]:
    fitted = correction.fitted
    return {
        "features": source.what,
        "n_features": len(fitted.names),
        "n_features_measured": len(source.names),
        "dropped": {rule: len(names) for rule, names in fitted.dropped.items()},
        "n_cells": int(wells.n_cells.sum()),
        "n_controls": int(is_control.sum()),
        "normalize": options.normalize,
        "normalize_by": options.normalize_by,
        "control": options.control,
        "sphere": options.sphere,
        "lambda": options.regularisation if options.sphere != "none" else None,
        "batch": correction.batch_column if options.sphere == "tvn" else None,
        "min_cells": options.min_cells,
        "status": sorted(name.lower() for name in options.status),
        "how": "cells of a site: median; sites of a well: mean; wells of a treatment: mean",
    }
