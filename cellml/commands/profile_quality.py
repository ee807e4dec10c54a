"""What `cellml profile aggregate` says of wells and treatments: quality.csv, strengths.csv."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from cellml.commands.profile_fields import KEY_COLUMNS, TREATMENT
from cellml.data.painting_project import IMAGES, Project
from cellml.data.profile_files import COUNT, ProfileRows
from cellml.data.text_tables import write_csv
from cellml.profiling.aggregate import group_codes
from cellml.profiling.correct import MAX_MISSING
from cellml.profiling.normalize import quantile
from cellml.profiling.quality import PlateQuality, QualityReport, plate_quality, quality_report
from cellml.profiling.strength import treatment_strength

QUALITY, PLATES = "quality.csv", "plates.csv"
QUALITY_COLUMNS = (*KEY_COLUMNS, TREATMENT, COUNT, "distance", "limit", "reason")
PLATE_COLUMNS = (KEY_COLUMNS[0], "n_wells", "n_empty", "n_outliers", "median_distance")
FAILED = 0.25
"""A plate with a larger share of outliers, and twice that of the other plates, may have failed as a
whole, and is named. Strong treatments lie apart on every plate."""
STRENGTH_COLUMNS = (TREATMENT, "rank", "strength_sum", "strength_mean", "n_wells")


def write_quality(
    path: Path,
    wells: ProfileRows,
    names: Sequence[str],
    *,
    min_cells: int,
    project: Project | None,
    false_alarms: float,
) -> tuple[int, list[str]]:
    """Lists the wells that lie apart, the farthest first, with their images; and counts by plate.

    Args:
      path: CSV; a line a field of such a well, or a line a well where no project is known. Counts
        go into plates.csv beside it.
      wells: All wells, those without cells too; corrected.
      names: Of the features.
      min_cells: What a site needed to count.
      project: For the paths of the images.
      false_alarms: As in `quality_report`.

    Returns:
      Number of wells listed; and notes: why nothing could be said of the others, plates of which
      many wells lie apart.
    """
    there = np.asarray(np.isfinite(wells.values).any(1))
    lines = [
        _Outlier(row, float("inf"), f"no site with {min_cells} cells or more")
        for row in np.flatnonzero(~there).tolist()
    ]
    notes, limit = [], float("nan")
    rows = np.flatnonzero(there)
    by_plate = None
    try:
        values, complete = _measured(wells.values[rows])
        report = quality_report(values, false_alarms=false_alarms)
        limit = report.limit
        plates = np.array([wells.metadata[KEY_COLUMNS[0]][i] for i in rows.tolist()], dtype=str)
        by_plate = plate_quality(report, group_codes(plates)[1])
        kept = [name for name, good in zip(names, complete, strict=True) if good]
        lines += [
            _Outlier(int(rows[i]), float(report.distance[i]), _reason(report, int(i), kept))
            for i in report.to_view
        ]
    except ValueError as error:
        notes.append(f"no quality control: {error}")
    notes += _write_plates(path.with_name(PLATES), wells, there, by_plate)
    columns: list[list[object]] = [[] for _ in QUALITY_COLUMNS]
    channels = () if project is None else project.channels
    images: list[list[str]] = [[] for _ in channels]
    fields = {} if project is None else _fields(project)
    for line in lines:
        key = tuple(wells.metadata[name][line.row] for name in KEY_COLUMNS[:2])
        for site, paths in fields.get(key, [("", tuple("" for _ in channels))]):
            facts = [*key, site]
            facts += [wells.metadata[TREATMENT][line.row], int(wells.n_cells[line.row])]
            facts += [f"{line.distance:.3f}", f"{limit:.3f}", line.reason]
            for column, fact in zip(columns, facts, strict=True):
                column.append(fact)
            for column, image in zip(images, paths, strict=True):
                column.append(image)
    table = dict(zip(QUALITY_COLUMNS, columns, strict=True))
    table |= dict(zip(channels, images, strict=True))
    write_csv(path, pa.table({k: pa.array([str(x) for x in v]) for k, v in table.items()}))
    return len(lines), notes


def _write_plates(
    path: Path, wells: ProfileRows, there: Bool[np.ndarray, " w"], quality: PlateQuality | None
) -> list[str]:
    """Writes a line a plate, the one with the largest share of outliers first."""
    plates = np.array(wells.metadata[KEY_COLUMNS[0]], dtype=str)
    used = group_codes(plates[there])[0].tolist()
    shares = np.zeros(0) if quality is None else quality.n_outliers / quality.n_wells
    lines: list[tuple[float, list[str]]] = []
    notes = []
    for plate in np.unique(plates).tolist():
        of_plate = plates == plate
        line = [plate, str(of_plate.sum()), str((of_plate & ~there).sum()), "", ""]
        share = -1.0
        if quality is not None and plate in used:
            i = used.index(plate)
            n_outliers, n = int(quality.n_outliers[i]), int(quality.n_wells[i])
            share = float(shares[i])
            others = np.delete(shares, i)
            line[3:] = [str(n_outliers), f"{quality.median_distance[i]:.3f}"]
            if others.size and share > max(FAILED, 2 * float(np.median(others))):
                notes.append(
                    f"plate {plate}: {n_outliers} of {n} wells lie apart; it may have failed as a "
                    "whole"
                )
        lines.append((share, line))
    lines.sort(key=lambda item: -item[0])
    columns = zip(*(line for _, line in lines), strict=True)
    table = dict(zip(PLATE_COLUMNS, columns, strict=True)) if lines else {}
    write_csv(path, pa.table({k: pa.array(v, pa.string()) for k, v in table.items()}))
    return notes


def write_strengths(
    path: Path, wells: ProfileRows, controls: Bool[np.ndarray, " w"]
) -> tuple[int, str]:
    """Ranks the treatments by how far they are from the controls.

    Args:
      path: CSV, the strongest first by the sum over wells.
      wells: Corrected.
      controls: Which are controls.

    Returns:
      Number of treatments; and why there are none, if so.
    """
    plates, plate = group_codes(np.array(wells.metadata[KEY_COLUMNS[0]], dtype=str))
    names, treatment = group_codes(np.array(wells.metadata[TREATMENT], dtype=str))
    treatment = np.where(names[treatment] == "", -1, treatment)
    values, n = _measured(wells.values)[0], 0
    note = ""
    columns: dict[str, list[str]] = {name: [] for name in STRENGTH_COLUMNS}
    usable = np.isfinite(values).all(1)
    poor = [
        str(name) for p, name in enumerate(plates) if (usable & controls & (plate == p)).sum() < 2
    ]
    if poor:
        note = f"no strengths: fewer than 2 control wells on plate {', '.join(poor)}"
    else:
        found = treatment_strength(values, plate, treatment, controls)
        order = np.argsort(-np.where(np.isnan(found.total), -np.inf, found.total), kind="stable")
        n = order.size
        for rank, i in enumerate(order.tolist(), 1):
            numbers = (found.total[i], found.mean[i])
            texts = ["" if np.isnan(x) else f"{x:.6g}" for x in numbers]
            line = [str(names[found.treatment[i]]), str(rank), *texts, str(found.n_wells[i])]
            for name, text in zip(STRENGTH_COLUMNS, line, strict=True):
                columns[name].append(text)
    write_csv(path, pa.table({k: pa.array(v, pa.string()) for k, v in columns.items()}))
    return n, note


class _Outlier(NamedTuple):
    row: int
    distance: float
    reason: str


def _reason(report: QualityReport, well: int, names: Sequence[str]) -> str:
    if not np.isfinite(report.distance[well]):
        return "features are missing"
    component = int(report.worst_component[well])
    leading = ", ".join(str(names[i]) for i in report.leading_features[component][:3].tolist())
    return f"component {component + 1}: {leading}"


def _measured(
    values: Float[np.ndarray, "w f"],
) -> tuple[Float[np.ndarray, "w g"], Bool[np.ndarray, " f"]]:
    """Features that nearly all wells have, and which these are.

    Where a well lacks a few of them the median over the wells stands in; one that lacks many stays
    without.
    """
    finite = np.isfinite(values)
    some = finite.any(1)
    kept = finite[some].mean(0) >= 1 - MAX_MISSING if some.any() else np.ones(finite.shape[1], bool)
    part, there = values[:, kept], finite[:, kept]
    nearly = np.asarray(there.mean(1) >= 1 - MAX_MISSING) if kept.any() else np.asarray(some)
    if part.size and not there[nearly].all():
        median = quantile(np.where(there, part, np.nan), 0.5).astype(values.dtype)
        part = np.where(nearly[:, None] & ~there, median, part)
    return part, kept


def _fields(project: Project) -> dict[tuple[str, ...], list[tuple[str, tuple[str, ...]]]]:
    """Sites of every plate and well with their images, as paths from the project's folder."""
    found: dict[tuple[str, ...], list[tuple[str, tuple[str, ...]]]] = {}
    names = ["plate", "well", "site", *project.channels]
    for plate, well, site, *images in zip(
        *(project.index[name].to_pylist() for name in names), strict=True
    ):
        paths = tuple((IMAGES / image).as_posix() for image in images)
        found.setdefault((plate, well), []).append((site, paths))
    return found
