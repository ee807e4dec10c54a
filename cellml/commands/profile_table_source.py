"""Tables of other programs as a source of features for `cellml profile aggregate`.

A table may have a row a well, a site or a cell. It is read once for the names in it, and once more
piece by piece; what is held are a piece and the sites that have begun but not ended.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from cellml.commands.profile_fields import KEY_COLUMNS, TREATMENT, Site
from cellml.data.profile_joins import MetadataJoin, check_joins, join_all
from cellml.data.profile_reading import read_pieces
from cellml.data.profile_tables import ProfileTable, open_tables
from cellml.errors import UserError
from cellml.profiling.aggregate import group_codes

COUNT_COLUMNS = ("Metadata_n_cells", "Metadata_Cells_Count", "Metadata_Count_Cells")
DIGEST_BYTES = 1 << 20

WellSite = tuple[str, str]


class _Span(NamedTuple):
    """Where the rows of a plate are in one table: from its first to its last."""

    table: int
    first: int
    n_rows: int


class TableSource:
    """Tables with a row a well, a site or a cell, as CellProfiler and pycytominer write them."""

    def __init__(
        self,
        paths: Sequence[str],
        *,
        treatment_column: str = TREATMENT,
        features_regex: str | None = None,
        joins: Sequence[MetadataJoin] = (),
        piece_rows: int | None = None,
    ) -> None:
        """Reads the names of plates, wells and sites.

        Args:
          paths: CSV, TSV or Parquet.
          treatment_column: Where the treatments are; columns joined by @ are taken together.
          features_regex: As in `cellml.data.profile_tables.read_profiles`.
          joins: Likewise.
          piece_rows: Rows that are held at a time; chosen by their size, if None.
        """
        self._tables, shared, notes = open_tables(paths, features_regex=features_regex)
        self._treatment, self._joins, self._piece_rows = treatment_column, tuple(joins), piece_rows
        self.names = tuple(shared)
        self.what = f"tables {', '.join(paths)} ({self._tables[0].columns.taken})"
        known = {name for table in self._tables for name in table.columns.metadata.values()}
        self.unit = "cells" if known & set(COUNT_COLUMNS) else "rows"
        self._spans: dict[str, list[_Span]] = {}
        self._rows: dict[str, dict[WellSite, int]] = {}
        self._digests = [_digest(table.path) for table in self._tables]
        counts, n_rows = np.zeros(len(joins), np.int64), 0
        for number, table in enumerate(self._tables):
            for piece in read_pieces(table, (), piece_rows=piece_rows):
                metadata, found = join_all(piece.metadata, self._joins)
                counts, n_rows = counts + np.array(found, np.int64), n_rows + len(metadata)
                self._find_plates(number, piece.first, metadata)
        self.notes = (*notes, *check_joins(self._joins, counts.tolist(), n_rows))
        self.plates = tuple(sorted(self._spans))

    def fingerprint(self, plate: str) -> str:
        """A checksum of the tables that the plate is in, and of what is done with them."""
        tables = [self._digests[span.table] for span in self._spans[plate]]
        settings = self._treatment, [(j.columns, sorted(j.rows.items())) for j in self._joins]
        return hashlib.sha256(repr((tables, settings)).encode()).hexdigest()

    def sites(self, plate: str) -> Iterator[Site]:
        """Yields the fields, or the wells, of a plate, each when its last row was read."""
        missing = dict(self._rows[plate])
        held: dict[WellSite, list[tuple[pd.DataFrame, np.ndarray]]] = {}
        for span in self._spans[plate]:
            table = self._tables[span.table]
            for piece in read_pieces(
                table,
                self.names,
                first=span.first,
                n_rows=span.n_rows,
                piece_rows=self._piece_rows,
            ):
                metadata = join_all(piece.metadata, self._joins)[0]
                mine = metadata[KEY_COLUMNS[0]].to_numpy(str) == plate
                metadata = metadata[mine].reset_index(drop=True)
                features = piece.features[mine].astype(np.float32)
                for key, rows in _well_sites(metadata):
                    held.setdefault(key, []).append((metadata.iloc[rows], features[rows]))
                    missing[key] -= len(rows)
                    if not missing[key]:
                        yield self._site(plate, key, held.pop(key))

    def _find_plates(self, number: int, first: int, metadata: pd.DataFrame) -> None:
        """Notes which rows of a table each plate has, and how many each of its sites.

        Args:
          number: Of the table.
          first: Row of the table that the piece begins with.
          metadata: Of the piece.
        """
        part = ProfileTable(np.zeros((len(metadata), 0)), (), metadata)
        if self._treatment != TREATMENT:
            part.column(self._treatment)  # raises, naming the closest
        plates, _ = part.column(KEY_COLUMNS[0]), part.column(KEY_COLUMNS[1])
        for plate in np.unique(plates).tolist():
            at = np.flatnonzero(plates == plate)
            spans = self._spans.setdefault(plate, [])
            low, high = first + int(at[0]), first + int(at[-1])
            if spans and spans[-1].table == number:
                low = spans.pop().first
            spans.append(_Span(number, low, high - low + 1))
            counts = self._rows.setdefault(plate, {})
            for key, rows in _well_sites(metadata.iloc[at]):
                counts[key] = counts.get(key, 0) + len(rows)

    def _site(
        self, plate: str, key: WellSite, parts: Sequence[tuple[pd.DataFrame, np.ndarray]]
    ) -> Site:
        """One field; of its metadata what all of its rows agree on."""
        features: Float[np.ndarray, "n f"] = np.concatenate([values for _, values in parts])
        metadata = pd.concat([rows for rows, _ in parts], ignore_index=True)
        agreed = metadata.iloc[0].to_dict()
        if len(metadata) > 1:
            same = (metadata == metadata.iloc[0]).all()
            agreed = {name: text for name, text in agreed.items() if same[name]}
        texts = {str(k): str(v) for k, v in agreed.items() if k not in KEY_COLUMNS}
        if self._treatment != TREATMENT or TREATMENT in metadata:
            found = ProfileTable(features, (), metadata).column(self._treatment)
            if len(treatments := np.unique(found).tolist()) > 1:
                raise UserError(
                    f"plate {plate}, well {key[0]}: two treatments, {treatments[0]!r} and "
                    f"{treatments[1]!r}"
                )
            texts |= {TREATMENT: treatments[0]} if treatments[0] else {}
        count = _count(texts) if len(metadata) == 1 else None
        for name in COUNT_COLUMNS[:1]:
            texts.pop(name, None)
        return Site((plate, *key), texts, features, n_cells=count)


def _well_sites(metadata: pd.DataFrame) -> Iterator[tuple[WellSite, np.ndarray]]:
    """Yields every well and site with its rows; no site where the table has wells only."""
    if not len(metadata):
        return
    wells = metadata[KEY_COLUMNS[1]].tolist()
    has_sites = KEY_COLUMNS[2] in metadata.columns
    sites = metadata[KEY_COLUMNS[2]].tolist() if has_sites else [""] * len(wells)
    texts = np.array([f"{well}\0{site}" for well, site in zip(wells, sites, strict=True)])
    keys, codes = group_codes(texts)
    order = np.argsort(codes, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    for text, rows in zip(keys.tolist(), groups, strict=True):
        well, _, site = str(text).partition("\0")
        yield (well, site), rows


def _count(texts: dict[str, str]) -> int | None:
    for name in COUNT_COLUMNS:
        try:
            return int(float(texts.get(name, "")))
        except ValueError:
            continue
    return None


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(DIGEST_BYTES):
            digest.update(part)
    return digest.hexdigest()
