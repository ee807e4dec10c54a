"""The store: what goes in comes out, in any order, killed or not, and stale cells are replaced."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from cellml.data import cell_export
from cellml.data.cell_export import export_settings, write_store
from cellml.data.cell_store import open_store
from cellml.data.cell_store_writer import PlateWriter, begin_store, finish_store
from cellml.data.crops import Status, cut, cut_masks, normalise
from cellml.data.painting_project import open_project
from cellml.errors import UsageError, UserError
from tests.data.painting import field_image, field_labels, write_project, write_table

SMALL = 3 * 16 * 16 * 2 * 2  # three cells a shard


@pytest.fixture
def project(tmp_path):
    return open_project(write_project(tmp_path / "project", outlines=True))


def everything(store):
    return store.read(np.arange(len(store)))


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_cells_come_back_in_any_order(project, tmp_path):
    store = write_store(project, tmp_path / "store", shard_bytes=SMALL)
    expected = np.concatenate(
        [
            cut(project.image(r), project.locations(r), side=16, mode="exact").pixels
            for r in range(5)
        ]
    )
    assert (len(store), store.side_px, store.channels) == (13, 16, ("DNA", "ER"))
    assert store.plates == {"007": 8, "P-2": 5}
    assert store.dtype == np.uint16
    np.testing.assert_array_equal(everything(store), expected)
    rows = np.asarray([12, 0, 7, 7, 8, 3])
    np.testing.assert_array_equal(store.read(rows), expected[rows])
    out = np.empty_like(expected[:2])
    assert store.read(np.asarray([4, 2]), out=out) is out
    np.testing.assert_array_equal(out, expected[[4, 2]])
    shards = sorted((tmp_path / "store" / "shards").glob("007-*.npy"))
    mapped = [np.load(path, mmap_mode="r") for path in shards]
    assert [len(shard) for shard in mapped] == [3, 3, 2]
    np.testing.assert_array_equal(np.concatenate(mapped), expected[:8])


def test_the_index_says_what_a_cell_is(project, tmp_path):
    index = write_store(project, tmp_path / "store").index
    assert index["row"].to_pylist() == list(range(13))
    assert index["plate"].to_pylist() == ["007"] * 8 + ["P-2"] * 5
    assert index["well"].to_pylist()[3:9] == ["A01", "A01", "B03", "B03", "B03", "A01"]
    assert index["cell_id"].to_pylist()[:6] == [1, 2, 3, 1, 2, 1]
    assert index["treatment"].to_pylist()[7:] == ["drug.tif@1", *["DMSO"] * 2, *["drug.tif@1"] * 3]
    assert index["Split"].to_pylist()[0] == "00"
    np.testing.assert_allclose(index["y_px"].to_pylist()[:3], [20.25, 3.0, 33.4], rtol=1e-6)
    assert index["status"].to_pylist()[:3] == [Status.OK, Status.EDGE, Status.OK]
    some = open_store(tmp_path / "store").read_index(["row", "status"])
    assert some.column_names == ["row", "status"]


def test_normalised_masked_subpixel_cells(project, tmp_path):
    settings = export_settings(
        project, mode="deepprofiler", normalisation="deepprofiler-legacy", masks="keep"
    )
    store = write_store(project, tmp_path / "store", settings)
    assert store.channels == ("DNA", "ER", "mask")
    assert store.dtype == np.uint8
    centres = project.locations(0)
    crops = cut(field_image(0), centres, side=16).pixels
    masks, _ = cut_masks(field_labels(), centres, side=16)
    expected = np.rint(normalise(crops, "deepprofiler-legacy") * 255)
    np.testing.assert_array_equal(store.read(np.arange(3))[..., :2], expected)
    np.testing.assert_array_equal(store.read(np.arange(3))[..., 2], masks * 255)
    # the third centre lies on no object
    assert store.index["status"].to_pylist()[:3] == [Status.OK, Status.EDGE, Status.UNLABELLED]
    applied = write_store(project, tmp_path / "applied", settings._replace(masks="apply"))
    pixels = applied.read(np.arange(3))
    assert not pixels[~masks].any()
    assert not pixels[2].any()
    assert pixels[0].max() > 100


@pytest.mark.parametrize("killed_at", [0, 1, 2, 3, 4])
def test_killed_and_resumed_is_the_same_to_the_byte(project, tmp_path, monkeypatch, killed_at):
    whole = write_store(project, tmp_path / "whole", shard_bytes=SMALL)
    calls = []

    def killed(*args, original=cell_export.cut_field):
        calls.append(args)
        if len(calls) > killed_at:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(cell_export, "cut_field", killed)
    with pytest.raises(KeyboardInterrupt):
        write_store(project, tmp_path / "resumed", shard_bytes=SMALL)
    with pytest.raises(UsageError, match="unfinished"):
        open_store(tmp_path / "resumed")
    monkeypatch.undo()
    resumed = write_store(project, tmp_path / "resumed", shard_bytes=SMALL)
    assert tree(tmp_path / "resumed") == tree(tmp_path / "whole")
    np.testing.assert_array_equal(everything(resumed), everything(whole))


def test_what_is_done_is_not_done_again(project, tmp_path, monkeypatch):
    write_store(project, tmp_path / "store")
    before = tree(tmp_path / "store")

    def again(*_):
        raise AssertionError("cut again")

    monkeypatch.setattr(cell_export, "cut_field", again)
    ticks = []
    write_store(
        project, tmp_path / "store", progress=lambda done, total: ticks.append((done, total))
    )
    assert ticks == [(i, 5) for i in range(1, 6)]
    assert tree(tmp_path / "store") == before


def test_a_changed_field_replaces_what_follows(project, tmp_path):
    folder = tmp_path / "store"
    write_store(project, folder, shard_bytes=SMALL)
    index = tmp_path / "project" / "inputs" / "metadata" / "index.csv"
    index.write_text(index.read_text().replace("drug.tif@1,02", "other,02"))
    locations = project.locations_file(2)
    write_table(locations, ["Nuclei_Location_Center_X", "Nuclei_Location_Center_Y"], [(20, 20)])
    changed = write_store(open_project(tmp_path / "project"), folder, shard_bytes=SMALL)
    assert changed.plates == {"007": 6, "P-2": 5}
    assert changed.index["treatment"].to_pylist()[5] == "other"
    fresh = write_store(open_project(tmp_path / "project"), tmp_path / "fresh", shard_bytes=SMALL)
    np.testing.assert_array_equal(everything(changed), everything(fresh))
    assert tree(folder) == tree(tmp_path / "fresh")


def writer_of(folder, fields):
    begin_store(folder, channels=["a"], side_px=2, dtype="uint8", made_by={}, shard_bytes=8)
    return PlateWriter(folder, "p/1", fields)


def some(value, count):
    centres = np.zeros((count, 2), np.float32)
    rows = cell_export.cell_rows(("p/1", "A01", "1"), centres, np.zeros(count, np.uint8))
    return np.full((count, 2, 2, 1), value, np.uint8), rows


def test_rows_whose_pixels_were_overwritten_are_not_trusted_again(tmp_path):
    first = writer_of(tmp_path, ["a", "b", "c"])
    for value, count in ((1, 3), (2, 1), (3, 1)):
        first.add(*some(value, count))
    second = writer_of(tmp_path, ["a", "B", "c"])
    assert second.done == 1
    second.add(*some(9, 2))  # killed: the pixels of "c" are gone
    third = writer_of(tmp_path, ["a", "B", "c"])
    assert third.done == 2
    third.add(*some(3, 1))
    third.finish()
    store = finish_store(tmp_path, ["p/1"])
    assert everything(store)[:, 0, 0, 0].tolist() == [1, 1, 1, 9, 9, 3]
    fourth = writer_of(tmp_path, ["A", "B", "c"])
    fourth.add(*some(5, 1))  # killed again; the finished plate's rows must be gone
    assert writer_of(tmp_path, ["a", "B", "c"]).done == 0


def test_lost_pixels_are_noticed(tmp_path):
    writer = writer_of(tmp_path, ["a"])
    writer.add(*some(1, 3))
    next((tmp_path / "shards").glob("*-0001.npy")).unlink()
    assert writer_of(tmp_path, ["a"]).done == 0


def test_a_plate_without_cells(tmp_path):
    writer = writer_of(tmp_path, ["a"])
    writer.add(*some(0, 0))
    writer.finish()
    store = finish_store(tmp_path, ["p/1"])
    assert len(store) == len(store.index) == 0
    assert everything(store).shape == (0, 2, 2, 1)


def test_two_processes_make_the_same_store(project, tmp_path):
    one = write_store(project, tmp_path / "one")
    ticks = []
    two = write_store(
        project, tmp_path / "two", workers=2, progress=lambda done, total: ticks.append(done)
    )
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert len(one) == len(two)
    assert ticks in ([3, 5], [2, 5])


def test_a_store_travels_to_other_processes(project, tmp_path):
    store = write_store(project, tmp_path / "store")
    first = everything(store)
    np.testing.assert_array_equal(everything(pickle.loads(pickle.dumps(store))), first)


def test_what_cannot_be_read(project, tmp_path):
    folder = tmp_path / "store"
    store = write_store(project, folder)
    for rows in ([-1], [13]):
        with pytest.raises(IndexError, match="0 to 12 are"):
            store.read(np.asarray(rows))
    with pytest.raises(ValueError, match=r"uint16 \(1, 16, 16, 2\) expected"):
        store.read(np.asarray([0]), out=np.empty((1, 16, 16, 2), np.uint8))
    store.close()
    shard = folder / "shards" / "007-0000.npy"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match="cut off, cell 7"):
        store.read(np.asarray([7]))
    with pytest.raises(UserError, match="no store of single cells"):
        open_store(tmp_path)
    facts = json.loads((folder / "store.json").read_text())
    facts["settings"]["version"] = 0
    (folder / "store.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="version 0 found, 1 expected"):
        open_store(folder)
    store.close()


def test_what_cannot_be_written(project, tmp_path):
    folder = tmp_path / "store"
    write_store(project, folder)
    with pytest.raises(UsageError, match="side_px: 16 then, 8 now"):
        write_store(project, folder, export_settings(project, side_px=8))
    with pytest.raises(UsageError, match="mode is 'fast', one of"):
        write_store(project, tmp_path / "b", export_settings(project, mode="fast"))
    with pytest.raises(UserError, match="pixels of uint16 found, uint8 expected"):
        write_store(project, tmp_path / "b", export_settings(project, dtype="uint8"))
    project.locations_file(4).unlink()
    with pytest.raises(UserError, match="plate P-2, well C12, site 1"):
        write_store(project, tmp_path / "c")
    settings = export_settings(project, missing_locations="empty")
    assert len(write_store(project, tmp_path / "d", settings)) == 10
    plain = open_project(write_project(tmp_path / "plain"))
    with pytest.raises(UsageError, match="no inputs/metadata/outlines"):
        write_store(plain, tmp_path / "e", export_settings(plain, masks="apply"))
    table = pq.read_table(folder / "index" / "007.parquet")
    writer = PlateWriter(folder, "new", ["x"])
    writer.add(np.zeros((8, 16, 16, 2), np.uint16), table)
    with pytest.raises(ValueError, match="all 1 fields are there"):
        writer.add(np.zeros((8, 16, 16, 2), np.uint16), table)


@pytest.mark.parametrize("which", ["image", "locations", "outlines"])
def test_cells_of_changed_files_are_cut_again_and_no_others(project, tmp_path, monkeypatch, which):
    settings = export_settings(project, masks="keep")
    write_store(project, tmp_path / "store", settings)
    cut_rows = []

    def counted(project, row, *others, original=cell_export.cut_field):
        cut_rows.append(row)
        return original(project, row, *others)

    monkeypatch.setattr(cell_export, "cut_field", counted)
    write_store(project, tmp_path / "store", settings)
    assert not cut_rows
    if which == "image":
        tifffile.imwrite(project.image_path(1, "ER"), field_image(9)[..., 1])
    elif which == "locations":
        names = ["Nuclei_Location_Center_X", "Nuclei_Location_Center_Y"]
        write_table(project.locations_file(1), names, [(25, 21)])
    else:
        tifffile.imwrite(project.field_files(1, outlines=True)[-1], np.roll(field_labels(), 3))
    changed = write_store(project, tmp_path / "store", settings)
    assert cut_rows == [1, 2]  # the plate's fields from the changed one on; P-2 is kept
    fresh = write_store(project, tmp_path / "fresh", settings)
    assert tree(tmp_path / "store") == tree(tmp_path / "fresh")
    assert changed.version("P-2") == fresh.version("P-2")
    # outlines that nobody asked for do not matter
    write_store(project, tmp_path / "plain")
    before = list(cut_rows)
    if which == "outlines":
        tifffile.imwrite(project.field_files(1, outlines=True)[-1], field_labels())
        write_store(project, tmp_path / "plain")
        assert cut_rows == before


def test_other_settings_make_the_store_again_if_asked(project, tmp_path):
    write_store(project, tmp_path / "store", shard_bytes=SMALL)
    notes = []
    settings = export_settings(project, side_px=8)
    write_store(project, tmp_path / "store", settings, remake=True, note=notes.append)
    assert len(notes) == 1
    assert "side_px: 16 then, 8 now" in notes[0]
    write_store(project, tmp_path / "fresh", settings)
    assert tree(tmp_path / "store") == tree(tmp_path / "fresh")


def test_plates_that_are_gone_leave_nothing(project, tmp_path):
    write_store(project, tmp_path / "store")
    index = tmp_path / "project" / "inputs" / "metadata" / "index.csv"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(line for line in lines if not line.startswith("P-2")))
    fewer = open_project(tmp_path / "project")
    write_store(fewer, tmp_path / "store")
    write_store(fewer, tmp_path / "fresh")
    assert tree(tmp_path / "store") == tree(tmp_path / "fresh")
