"""Parquet features: what is read is what was written, killed or not, whatever the batches."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellml.data.cell_export import cell_rows
from cellml.data.feature_files import (
    FeatureWriter,
    feature_plates,
    features_path,
    iterate_sites,
    read_feature_facts,
    read_feature_names,
    unfinished_plates,
)
from cellml.errors import UsageError, UserError

PLATE = "P/1"
NAMES = ("a", "b", "c")
PART = 8
MADE_BY = {"model": "test", "cells": 23}


def _cells() -> tuple[pa.Table, np.ndarray]:
    """Four fields of 7, 0, 5 and 11 cells."""
    tables = []
    for i, (well, site, n) in enumerate(
        [("A01", "1", 7), ("A01", "10", 0), ("B02", "1", 5), ("B02", "2", 11)]
    ):
        centres = np.arange(2 * n, dtype=np.float32).reshape(n, 2) + i
        status = np.arange(n).astype(np.uint8) % 2
        tables.append(
            cell_rows(
                (PLATE, well, site),
                centres,
                status,
                treatment=f"drug{i // 2}",
                metadata={"Metadata_moa": "m", "Split": str(i)},
            )
        )
    rows = pa.concat_tables(tables).unify_dictionaries()
    rows = rows.add_column(0, "row", pa.array(np.arange(len(rows))))
    features = np.random.default_rng(0).normal(size=(len(rows), 3)).astype(np.float32)
    features[4, 1] = np.nan
    return rows, features


def _write(folder: Path, batch: int, *, until: int | None = None) -> FeatureWriter:
    rows, features = _cells()
    writer = FeatureWriter(folder, PLATE, NAMES, MADE_BY, part_cells=PART)
    while writer.done < len(rows) and (until is None or writer.done < until):
        at = slice(writer.done, writer.done + batch)
        writer.add(rows.slice(writer.done, batch), features[at])
    if until is None:
        writer.finish()
    return writer


def test_sites_come_back_as_they_were_written(tmp_path: Path) -> None:
    _write(tmp_path, 5)
    rows, features = _cells()
    found = list(iterate_sites(tmp_path, PLATE))
    assert [key for key, _, _ in found] == [
        (PLATE, "A01", "1"),
        (PLATE, "B02", "1"),
        (PLATE, "B02", "2"),  # over a border of row groups
    ]
    assert [len(values) for _, _, values in found] == [7, 5, 11]
    np.testing.assert_array_equal(np.concatenate([values for _, _, values in found]), features)
    together = pa.concat_tables([table for _, table, _ in found])
    for name in rows.column_names[1:]:
        assert together[name].to_pylist() == rows[name].to_pylist(), name
    assert feature_plates(tmp_path) == (PLATE,)
    assert read_feature_names(tmp_path) == NAMES
    assert read_feature_facts(tmp_path, PLATE) == (NAMES, MADE_BY, 23)


def test_the_schema_is_the_one_that_others_read(tmp_path: Path) -> None:
    _write(tmp_path, 23)
    schema = pq.read_schema(features_path(tmp_path, PLATE))
    assert schema.names == [
        *("plate", "well", "site", "cell_id", "y_px", "x_px", "status", "treatment"),
        *("Metadata_moa", "Split", "features"),
    ]
    assert schema.field("features").type == pa.list_(pa.float32(), 3)
    assert schema.field("well").type == pa.dictionary(pa.int32(), pa.string())


@pytest.mark.parametrize("killed_at", [1, PART, PART + 3, 2 * PART])
def test_killed_and_resumed_is_the_same_to_the_byte(tmp_path: Path, killed_at: int) -> None:
    _write(tmp_path / "whole", 23)
    _write(tmp_path / "killed", 3, until=killed_at)
    assert feature_plates(tmp_path / "killed") == ()
    assert unfinished_plates(tmp_path / "killed") == ((PLATE,) if killed_at >= PART else ())
    resumed = FeatureWriter(tmp_path / "killed", PLATE, NAMES, MADE_BY, part_cells=PART)
    assert resumed.done == -(-killed_at // 3) * 3 // PART * PART
    _write(tmp_path / "killed", 4)
    whole, killed = (features_path(tmp_path / name, PLATE) for name in ("whole", "killed"))
    assert killed.read_bytes() == whole.read_bytes()
    assert not list((tmp_path / "killed" / "parts").iterdir())


def test_a_complete_plate_is_left_alone(tmp_path: Path) -> None:
    _write(tmp_path, 23)
    again = FeatureWriter(tmp_path, PLATE, NAMES, MADE_BY)
    assert again.complete
    assert again.done == 23
    again.finish()
    with pytest.raises(ValueError, match="complete"):
        again.add(*_cells())


def test_a_plate_without_cells(tmp_path: Path) -> None:
    writer = FeatureWriter(tmp_path, "Q", NAMES, {})
    rows, _ = _cells()
    writer.add(rows.slice(0, 0), np.zeros((0, 3), np.float32))
    writer.finish()
    assert list(iterate_sites(tmp_path, "Q")) == []
    assert read_feature_facts(tmp_path, "Q").n_cells == 0


@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_are_refused(tmp_path: Path, finished: bool) -> None:
    _write(tmp_path, 5, until=None if finished else 10)
    with pytest.raises(UsageError, match="model: test then, other now"):
        FeatureWriter(tmp_path, PLATE, NAMES, {**MADE_BY, "model": "other"}, part_cells=PART)
    with pytest.raises(UsageError, match="names of features"):
        FeatureWriter(tmp_path, PLATE, NAMES[:2], MADE_BY, part_cells=PART)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    rows, features = _cells()
    writer = FeatureWriter(tmp_path, PLATE, NAMES, {})
    with pytest.raises(ValueError, match="expected"):
        writer.add(rows, features[:, :2])
    with pytest.raises(ValueError, match="no column 'status'"):
        writer.add(rows.drop_columns(["status"]), features)
    with pytest.raises(ValueError, match="of 'other' expected"):
        FeatureWriter(tmp_path, "other", NAMES, {}).add(rows, features)
    with pytest.raises(ValueError, match="none twice"):
        FeatureWriter(tmp_path, PLATE, ("a", "a"), {})


def test_cells_of_a_site_that_lie_apart_are_an_error(tmp_path: Path) -> None:
    rows, features = _cells()
    order = np.r_[np.arange(7, 23), np.arange(7)]
    order[[0, -1]] = order[[-1, 0]]
    writer = FeatureWriter(tmp_path, PLATE, NAMES, {})
    writer.add(rows.take(order), features[order])
    writer.finish()
    with pytest.raises(UserError, match="do not lie together"):
        list(iterate_sites(tmp_path, PLATE))


def test_what_is_no_file_of_features(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no features"):
        read_feature_names(tmp_path)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "P.parquet")
    with pytest.raises(UserError, match=r"P\.parquet: Parquet, but no features"):
        read_feature_names(tmp_path)
    (tmp_path / "P.parquet").write_text("no")
    with pytest.raises(UserError, match="no readable features"):
        read_feature_facts(tmp_path, "P")
    _write(tmp_path / "two", 23)
    FeatureWriter(tmp_path / "two", "Q", NAMES[:2], {}).finish()
    with pytest.raises(UserError, match="2 features found, not the 3 of plate P/1"):
        read_feature_names(tmp_path / "two")


@pytest.mark.parametrize("finished", [True, False])
def test_features_of_something_else_are_made_again_if_asked(tmp_path: Path, finished: bool) -> None:
    _write(tmp_path, 5, until=None if finished else 10)
    assert not FeatureWriter(tmp_path, PLATE, NAMES, MADE_BY, part_cells=PART, remake=True).remade
    other = {**MADE_BY, "cells": "new"}
    writer = FeatureWriter(tmp_path, PLATE, NAMES, other, part_cells=PART, remake=True)
    assert (writer.remade, writer.complete, writer.done) == ("other cells", False, 0)
    writer.add(*_cells())
    writer.finish()
    assert read_feature_facts(tmp_path, PLATE).made_by == other
    assert not list((tmp_path / "parts").iterdir())


def test_parts_without_what_they_were_made_by_are_not_taken_over(tmp_path: Path) -> None:
    _write(tmp_path, 5, until=10)
    next((tmp_path / "parts").rglob("facts.json")).unlink()
    assert FeatureWriter(tmp_path, PLATE, NAMES, MADE_BY, part_cells=PART).done == 0
