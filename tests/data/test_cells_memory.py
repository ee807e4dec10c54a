"""A cell costs tens of bytes, not Python objects: bounds for 200,000 cells without their pixels."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellml.data import cell_strips
from cellml.data.cell_splits import find_leakage, leave_cells_out
from cellml.data.cell_store import CellStore, cells_schema, index_path, open_store
from cellml.data.cell_strip_table import read_strip_table
from cellml.data.cell_strips import export_strips
from cellml.data.writers import write_json
from cellml.experiment.embedding import read_cells

PLATES, CELLS = 4, 50_000
WELLS, SITES, TREATMENTS = 96, 9, 90
SETTINGS = {
    "version": 1, "channels": ["DNA"], "side_px": 4, "dtype": "uint8", "cells_per_shard": 2**20,
}  # fmt: skip


def coded(codes: np.ndarray, prefix: str) -> pa.Array:
    names = [f"{prefix}{i}" for i in range(int(codes.max()) + 1)]
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> CellStore:
    folder = tmp_path_factory.mktemp("store")
    (folder / "index").mkdir()
    rng = np.random.default_rng(0)
    schema = cells_schema(("batch",))
    field = np.sort(rng.integers(0, WELLS * SITES, CELLS))
    for plate in range(PLATES):
        columns = {
            "plate": coded(np.zeros(CELLS, int), f"plate{plate}-"),
            "well": pa.DictionaryArray.from_arrays(
                pa.array(field // SITES, pa.int32()),
                pa.array([f"{'ABCDEFGH'[w // 12]}{w % 12 + 1:02d}" for w in range(WELLS)]),
            ),
            "site": coded(field % SITES, "site"),
            "cell_id": pa.array(np.arange(CELLS), pa.int32()),
            "y_px": pa.array(rng.uniform(0, 1000, CELLS), pa.float32()),
            "x_px": pa.array(rng.uniform(0, 1000, CELLS), pa.float32()),
            "status": pa.array(np.zeros(CELLS), pa.uint8()),
            "treatment": coded(field // SITES % TREATMENTS, "treatment with a long name "),
            "batch": coded(np.full(CELLS, 1), "batch"),
        }
        table = pa.table(columns, schema=schema).replace_schema_metadata({"fields": "x"})
        pq.write_table(table, index_path(folder, f"plate{plate}-0"))
    plates = [{"plate": f"plate{plate}-0", "cells": CELLS} for plate in range(PLATES)]
    write_json(folder / "store.json", {"settings": SETTINGS, "state": "complete", "plates": plates})
    return open_store(folder)


@contextmanager
def peak() -> Iterator[Callable[[], int]]:
    """Bytes that NumPy and Python objects took at the most since the block began."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_cells_that_train_are_held_as_numbers(store):
    arrow = pa.total_allocated_bytes()
    with peak() as taken:
        cells, rows = read_cells(store)
        split = leave_cells_out(cells)
        most = taken()
    n = PLATES * CELLS
    assert len(rows) == len(cells.plate) == n
    assert most / n < 150
    columns = (cells.plate.codes, cells.well.codes, cells.site.codes, cells.treatment.codes)
    assert sum(column.nbytes for column in (*columns, cells.centre_yx, rows)) / n <= 32
    assert pa.total_allocated_bytes() - arrow < 64 * n
    assert len(cells.treatment.names) == TREATMENTS
    with peak() as taken:
        leakage = find_leakage(cells, split, side_px=20)
        assert taken() / n < 150
    assert leakage.wells == PLATES * WELLS


def test_strips_go_out_and_in_without_a_list_of_all_cells(store, tmp_path, monkeypatch):
    monkeypatch.setattr(cell_strips, "_write_strips", lambda *_, **__: None)  # no pixels here
    n = PLATES * CELLS
    with peak() as taken:
        assert export_strips(store, tmp_path, label_field="Treatment") == n
        assert taken() / n < 80  # a plate's index at a time
    with peak() as taken:
        table: Any = read_strip_table(Path(tmp_path), label_field="Treatment")
        assert taken() / n < 120
    assert len(table) == n
    assert len(table.fields) == PLATES * WELLS * SITES
    assert set(table.metadata) == {"batch"}
    plates = table.by_plate()
    assert list(plates) == [f"plate{plate}-0" for plate in range(PLATES)]
    assert sum(len(rows) for fields in plates.values() for _, rows in fields) == n
