"""DeepProfiler projects: what is read, and that every mistake is named with its place."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from cellml.data.painting_config import check_config
from cellml.data.painting_files import read_outlines
from cellml.data.painting_project import open_project
from cellml.data.text_tables import read_text_table
from cellml.data.wells import normalise_well, well_name, well_position
from cellml.errors import UserError
from tests.data.painting import CENTRES, CHANNELS, FIELDS, config, field_image, write_project


def test_a_project_is_read_as_it_is(tmp_path):
    project = open_project(write_project(tmp_path))
    assert project.channels == CHANNELS
    assert project.index["plate"].to_pylist() == ["007", "007", "007", "P-2", "P-2"]
    assert project.index["well"].to_pylist() == ["A01", "A01", "B03", "A01", "C12"]
    assert project.index["treatment"].to_pylist() == [field[3] for field in FIELDS]
    assert project.index["Split"].to_pylist() == ["00", "01", "02", "03", "04"]
    assert project.controls().tolist() == [True, True, False, True, False]
    assert project.metadata_columns == ("Treatment", "Split")
    assert project.plates == ("007", "P-2")
    assert project.plate_rows("P-2") == [3, 4]
    for row in range(len(project)):
        np.testing.assert_array_equal(project.image(row), field_image(row))
    np.testing.assert_allclose(project.locations(0), np.asarray(CENTRES, np.float32))
    assert len(project.locations(1)) == 2
    assert project.outlines(0) is None
    assert project.column("Metadata_Plate") == project.column("plate")
    with pytest.raises(UserError, match="did you mean 'Split'"):
        project.column("Splitt")


def test_locations_may_carry_normalised_wells(tmp_path):
    write_project(tmp_path)
    folder = tmp_path / "inputs" / "locations" / "007"
    (folder / "a1-1-Nuclei.csv").rename(folder / "A01-1-Nuclei.csv")
    assert len(open_project(tmp_path).locations(0)) == 3


def test_no_labels_are_needed_to_look(tmp_path):
    sections = config()
    del sections["dataset"]["metadata"]
    project = open_project(write_project(tmp_path, **sections))
    assert project.index["treatment"].null_count == len(FIELDS)
    assert not project.controls().any()
    with pytest.raises(UserError, match=r"for 'export': dataset\.metadata\.label_field is missing"):
        project.settings("export")


def test_without_control_value_a_treatment_called_none_is_no_control(tmp_path):
    root = write_project(tmp_path)
    index = root / "inputs" / "metadata" / "index.csv"
    index.write_text(index.read_text().replace("DMSO", "None"))
    path = root / "inputs" / "config" / "config.json"
    text = path.read_text()
    path.write_text(text.replace('"DMSO"', '["None", 3]'))
    assert open_project(root).controls().tolist() == [True, True, False, True, False]
    assert open_project(root).control_values == ("None", "3")
    path.write_text(text.replace('"DMSO"', "null"))
    assert not open_project(root).controls().any()


def test_outlines_become_labels(tmp_path):
    outline = np.zeros((20, 30), np.uint8)
    outline[3:12, 4:14] = 1
    outline[4:11, 5:13] = 0
    Image.fromarray(outline).save(tmp_path / "outline.png")
    labels = read_outlines(tmp_path / "outline.png")
    assert labels[0, 0] == 1
    assert (labels[4:11, 5:13] == 2).all()
    assert (labels[outline == 1] == 0).all()
    Image.fromarray(outline * 255).save(tmp_path / "white.png")
    np.testing.assert_array_equal(read_outlines(tmp_path / "white.png"), labels)
    tifffile.imwrite(tmp_path / "labels.tif", outline.astype(np.uint16) * 9)
    assert set(np.unique(read_outlines(tmp_path / "labels.tif"))) == {0, 9}


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Metadata_Well", "Metadata_Wel", r"index.csv: no column 'Metadata_Well'.*Metadata_Wel'"),
        ("Treatment", "treatment", r"no column 'Treatment' \(did you mean 'treatment'"),
        ("DNA", "DAPI", "no column 'DNA'"),
        ("007,B03", "007,B3x", r"index.csv, line 4: 'B3x' is no well"),
        ("007,a1,2", "007,A1,1", r"line 3: plate 007, well A01, site 1 is also on line 2"),
        ("007,a1,2", ",a1,2", r"line 3: no plate"),
        ("P-2/a1_s1_w1.tif,", ",", r"line 5: no image of channel 'DNA'"),
        (",DMSO,00", ",DMSO", r"line 2: 6 values found, 7 expected"),
    ],
)
def test_mistakes_of_an_index_are_named(tmp_path, old, new, message):
    write_project(tmp_path)
    edit(tmp_path / "inputs" / "metadata" / "index.csv", old, new)
    with pytest.raises(UserError, match=message):
        open_project(tmp_path)


def test_mistakes_of_files_are_named(tmp_path):
    project = open_project(write_project(tmp_path))
    where = r"\(row 2 of the index: plate 007, well B03, site 1"
    folder = tmp_path / "inputs" / "images" / "007"
    tifffile.imwrite(folder / "B03_s1_w2.tif", np.zeros((41, 52), np.uint16))
    with pytest.raises(
        UserError, match=f"41 x 52 px of uint16 found, 41 x 53 px.*{where}, channel"
    ):
        project.image(2)
    (folder / "B03_s1_w1.tif").unlink()
    with pytest.raises(UserError, match=f"no such image {where}, channel DNA"):
        project.image(2)
    locations = project.locations_file(2)
    edit(locations, "50.75", "nan")
    with pytest.raises(UserError, match="line 3: Nuclei_Location_Center_X is 'nan'"):
        project.locations(2)
    edit(locations, "Nuclei_Location_Center_Y", "Y")
    with pytest.raises(UserError, match="no column 'Nuclei_Location_Center_Y'"):
        project.locations(2)
    locations.unlink()
    with pytest.raises(UserError, match=f"no locations {where}.*cellml segment --locations"):
        project.locations(2)
    tifffile.imwrite(folder / "a1_s1_w1.tif", np.zeros((41, 53, 3), np.uint8), photometric="rgb")
    with pytest.raises(UserError, match="3 channels found, one grey image expected"):
        project.image(0)


def test_the_right_configuration_has_to_be_found(tmp_path):
    write_project(tmp_path)
    folder = tmp_path / "inputs" / "config"
    (folder / "other.json").write_text("[]")
    with pytest.raises(UserError, match=r"config.json, other.json found; name one"):
        open_project(tmp_path)
    assert len(open_project(tmp_path, config="config.json")) == 5
    with pytest.raises(UserError, match="an object with the sections"):
        open_project(tmp_path, config="other.json")
    (folder / "other.json").write_text("{")
    with pytest.raises(UserError, match="no JSON"):
        open_project(tmp_path, config="other.json")
    with pytest.raises(UserError, match="a folder with 'inputs' expected"):
        open_project(tmp_path / "nowhere")


def check(command, given, tmp_path):
    return check_config(given, command, source=tmp_path / "c.json")


def test_a_schema_asks_for_its_own_command_only(tmp_path):
    given = config()
    del given["prepare"]
    assert check("embed", given, tmp_path)["profile.feature_layer"] == "block6a_activation"
    assert check("export", given, tmp_path)["dataset.locations.box_size"] == 16
    given["train"] = {"modle": {"epochs": 3}}
    check("embed", given, tmp_path)  # a mistake in another command's section does not matter
    with pytest.raises(
        UserError, match=r"unknown key train.modle.epochs \(did you mean train.model"
    ):
        check("train", given, tmp_path)


def test_all_faults_of_a_configuration_come_at_once(tmp_path):
    given = config(profil={}, train={"model": {"epochs": "30", "params": {"learning_rat": 0.1}}})
    del given["dataset"]["images"]["channels"]
    given["dataset"]["locations"]["box_size"] = True
    with pytest.raises(UserError) as caught:
        check("train", given, tmp_path)
    message = str(caught.value)
    for part in (
        "c.json, for 'train'",
        "unknown section 'profil' (did you mean profile?)",
        "train.model.params.learning_rat (did you mean train.model.params.learning_rate?)",
        "dataset.images.channels is missing",
        'train.model.epochs is "30", a whole number above 0 expected',
        "dataset.locations.box_size is true",
    ):
        assert part in message
    assert "\n" not in message


def test_published_configurations_pass(tmp_path):
    given = json.loads(PUBLISHED)
    for command in ("read", "prepare", "export", "train", "embed"):
        check(command, given, tmp_path)
    assert check("embed", given, tmp_path)["profile.checkpoint"] is None


PUBLISHED = """{"dataset": {"metadata": {"label_field": "pert_name", "control_value": "DMSO_0.0"},
"images": {"channels": ["DNA", "RNA", "ER", "AGP", "Mito"], "file_format": "tif", "bits": 16,
"width": 1080, "height": 1080}, "locations": {"mode": "single_cells", "box_size": 128,
"area_coverage": 0.75, "mask_objects": false}}, "prepare": {"illumination_correction":
{"down_scale_factor": 4, "median_filter_size": 24}, "compression": {"implement": true,
"scaling_factor": 1.0}, "outlines": "available"}, "profile": {"use_pretrained_input_size": 224,
"feature_layer": "block6a_activation", "checkpoint": "None", "batch_size": 8}, "train":
{"partition": {"targets": ["pert_name"], "split_field": "val", "training": [0], "validation": [1]},
"model": {"name": "efficientnet", "crop_generator": "repeat_channel_crop_generator", "metrics":
["accuracy", "top_k"], "epochs": 100, "initialization": "ImageNet", "params": {"learning_rate":
0.005, "batch_size": 64, "conv_blocks": 0, "feature_dim": 256, "label_smoothing": 0, "pooling":
"avg"}, "lr_schedule": "cosine"}, "sampling": {"factor": 1, "workers": 4, "cache_size": 15000},
"validation": {"frequency": 2, "top_k": 5, "batch_size": 32, "frame": "val", "sample_first_crops":
true}}}"""
"""The keys of the configurations published with the Cell Painting CNN."""


def test_wells_have_one_name():
    assert {normalise_well(name) for name in ("a1", "A1", "a01", "A01", " A001")} == {"A01"}
    assert normalise_well("af48") == "AF48"
    assert well_position("B03") == (1, 2)
    assert [well_name(25, 0), well_name(26, 9)] == ["Z01", "AA10"]
    for row in range(32):
        for column in range(48):
            assert well_position(well_name(row, column)) == (row, column)
    for wrong in ("A0", "A49", "AG01", "1A", "", "A1b", "BA01"):
        with pytest.raises(ValueError, match="is no well"):
            normalise_well(wrong)


def test_text_tables_stay_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\ufeffa\tb\n007\t 1,5 \n\nNA\t\n", encoding="utf-8")
    table = read_text_table(path)
    assert table.to_pydict() == {"a": ["007", "NA"], "b": ["1,5", ""]}
    path.write_text("a,a\n1,2\n")
    with pytest.raises(UserError, match="'a' occurs more than once"):
        read_text_table(path)
    path.write_text("")
    with pytest.raises(UserError, match="empty, a header"):
        read_text_table(path)
    path.write_bytes(b"a,b\n\xff\xfe,2\n")
    with pytest.raises(UserError, match="cannot be read as a text table"):
        read_text_table(path)
