"""Quality control in the report: tables as `aggregate` writes them, and pictures that are there."""

import numpy as np
import pytest

from cellml.commands.profile_report_quality import read_quality
from cellml.errors import UserError
from cellml.report.html import Table
from cellml.report.profiling_quality import THUMBNAIL_PX, composite, quality_chapter
from tests.data.painting import write_project

COLUMNS = "Metadata_Plate,Metadata_Well,Metadata_Site,Metadata_treatment,Metadata_n_cells"
HEADER = f"{COLUMNS},distance,limit,reason,DNA,ER\n"
IMAGES = "inputs/images/007/{0}_w1.tif,inputs/images/007/{0}_w2.tif"
LINES = (
    "P-2,A01,1,DMSO,0,inf,2.5,no site with 1 cells or more,gone.tif,gone.tif\n"
    f"007,A01,1,DMSO,9,7.123,2.5,component 1: f,{IMAGES.format('a1_s1')}\n"
    f"007,A01,2,DMSO,9,7.123,2.5,component 1: f,{IMAGES.format('a1_s2')}\n"
    f"007,B03,1,drug,4,3,2.5,component 2: g,{IMAGES.format('B03_s1')}\n"
)
PLATES = "Metadata_Plate,n_wells,n_empty,n_outliers,median_distance\n"


def read(tmp_path, lines, plates="007,2,0,2,1.5\nP-2,2,1,0,1.1\n"):
    root = write_project(tmp_path / "project")
    (root / "quality.csv").write_text(HEADER + lines)
    (root / "plates.csv").write_text(PLATES + plates)
    found = read_quality("wsl", root, root)
    assert found is not None
    return found, quality_chapter([found])


def test_the_farthest_fields_come_with_a_picture_of_each_well(tmp_path):
    found, chapter = read(tmp_path, LINES)
    assert [title for title, _ in found.pictures] == [
        "007 A01 site 1: distance 7.12",
        "007 B03 site 1: distance 3.00",
    ]
    assert found.pictures[0][1].shape == (41, 53, 2)
    (section,) = chapter.sections
    assert (
        section.paragraphs[-1]
        == "2 wells farther than 2.50. 1 without a distance: too few cells, or features."
    )
    table, figure, plates = section.blocks
    assert isinstance(table, Table)
    assert isinstance(plates, Table)
    assert [row[:4] for row in table.rows] == [
        ["P-2 A01", "DMSO", "0", "-"],
        ["007 A01", "DMSO", "9", "7.12"],
        ["007 B03", "drug", "4", "3.00"],
    ]
    assert [row[-1] for row in table.rows] == ["2", "4", "2"]  # two channels of each field
    assert "DNA blue, ER green" in figure.caption
    assert plates.rows[1] == ["P-2", "2", "1", "0", "1.1"]


def test_nothing_to_look_at_and_nothing_known(tmp_path):
    assert read(tmp_path, "")[1].sections[0].paragraphs[-1] == "No well lies apart."
    _, chapter = read(tmp_path, "", "007,2,0,,\n")
    assert chapter.sections[0].paragraphs[-1].startswith("No distances: there are too few wells")
    assert not chapter.sections[0].blocks
    assert read_quality("wsl", tmp_path, tmp_path) is None
    with pytest.raises(UserError, match=r"quality.csv, line 2: distance must be a number, found"):
        read(tmp_path, LINES.replace(",inf,", ",x,"))


def test_a_composite_is_small_and_each_channel_has_its_own_range_and_colour():
    image = np.zeros((600, 300, 2), np.uint16)
    image[:300, :, 0] = 50
    image[:, 150:, 1] = 60_000
    picture = composite(image)
    assert picture.shape == (THUMBNAIL_PX, THUMBNAIL_PX // 2, 3)
    blue, green, both = picture[5, 5], picture[-5, -5], picture[5, -5]
    assert blue.tolist() == [26, 76, 255]
    assert green.tolist() == [0, 153, 38]
    assert both.tolist() == [26, 230, 255]
    assert not picture[-5, 5].any()
