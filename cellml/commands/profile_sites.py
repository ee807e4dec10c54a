"""Cells to sites and wells, plate by plate, for `cellml profile aggregate`."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from cellml.commands.profile_fields import KEY_COLUMNS, TREATMENT, FeatureSource, Site
from cellml.data.crops import Status
from cellml.data.plates import Progress, Tick, over_plates
from cellml.data.profile_files import (
    ProfileRows,
    read_profile_facts,
    read_profile_rows,
    write_profiles,
)
from cellml.errors import UserError
from cellml.profiling.aggregate import group_codes, group_mean, group_median

VERSION = 1


class CellRules(NamedTuple):
    """Which cells and sites count.

    Attributes:
      status: Values of `cellml.data.crops.Status`.
      min_cells: A site with fewer of them does not count.
    """

    status: tuple[int, ...] = (int(Status.OK),)
    min_cells: int = 1


def sites_path(folder: Path, plate: str) -> Path:
    """Where the raw profiles of the sites of a plate are."""
    return folder / f"{quote(plate, safe='')}.parquet"


def aggregate_sites(
    source: FeatureSource,
    folder: Path,
    rules: CellRules,
    *,
    workers: int = 1,
    progress: Progress | None = None,
) -> int:
    """Writes the raw profiles of all sites; plates that are there are left as they are.

    Args:
      source: Features of the cells.
      folder: One file a plate goes there, see `sites_path`.
      rules: Which cells count.
      workers: Processes; each takes a plate at a time.
      progress: Called with the plates that are done, and of all.

    Returns:
      Number of plates that were there.

    Raises:
      UserError: Features cannot be read, or their treatments contradict each other.
    """
    work = functools.partial(_plate_sites, source, folder, rules)
    found = over_plates(work, dict.fromkeys(source.plates, 1), workers=workers, progress=progress)
    return sum(found.values())


def site_profile(site: Site, rules: CellRules) -> tuple[np.ndarray, int]:
    """Median of the cells of a site that count, NaN left out, and their number.

    A row of a table that stands for cells itself is taken as it is.
    """
    values = site.features
    if site.status is not None:
        values = values[np.isin(site.status, rules.status)]
    # A ratio of an empty thing may be infinite: no number, either.
    values = np.where(np.isfinite(values), values, np.float32(np.nan))
    values = values[~np.isnan(values).all(1)]
    n_cells = len(values) if site.n_cells is None else site.n_cells
    median = group_median(values, np.zeros(len(values), np.int64), n_groups=1)[0]
    return median, n_cells


def well_profiles(rows: ProfileRows, min_cells: int) -> ProfileRows:
    """Averages the sites of one plate that have enough cells; the other wells have no number.

    Args:
      rows: Sites.
      min_cells: A site with fewer cells does not count.

    Returns:
      Wells; their metadata are those on which all sites agree.
    """
    keys, well = group_codes(np.array(rows.metadata[KEY_COLUMNS[1]], dtype=str))
    counts = rows.n_cells >= min_cells
    used = np.where(counts, well, -1)
    values = group_mean(rows.values, used, n_groups=keys.size)
    n_cells = np.bincount(well, np.where(counts, rows.n_cells, 0), keys.size).astype(np.int64)
    names = [name for name in rows.metadata if name != KEY_COLUMNS[2]]
    metadata = {name: agreed(rows.metadata[name], well, keys.size) for name in names}
    return ProfileRows(metadata, n_cells, values)


def agreed(column: Sequence[str], codes: np.ndarray, n_groups: int) -> list[str]:
    """The text that all rows of each group have; empty where they differ.

    Args:
      column: One text a row.
      codes: Group of each row; negative ones are left out.
      n_groups: Number of groups.

    Returns:
      One text a group.
    """
    found: list[set[str]] = [set() for _ in range(n_groups)]
    for text, code in zip(column, codes.tolist(), strict=True):
        if code >= 0:
            found[code].add(text)
    return [next(iter(texts)) if len(texts) == 1 else "" for texts in found]


def _plate_sites(
    source: FeatureSource, folder: Path, rules: CellRules, plate: str, tick: Tick
) -> bool:
    path = sites_path(folder, plate)
    facts: dict[str, Any] = {
        "version": VERSION,
        "names": list(source.names),
        "features": source.fingerprint(plate),
        "status": list(rules.status),
    }
    if read_profile_facts(path) == facts:
        tick()
        return True
    keys, metadata, counts, values = [], [], [], []
    for site in source.sites(plate):
        profile, n_cells = site_profile(site, rules)
        keys.append(site.key)
        metadata.append(site.metadata)
        counts.append(n_cells)
        values.append(profile)
    if not keys:
        values = [np.zeros((0, len(source.names)), np.float32)]
    _check_treatments(keys, metadata)
    has_sites = any(key[2] for key in keys)
    columns: dict[str, Sequence[str]] = {
        name: [key[i] for key in keys] for i, name in enumerate(KEY_COLUMNS) if i < 2 or has_sites
    }
    names = dict.fromkeys([TREATMENT, *(name for texts in metadata for name in texts)])
    names = [name for name in names if name not in columns]
    columns |= {name: [texts.get(name, "") for texts in metadata] for name in names}
    rows = ProfileRows(columns, np.array(counts, np.int64), np.vstack(values))
    write_profiles(path, rows, source.names, facts)
    tick()
    return False


def _check_treatments(
    keys: Sequence[tuple[str, str, str]], metadata: Sequence[dict[str, str]]
) -> None:
    """Refuses a well with two treatments."""
    treatment: dict[str, str] = {}
    for (plate, well, _), texts in zip(keys, metadata, strict=True):
        found = texts.get(TREATMENT, "")
        before = treatment.setdefault(well, found)
        if before != found:
            raise UserError(f"plate {plate}, well {well}: two treatments, {before!r} and {found!r}")


def read_wells(folder: Path, plates: Sequence[str], min_cells: int) -> ProfileRows:
    """Reads the sites of all plates and makes wells of them; memory is that of the wells.

    Args:
      folder: As in `aggregate_sites`.
      plates: Names.
      min_cells: As in `well_profiles`.

    Returns:
      Wells, plate by plate; metadata that some plates lack are empty there.
    """
    found = [
        well_profiles(read_profile_rows(sites_path(folder, plate))[0], min_cells)
        for plate in plates
    ]
    names = dict.fromkeys(name for rows in found for name in rows.metadata)
    metadata = {
        name: [text for rows in found for text in rows.metadata.get(name, [""] * len(rows.n_cells))]
        for name in names
    }
    return ProfileRows(
        metadata,
        np.concatenate([rows.n_cells for rows in found]),
        np.concatenate([rows.values for rows in found]),
    )
