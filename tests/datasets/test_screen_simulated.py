"""The data set of simulated screens: what is stored is what is rendered."""

import dataclasses

import numpy as np
import pytest

from cellml import datasets
from cellml.data.screen_simulation import (
    ScreenDesign,
    field_id,
    list_wells,
    simulate_screen_field,
)
from cellml.errors import UserError

DESIGN = ScreenDesign(
    mechanisms=("er_stress",),
    n_per_mechanism=1,
    n_inactive=1,
    n_plates=2,
    n_rows=2,
    n_columns=2,
    n_sites=2,
    shape=(64, 80),
    n_cells=3,
    cell_diameter_px=30.0,
)
# Lists, as a config file gives them.
SETTINGS = dataclasses.asdict(DESIGN) | {"mechanisms": ["er_stress"], "shape": [64, 80]}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def _load(data_dir, split="all", **settings):
    settings = SETTINGS | settings
    return datasets.load_source("screen_simulated", split, data_dir=data_dir, **settings)


def test_round_trip(data_dir):
    source = _load(data_dir)
    fields = [(well, site) for well in list_wells(DESIGN) for site in (1, 2)]
    assert source.ids == [field_id(well, site) for well, site in fields]
    for record, case, (well, site) in zip(source, source.cases, fields, strict=True):
        field = simulate_screen_field(DESIGN, well, site)
        assert record["image"].dtype == record["labels"].dtype == np.uint16
        np.testing.assert_array_equal(record["image"], field.image)
        np.testing.assert_array_equal(record["labels"], field.labels)
        np.testing.assert_array_equal(record["nuclei"], field.nuclei)
        np.testing.assert_array_equal(record["centres"], field.centres.astype(np.float32))
        truth = {
            "plate": well.plate,
            "well": well.well,
            "site": str(site),
            "batch": well.batch,
            "treatment": well.treatment.name,
            "mechanism": well.treatment.mechanism,
            "role": well.treatment.role,
            "strength": well.treatment.strength,
        }
        assert {name: record[name] for name in truth} == truth
        assert {name: case[name] for name in truth} == truth
        assert case["n_cells"] == len(field.centres)
        assert (case["height"], case["width"]) == DESIGN.shape


def test_plates_are_splits(data_dir):
    plate = _load(data_dir, "plate/02002")
    assert len(plate) == 8
    assert {record["plate"] for record in plate} == {"02002"}
    assert plate[0]["id"] == "02002_A01_s1"


def test_every_setting_makes_a_data_set_of_its_own(data_dir):
    one, other = _load(data_dir), _load(data_dir, batch_effect=0.0)
    assert one.folder != other.folder
    assert (one[0]["image"] != other[0]["image"]).any()


@pytest.mark.parametrize(
    ("split", "options", "message"),
    [
        ("train", {}, "unknown split 'train' of screen_simulated; known are all, plate/01001"),
        ("all[tissue]", {}, "screen_simulated has no modalities"),
        ("all", {"colour": 1}, "screen_simulated: .*colour"),
        ("all", {"n_plates": 0}, "screen_simulated: n_plates must be at least 1"),
        ("all", {"manual_dir": "/nowhere"}, "it takes no manual_dir"),
    ],
)
def test_mistakes_are_named(tmp_path, split, options, message):
    with pytest.raises(UserError, match=message):
        _load(tmp_path, split, **options)
    assert not list(tmp_path.iterdir())
