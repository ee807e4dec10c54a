"""Importers: LoadData, plate maps, bare images and locations become projects that can be read."""

import numpy as np
import pytest
import tifffile

from cellml.data.painting_importers import (
    add_platemaps,
    begin_project,
    import_locations,
    read_image_names,
    read_load_data,
)
from cellml.errors import UserError
from tests.data.painting import write_table

HEADER = [
    *("Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Batch"),
    *("FileName_OrigDNA", "PathName_OrigDNA", "FileName_OrigER", "PathName_OrigER"),
    *("FileName_IllumDNA", "PathName_IllumDNA", "ObjectsFileName_Nuclei", "ObjectsFileName_Cells"),
    "ObjectsPathName_Cells",
]


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i, name in enumerate(("a1_d.tif", "a1_e.tif", "b2_d.tif", "b2_e.tif")):
        tifffile.imwrite(folder / name, np.full((9, 12), i, np.uint16))
        tifffile.imwrite(folder / f"cells_{name}", np.full((9, 12), i, np.uint16))
    return folder


def load_data(tmp_path, images, **changes):
    rows = [
        [
            *("0012", well, "1", "B1", f"{stem}_d.tif", images, f"{stem}_e.tif", images),
            *("illum.npy", images, "n.tif", f"cells_{stem}_d.tif", images),
        ]
        for well, stem in (("a1", "a1"), ("B02", "b2"))
    ]
    header = [changes.get(name, name) for name in HEADER]
    write_table(tmp_path / "load_data.csv", header, rows)
    return tmp_path / "load_data.csv"


def test_load_data_becomes_a_project(tmp_path, images):
    fields = read_load_data(load_data(tmp_path, images))
    assert fields.channels == ("DNA", "ER")
    project = begin_project(tmp_path / "p", fields, label_field="Metadata_Batch", box_size=8)
    assert project.index["plate"].to_pylist() == ["0012", "0012"]
    assert project.index["well"].to_pylist() == ["A01", "B02"]
    assert project.image(1)[0, 0].tolist() == [2, 3]
    cells = project.outlines(1)
    assert cells is not None
    assert cells[0, 0] == 2  # of Cells, not of Nuclei
    assert project.settings("export")["dataset.locations.box_size"] == 8
    with pytest.raises(UserError, match="there is a project already"):
        begin_project(tmp_path / "p", fields)


def test_load_data_has_many_dialects(tmp_path, images):
    changes = {name: f"Image_{name}" for name in HEADER if "Name_" in name}
    path = load_data(tmp_path, images, **changes, Metadata_Site="Metadata_FieldID")
    fields = read_load_data(path, channels={"OrigER": "endo"})
    assert fields.channels == ("endo",)
    assert fields.table["endo"].to_pylist()[0] == str(images / "a1_e.tif")
    header = ["Metadata_Plate", "Metadata_Row", "Metadata_Col", "Metadata_Site", "URL_OrigDNA"]
    url = "s3://cellpainting-gallery/deep/a1_d.tif"
    write_table(tmp_path / "u.csv", header, [["P", 2, 11, 1, url]])
    with pytest.raises(UserError, match="no local file; say in which folder"):
        read_load_data(tmp_path / "u.csv")
    fields = read_load_data(tmp_path / "u.csv", images=images)
    assert fields.table["Metadata_Well"].to_pylist() == ["B11"]
    assert fields.table["DNA"].to_pylist() == [str(images / "a1_d.tif")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Metadata_Plate", "Plate", "no column 'Metadata_Plate'"),
        ("Metadata_Site", "Spot", "no column of sites"),
        ("a1,1", "x,1", "line 2: 'x' is no well"),
        ("b2_e.tif", "", "line 3: no file of channel 'OrigER'"),
        ("0012,B02,1,B1", "0012,B02,1", "line 3: 12 values found, 13 expected"),
    ],
)
def test_mistakes_of_load_data_are_named(tmp_path, images, old, new, message):
    path = load_data(tmp_path, images)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        read_load_data(path)
    with pytest.raises(UserError):
        read_load_data(load_data(tmp_path, images), channels={"DNA": "DNA"})


def test_platemaps_say_what_is_in_a_well(tmp_path, images):
    fields = read_load_data(load_data(tmp_path, images))
    maps = tmp_path / "metadata"
    (maps / "platemap").mkdir(parents=True)
    barcodes = maps / "barcode_platemap.csv"
    barcodes.write_text("Assay_Plate_Barcode,Plate_Map_Name\n0012,M-1\n")
    with pytest.raises(UserError, match=r"M-1.txt: no such plate map"):
        add_platemaps(fields, barcodes)
    lines = "plate_map_name\twell_position\tbroad_sample\nM-1\tB2\tBRD-007\nM-1\tC3\tx\n"
    (maps / "platemap" / "M-1.txt").write_text(lines)
    joined = add_platemaps(fields, barcodes)
    assert joined.table["Metadata_broad_sample"].to_pylist() == ["", "BRD-007"]
    assert joined.channels == fields.channels
    barcodes.write_text("Assay_Plate_Barcode,Plate_Map_Name\n12,M-1\n")
    with pytest.raises(UserError, match=r"no plate '0012'.*'12'"):
        add_platemaps(fields, barcodes)


def test_bare_images_are_known_by_name(tmp_path):
    xpress, phenix = tmp_path / "x", tmp_path / "PL-9" / "Images"
    for folder in (xpress, phenix):
        folder.mkdir(parents=True)
    wells, sites, numbers = ("A01", "f21"), (1, 2), (1, 2, 3)
    names = [f"IXM_test_{w}_s{s}_w{c}ABC.tif" for w in wells for s in sites for c in numbers]
    for i, name in enumerate(names):
        tifffile.imwrite(xpress / name, np.full((9, 12), 1 + i % 3, np.uint8))
    tifffile.imwrite(xpress / "thumb.tif", np.zeros((9, 12), np.uint8))
    for c in (1, 2):
        tifffile.imwrite(phenix / f"r02c03f04p01-ch{c}sk1fk1fl1.tiff", np.zeros((9, 12), np.uint8))
    channels = {"2": "RNA", "1": "DNA"}
    fields = read_image_names([xpress, phenix], channels=channels)
    project = begin_project(tmp_path / "p", fields)
    assert project.channels == ("RNA", "DNA")
    assert [project.key(row) for row in (0, 3, 4)] == [
        ("IXM_test", "A01", "1"),
        ("IXM_test", "F21", "2"),
        ("PL-9", "B03", "4"),
    ]
    assert project.image(1)[0, 0].tolist() == [2, 1]
    (xpress / names[1]).unlink()
    with pytest.raises(UserError, match="plate IXM_test, well A01, site 1: no RNA image"):
        read_image_names([xpress], channels=channels)
    with pytest.raises(UserError, match="no image is named"):
        read_image_names([xpress], channels={"9": "DNA"})


def test_locations_of_segment_are_found(tmp_path, images):
    fields = read_load_data(load_data(tmp_path, images))
    project = begin_project(tmp_path / "p", fields)
    header = ["Nuclei_Location_Center_X", "Nuclei_Location_Center_Y"]
    write_table(tmp_path / "out" / "locations" / "0012" / "A01-1-Nuclei.csv", header, [(1.5, 2)])
    write_table(tmp_path / "out" / "locations" / "b2_d-Nuclei.csv", header, [(3, 4), (5, 6)])
    assert import_locations(project, tmp_path / "out") == 2
    assert project.locations(0).tolist() == [[2.0, 1.5]]
    assert project.locations(1).tolist() == [[4.0, 3.0], [6.0, 5.0]]
