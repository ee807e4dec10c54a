"""`cellml profile init`: projects from every source, their nuclei, wrong options, resuming."""

import json

import numpy as np
import pytest
from scipy import ndimage

from cellml.commands import profile_nuclei
from cellml.commands.profile_init import parse_channels, parse_design
from cellml.data.images import read_labels
from cellml.data.painting_project import open_project
from cellml.errors import UsageError, UserError
from tests.cli.fake_model import discs, fake_predictor
from tests.cli.screens import bare_images, content, profile
from tests.data.painting import write_table

PATTERN = "{plate}/{well}_s{site}_w{channel}_*.png"
SMALL = "n_sites=1,n_rows=1,n_columns=3,n_per_mechanism=1,n_inactive=0,shape=72x80,n_cells=4"
SMALLER = f"{SMALL},cell_diameter_px=24,mechanisms=topoisomerase_inhibitor"


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    """Puts the fake model in place of the network."""
    monkeypatch.setattr(
        profile_nuclei, "load_predictor", lambda model: fake_predictor(name=str(model))[0]
    )


def test_a_simulated_screen_in_one_command(tmp_path):
    root = tmp_path / "p"
    options = ("--simulated", "--plates", 1, "--effect", 2, "--seed", 5, "--box-size", 24)
    code, text = profile("init", root, *options, "--design", SMALLER)
    assert code == 0
    assert "3 fields of 3 wells on 1 plate, channels DNA, ER, RNA, AGP, Mito" in text
    project = open_project(root)
    assert project.image(0).shape == (72, 80, 5)
    assert project.settings("export")["dataset.locations.box_size"] == 24
    assert (root / "inputs" / "metadata" / "truth.csv").is_file()
    written = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert profile("init", root, *options, "--design", SMALLER)[0] == 0
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == written


def test_cells_of_a_simulated_screen_may_be_found_instead_of_known(tmp_path):
    root = tmp_path / "p"
    options = ("--simulated", "--plates", 1, "--seed", 5, "--design", SMALLER)
    assert profile("init", root, *options, "--segment", "--grow-px", 2)[0] == 0
    project = open_project(root)
    assert (root / "inputs" / "metadata" / "nuclei.json").is_file()
    for row in range(len(project)):
        assert project.outlines(row) is not None
    known = tmp_path / "known"
    profile("init", known, *options)
    differ = [
        not np.array_equal(project.locations(row), open_project(known).locations(row))
        for row in range(len(project))
    ]
    assert any(differ)
    with pytest.raises(UsageError, match="other options"):
        profile("init", root, *options)


def test_bare_images_are_segmented(tmp_path):
    root, images = tmp_path / "p", bare_images(tmp_path / "in")
    source = ("--images", images, "--pattern", PATTERN, "--channels", "DNA,ER")
    code, text = profile("init", root, *source, "--segment", "--grow-px", 3)
    assert code == 0
    project = open_project(root)
    assert [project.key(row) for row in range(2)] == [("P1", "A02", "1"), ("P1", "B03", "1")]
    total = 0
    for row in range(2):
        nuclei, n = ndimage.label(discs((60, 90), 30, 8, seed=row) > 100)
        centres = ndimage.center_of_mass(nuclei > 0, nuclei, range(1, n + 1))
        np.testing.assert_allclose(project.locations(row), centres, atol=1e-3)
        grown = project.outlines(row)
        assert grown is not None
        near = ndimage.distance_transform_edt(nuclei == 0) <= 3
        np.testing.assert_array_equal(grown > 0, near)
        assert (grown[nuclei > 0] == nuclei[nuclei > 0]).all()
        total += n
    assert f"{total} nuclei in 2 fields" in text
    assert "note" not in text


def test_interrupted_segmentation_goes_on_where_it_stopped(tmp_path, monkeypatch):
    images = bare_images(tmp_path / "in")
    source = ("--images", images, "--pattern", PATTERN, "--segment")
    assert profile("init", tmp_path / "whole", *source)[0] == 0
    segment, calls = profile_nuclei.segment_pixels, []

    def stopping(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return segment(*arguments, **options)

    monkeypatch.setattr(profile_nuclei, "segment_pixels", stopping)
    code, text = profile("init", tmp_path / "p", *source)
    assert code == 130
    assert "Run the same command to go on" in text
    code, text = profile("init", tmp_path / "p", *source)
    assert (code, len(calls)) == (0, 3)
    assert "in 1 field, 1 had locations before" in text
    assert content(tmp_path / "p" / "inputs") == content(tmp_path / "whole" / "inputs")
    # done: not a field is looked at again, and other settings are refused
    assert profile("init", tmp_path / "p", "--segment")[0] == 0
    assert len(calls) == 3
    with pytest.raises(UsageError, match=r"settings \(grow_px: 10 then, 5 now\)"):
        profile("init", tmp_path / "p", "--segment", "--grow-px", 5)


def test_a_damaged_image_stops_no_other_field(tmp_path):
    images = bare_images(tmp_path / "in")
    (images / "P1" / "A02_s1_wDNA_x.png").write_bytes(b"no image")
    root = tmp_path / "p"
    code, text = profile("init", root, "--images", images, "--pattern", PATTERN, "--segment")
    assert code == 1
    assert "1 failed" in text
    assert "A02_s1_wDNA_x.png" in text
    project = open_project(root)
    assert not project.locations_file(0).is_file()
    assert len(project.locations(1))
    assert list(project.outline_files) == [("P1", "B03", "1")]


def test_locations_that_are_there_are_left_alone(tmp_path):
    images, made = bare_images(tmp_path / "in"), tmp_path / "made"
    header = ["Nuclei_Location_Center_X", "Nuclei_Location_Center_Y"]
    write_table(made / "locations" / "P1" / "A02-1-Nuclei.csv", header, [(5, 6)])
    source = ("--images", images, "--pattern", PATTERN)
    code, text = profile("init", tmp_path / "p", *source, "--locations", made / "locations")
    assert code == 0
    assert "1 of 2 fields got locations" in text
    assert "1 field without locations" in text
    profile("init", tmp_path / "p", "--segment")
    project = open_project(tmp_path / "p")
    assert project.locations(0).tolist() == [[6, 5]]
    assert len(project.locations(1)) == 6
    with pytest.raises(UserError, match="no locations of the project's fields"):
        profile("init", tmp_path / "p", "--locations", images)


def test_an_index_with_plain_names(tmp_path):
    images = bare_images(tmp_path / "in")
    rows = [
        ("007", well, compound, dose, f"{name}_s1_wER_x.png", f"{name}_s1_wDNA_x.png")
        for well, name, compound, dose in (("a2", "A02", "c1", "0"), ("B3", "b03", "c1", "1.5"))
    ]
    header = ("plate", "well", "compound", "dose", "ER", "DNA")
    write_table(images / "P1" / "fields.csv", header, rows)
    source = ("--index", images / "P1" / "fields.csv")
    profile("init", tmp_path / "a", *source)
    assert open_project(tmp_path / "a").channels == ("ER", "DNA")
    labels = ("--treatment-column", "compound", "--treatment-column", "dose")
    options = ("--channels", "DNA,ER=endo", *labels, "--box-size", 16)
    with pytest.raises(UsageError, match="--control-value c1: no field has it"):
        profile("init", tmp_path / "b", *source, *options, "--control-value", "c1")
    assert not (tmp_path / "b").exists()
    values = ("--control-value", "c1@0", "--control-value", "c1@1.5")
    profile("init", tmp_path / "b", *source, *options, *values)
    project = open_project(tmp_path / "b")
    assert project.channels == ("DNA", "endo")
    assert project.index["plate"].to_pylist() == ["007", "007"]
    assert project.index["well"].to_pylist() == ["A02", "B03"]
    assert project.index["treatment"].to_pylist() == ["c1@0", "c1@1.5"]
    assert project.controls().tolist() == [True, True]
    np.testing.assert_array_equal(project.image(0)[..., 0], discs((60, 90), 30, 8, seed=0))
    with pytest.raises(UsageError, match=r"made with other options \(box_size\)"):
        profile("init", tmp_path / "b", *source, *options[:-1], 32, *values)


def test_deepprofilers_own_index_keeps_its_columns(tmp_path):
    root = tmp_path / "old"
    images = bare_images(root / "inputs" / "images")
    header = ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "DNA", "Treatment", "Split")
    row = ("P1", "A02", "2", "P1/A02_s1_wDNA_x.png", "drug", "1")
    write_table(root / "inputs" / "metadata" / "index.csv", header, [row])
    source = ("--index", root / "inputs" / "metadata" / "index.csv")
    profile("init", tmp_path / "p", *source, "--treatment-column", "Treatment")
    project = open_project(tmp_path / "p")
    assert project.image_path(0, "DNA") == (images / "P1" / "A02_s1_wDNA_x.png").resolve()
    assert project.key(0) == ("P1", "A02", "2")
    assert project.column("Split") == ["1"]
    assert project.index["treatment"].to_pylist() == ["drug"]


@pytest.mark.parametrize("option", ["--load-data", "--index"])
def test_tables_of_fields_are_checked_where_the_user_wrote_them(tmp_path, option):
    bare_images(tmp_path / "images")
    table = tmp_path / "mine.csv"
    column = "FileName_OrigDNA" if option == "--load-data" else "DNA"
    header = f"Metadata_Plate,Metadata_Well,Metadata_Site,{column}\n"
    lines = ["P1,a2,1,A02_s1_wDNA_x.png\n", "P1,B03,1,b03_s1_wDNA_x.png\n"]
    arguments = ("init", tmp_path / "p", option, table, "--images", tmp_path / "images" / "P1")
    table.write_text(header + "".join(lines) + "P1,A02,1,A02_s1_wDNA_x.png\n")
    with pytest.raises(UserError, match=r"mine.csv, line 4: plate P1, well A02, site 1 is also on"):
        profile(*arguments)
    table.write_text(header + "".join(lines) + "P1,B04,1,gone.png\n")
    with pytest.raises(UserError, match=r"mine.csv, line 4: no image .*/images/P1/gone.png"):
        profile(*arguments)
    assert not (tmp_path / "p").exists()
    table.write_text(header + "".join(lines))
    assert profile(*arguments)[0] == 0


def test_load_data_and_a_plate_map(tmp_path):
    images = bare_images(tmp_path / "in")
    header = ("Metadata_Plate", "Metadata_Well", "Metadata_Site", "FileName_OrigDNA")
    rows = [("P", well, "1", f"{well}_s1_wDNA_x.png") for well in ("A02", "b03")]
    write_table(tmp_path / "load.csv", header, rows)
    write_table(tmp_path / "map.csv", ("well_position", "treatment"), [("A02", "x"), ("A03", "y")])
    source = ("--load-data", tmp_path / "load.csv", "--images", images / "P1")
    profile("init", tmp_path / "p", *source, "--platemap", tmp_path / "map.csv")
    project = open_project(tmp_path / "p")
    assert project.index["treatment"].to_pylist() == ["x", ""]
    assert project.image(1).shape == (60, 90, 1)
    write_table(tmp_path / "bad.csv", ("well_position", "x"), [("A02", "x"), ("a2", "y")])
    with pytest.raises(UserError, match="line 3: well a2 is there twice"):
        profile("init", tmp_path / "q", *source, "--platemap", tmp_path / "bad.csv")
    write_table(tmp_path / "codes.csv", ("Assay_Plate_Barcode", "Plate_Map_Name"), [("P", "map")])
    codes = ("--barcodes", tmp_path / "codes.csv", "--platemap", tmp_path)
    profile("init", tmp_path / "r", *source, *codes)
    assert open_project(tmp_path / "r").index["treatment"].to_pylist() == ["x", ""]


def test_names_of_imagexpress_need_no_pattern(tmp_path):
    folder = tmp_path / "in" / "TimePoint_1"
    folder.mkdir(parents=True)
    for path in (bare_images(tmp_path / "other") / "P1").iterdir():
        well, channel = path.name[:3], 1 + ("wER" in path.name)
        path.rename(folder / f"plate_{well}_s4_w{channel}ABC.png")
    with pytest.raises(UsageError, match="name channels 1, 2"):
        profile("init", tmp_path / "p", "--images", tmp_path / "in")
    profile("init", tmp_path / "p", "--images", tmp_path / "in", "--channels", "DNA,ER")
    project = open_project(tmp_path / "p")
    assert project.key(1) == ("plate", "B03", "4")
    assert project.index["treatment"].to_pylist() == ["A02", "B03"]  # the wells, for want of more


def test_a_killed_beginning_is_begun_anew(tmp_path):
    root, images = tmp_path / "p", bare_images(tmp_path / "in")
    record = root / "inputs" / "metadata" / "init.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"settings": {}, "state": "writing"}))
    (root / "inputs" / "config").mkdir()
    (root / "inputs" / "config" / "screen.json").write_text("{}")
    (root / "inputs" / "metadata" / "index.csv").write_text("half")
    assert profile("init", root, "--images", images, "--pattern", PATTERN)[0] == 0
    assert len(open_project(root)) == 2
    record.unlink()
    with pytest.raises(UsageError, match="there is a project already; leave --images out"):
        profile("init", root, "--images", images, "--pattern", PATTERN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "no project there; make one from --simulated"),
        (("--segment",), "no project there"),
        (("--simulated", "--load-data", "x.csv"), "--simulated and --load-data exclude"),
        (("--simulated", "--design", "n_site=2"), "did you mean 'n_sites'"),
        (("--simulated", "--design", "n_sites=two"), "a value such as 2 expected"),
        (("--simulated", "--design", "shape=9"), "a value such as (256, 256) expected"),
        (("--simulated", "--plates", "0"), "n_plates must be at least 1"),
        (("--index", "x.csv", "--pattern", "a"), "--pattern does not go with --index"),
        (("--index", "x.csv", "--box-size", "1"), "at least 2 px"),
        (("--index", "x.csv", "--channels", "DNA,"), "different names expected"),
        (("--index", "x.csv"), "x.csv: no such file"),
        (("--images", "gone", "--pattern", "{channel}"), "gone: no such folder"),
        (("--images", ".", "--pattern", "{plat}_{channel}"), "{plat} is unknown"),
        (("--images", ".", "--pattern", "{plate}"), "no {channel}"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        profile("init", tmp_path / "p", *options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "p").exists()


def test_a_channel_without_nuclei_is_asked_for(tmp_path):
    images = bare_images(tmp_path / "in")
    source = ("--images", images, "--pattern", PATTERN, "--channels", "ER")
    with pytest.raises(UsageError, match="which channel shows nuclei"):
        profile("init", tmp_path / "p", *source, "--segment")
    with pytest.raises(UsageError, match="no such channel"):
        profile("init", tmp_path / "p", *source, "--segment", "--nuclei-channel", "DNA")
    profile("init", tmp_path / "p", *source, "--segment", "--nuclei-channel", "ER")
    project = open_project(tmp_path / "p")
    labels = read_labels(tmp_path / "p" / "inputs" / "outlines" / "P1" / "A02-1.tif")
    assert labels.max() == len(project.locations(0)) == 6


def test_parsing():
    assert parse_channels("DNA, ER", numbered=True) == {"1": "DNA", "2": "ER"}
    assert parse_channels("2=DNA,1=ER", numbered=True) == {"2": "DNA", "1": "ER"}
    assert parse_channels("w1=DNA,ER", numbered=False) == {"w1": "DNA", "ER": "ER"}
    design = parse_design(["n_plates=1,effect=2", "shape=128x256"])
    assert (design.n_plates, design.n_batches, design.effect) == (1, 1, 2.0)
    assert design.shape == (128, 256)
