"""Indexes, patterns of names, facts on wells: what is found, and what is refused."""

import pyarrow as pa
import pytest

from cellml.data.field_tables import (
    add_wells,
    compile_pattern,
    name_treatments,
    read_field_table,
    read_named_images,
)
from cellml.data.painting_importers import Fields, begin_project
from cellml.errors import UsageError, UserError
from tests.data.painting import write_table

KEYS = ("Metadata_Plate", "Metadata_Well", "Metadata_Site")


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def rows(fields: Fields) -> list[tuple[str, ...]]:
    return list(zip(*(fields.table[name].to_pylist() for name in KEYS), strict=True))


@pytest.mark.parametrize(
    ("pattern", "name", "facts"),
    [
        ("{plate}_{well}_s{site}_w{channel}*.tif", "a_b_c3_s12_w1UUID.tif", "a_b c3 12 1"),
        ("{plate}/Images/r{row}c{column}f{site}p01-ch{channel}*.tiff",
         "deep/P/Images/r02c11f01p01-ch5sk1.tiff", "P 02 11 01 5"),
        ("{plate}_*_{site}_{channel}_001.tif", "Plate_2_images_3_DAPI_001.tif", "Plate 3 DAPI"),
        ("{channel}.{}", None, "{} is unknown"),
        ("{channel}{channel}", None, "{channel} occurs twice"),
        ("{row}_{channel}", None, "no {row} or {column}"),
        ("a.{channel}", "abx", None),
        ("{plate}_{channel}.png", "in/a_b/c_d.png", "c d"),
    ],
)  # fmt: skip
def test_patterns(pattern, name, facts):
    if name is None:
        with pytest.raises(UsageError) as error:
            compile_pattern(pattern)
        assert facts in str(error.value)
        return
    match = compile_pattern(pattern).fullmatch(name)
    assert (match and " ".join(match.groupdict().values())) == facts


def test_names_give_fields(tmp_path):
    folder = touch(
        tmp_path / "scan",
        *("r02c11f01p01-ch1.tiff", "r02c11f01p01-ch2.tiff", "r02c11f10p01-ch1.tiff"),
        *("r02c11f10p01-ch2.tiff", "notes.txt", "r02c11f10p01-ch1.txt"),
    )
    pattern = "r{row}c{column}f{site}p01-ch{channel}.*"
    fields = read_named_images(folder, pattern)
    assert fields.channels == ("1", "2")
    assert rows(fields) == [("scan", "B11", "1"), ("scan", "B11", "10")]
    fields = read_named_images(folder, pattern, channels={"2": "ER"})
    assert fields.table["ER"].to_pylist()[1] == str(folder / "r02c11f10p01-ch2.tiff")
    assert rows(read_named_images(folder, "*{site}p01-ch{channel}.*"))[0] == ("scan", "A01", "1")


@pytest.mark.parametrize(
    ("names", "pattern", "message"),
    [
        (("A01_d.png", "A01_e.png", "A02_d.png"), "{well}_{channel}.png", "well A02, site 1: no e"),
        (("a/A01_d.png", "b/a1_d.png"), "{well}_{channel}.png", "same channel of the same field"),
        (("A77_d.png",), "{well}_{channel}.png", "'A77' is no well"),
        (("r40c01_d.png",), "r{row}c{column}_{channel}.png", "row 39"),
        (("x.png",), "{well}_{channel}.png", "no image is named {well}_{channel}.png"),
    ],
)
def test_names_that_give_none(tmp_path, names, pattern, message):
    with pytest.raises(UserError) as error:
        read_named_images(touch(tmp_path / "in", *names), pattern)
    assert message in str(error.value)


def test_an_index_without_sites_counts_them(tmp_path):
    header = ("Plate", "WELL", "d", "Metadata_x", "dose")
    lines = [("01", w, f"{i}.PNG", "x", "") for i, w in enumerate(("a1", "b2", "A01"))]
    write_table(tmp_path / "t.csv", header, lines)
    fields = read_field_table(tmp_path / "t.csv")
    assert fields.channels == ("d",)
    assert rows(fields) == [("01", "A01", "1"), ("01", "B02", "1"), ("01", "A01", "2")]
    assert fields.table.column_names == [*KEYS, "d", "Metadata_x", "Metadata_dose"]
    assert fields.table["d"].to_pylist()[2] == str(tmp_path / "2.PNG")
    named = read_field_table(tmp_path / "t.csv", images=tmp_path / "i", channels={"d": "DNA"})
    assert named.table["DNA"].to_pylist()[0] == str(tmp_path / "i" / "0.PNG")


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        (("well", "d"), ("A01", "a.png"), "no column 'Metadata_Plate' or 'plate'"),
        (("plate", "wel", "d"), ("1", "A01", "a.png"), "no column 'Metadata_Well' or 'well'"),
        (("plate", "well", "d"), ("1", "A99", "a.png"), "line 2: 'A99' is no well"),
        (("plate", "well", "d"), ("", "A01", "a.png"), "line 2: no plate"),
        (("plate", "well", "d"), ("1", "A01", "a.pn"), "no column of images"),
    ],
)
def test_an_index_that_is_none(tmp_path, header, line, message):
    write_table(tmp_path / "t.csv", header, [line])
    with pytest.raises(UserError) as error:
        read_field_table(tmp_path / "t.csv")
    assert message in str(error.value)


def test_a_channel_that_is_no_column(tmp_path):
    write_table(tmp_path / "t.csv", ("plate", "well", "dna"), [("1", "A1", "a.png")])
    with pytest.raises(UserError, match=r"no column 'DNA' \(did you mean 'dna'\?\)"):
        read_field_table(tmp_path / "t.csv", channels={"DNA": "DNA"})


def test_facts_on_wells_of_one_map_or_of_every_plate(tmp_path):
    values = (["1", "1", "2"], ["A01", "B02", "a1"], ["1"] * 3, ["x", "", ""])
    fields = Fields(pa.table(dict(zip((*KEYS, "Metadata_a"), values, strict=True))), ())
    write_table(tmp_path / "map.csv", ("Well", "a", "dose"), [("a01", "p", "1"), ("C1", "q", "2")])
    found = add_wells(fields, tmp_path / "map.csv").table
    assert found["Metadata_dose"].to_pylist() == ["1", "", "1"]
    assert found["Metadata_a"].to_pylist() == ["x", "", ""]  # what the fields say stays
    write_table(tmp_path / "all.csv", ("plate", "Well", "dose"), [("2", "A1", "7")])
    assert add_wells(fields, tmp_path / "all.csv").table["Metadata_dose"].to_pylist() == [
        *("", "", "7")
    ]
    write_table(tmp_path / "none.csv", ("well", "dose"), [("H12", "7")])
    with pytest.raises(UserError, match="none of its wells"):
        add_wells(fields, tmp_path / "none.csv")
    write_table(tmp_path / "bad.csv", ("dose",), [("7",)])
    with pytest.raises(UserError, match="no column of wells"):
        add_wells(fields, tmp_path / "bad.csv")


def test_treatments_of_one_column_or_several():
    values = (["P", "P"], ["A01", "A02"], ["1", "1"], ["a", "a"], ["1.5", ""])
    names = (*KEYS, "Metadata_drug", "Metadata_dose")
    fields = Fields(pa.table(dict(zip(names, values, strict=True))), ())
    assert name_treatments(fields, ["drug"]) == (fields, "Metadata_drug")
    joined, label = name_treatments(fields, ["drug", "Metadata_dose"])
    assert joined.table[label].to_pylist() == ["a@1.5", "a"]
    with pytest.raises(UsageError, match="no column 'drugs' for the treatments"):
        name_treatments(fields, ["drugs"])


def test_real_wells_become_a_project(tmp_path, shared_data):
    path = shared_data / "images" / "bbbc013" / "index.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    fields = read_field_table(path, channels={"DNA": "DNA", "GFP": "GFP"})
    fields, label = name_treatments(fields, ["dose_level"])
    project = begin_project(tmp_path, fields, label_field=label, control_value="0")
    assert len(project) == len(path.read_text().splitlines()) - 1
    assert project.image(7).shape == (640, 640, 2)
    assert project.controls().sum() == 8
