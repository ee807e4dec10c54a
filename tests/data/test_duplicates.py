"""Near-duplicates: tiles, overlaps and turned copies of one field are found, strangers are not."""

import numpy as np
import pytest

from cellml.data.duplicates import find_relations, group_sizes, near_duplicate_groups
from cellml.data.nuclei_folders import list_cases, read_case
from cellml.data.simulation import simulate_field


def _field(seed, shape=(128, 160), modality="fluorescence"):
    image, _ = simulate_field(
        np.random.default_rng(seed),
        modality=modality,
        shape=shape,
        n_nuclei=shape[0] * shape[1] // 500,
        diameter_px=15.0,
        blur_px=1.5,
        photons=30_000.0,
    )
    return image


@pytest.fixture(scope="module")
def strangers():
    return [_field(seed) for seed in range(12)]


def test_unrelated_fields_stay_apart(strangers):
    ids = [f"s{row}" for row in range(len(strangers))]
    assert near_duplicate_groups(strangers, ids) == {name: name for name in ids}


@pytest.mark.parametrize("modality", ["fluorescence", "tissue"])
def test_tiles_of_a_field_are_joined(strangers, modality):
    field = _field(100, (256, 320), modality)
    tiles = [field[y : y + 128, x : x + 160] for y in (0, 128) for x in (0, 160)]
    relations = find_relations(tiles + (strangers if modality == "fluorescence" else []))
    assert {(r.first, r.second, r.kind) for r in relations} == {
        (0, 1, "right"),
        (2, 3, "right"),
        (0, 2, "below"),
        (1, 3, "below"),
    }


def test_overlapping_crops_are_joined(strangers):
    field = _field(101, (200, 256))
    crops = [field[:128, :160], field[37:165, 51:211]]
    relations = find_relations([*crops, *strangers])
    assert [(r.first, r.second, r.kind) for r in relations] == [(0, 1, "overlap")]
    assert relations[0].score > 0.95


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_turned_and_rescaled_copies_are_the_same_picture(strangers, turns, transpose):
    original = strangers[0]
    copy = np.rot90(original.swapaxes(0, 1) if transpose else original, turns)
    copy = (copy.astype(np.uint16) * 90 + 700).astype(np.uint16)  # 16 bit, another gain and offset
    relations = find_relations([copy, *strangers[1:4], original])
    assert {(r.first, r.second) for r in relations if r.kind == "picture"} == {(0, 4)}


def test_representative_is_the_smallest_id_whatever_the_order(strangers):
    field = _field(102, (256, 160))
    images = {"b": field[:128], "z": field[128:], "a": strangers[0], "m": strangers[1]}
    expected = {"a": "a", "b": "b", "m": "m", "z": "b"}
    for order in (["b", "z", "a", "m"], ["m", "a", "z", "b"]):
        assert near_duplicate_groups([images[name] for name in order], order) == expected


def test_empty_and_blank_images_are_no_duplicates_of_each_other():
    assert near_duplicate_groups([], []) == {}
    blank = [np.zeros((64, 64), np.uint8), np.full((64, 64, 3), 7, np.uint8)]
    assert near_duplicate_groups(blank, ["a", "b"]) == {"a": "a", "b": "b"}


def test_repeated_id_is_named(strangers):
    with pytest.raises(ValueError, match="'a' occurs twice"):
        near_duplicate_groups(strangers[:3], ["a", "b", "a"])


def test_group_sizes():
    assert group_sizes({"a": "a", "b": "a", "c": "c", "d": "a"}).tolist() == [3, 1]


def test_tiles_in_dsb2018(shared_data):
    """Adjacent tiles among the stained tissue, looked at one by one."""
    cases = list_cases(shared_data / "segmentation" / "dsb2018_train")
    images = [read_case(case).image for case in cases if case.modality == "tissue"]
    relations = find_relations(images)
    kinds = [relation.kind for relation in relations]
    # 90 images in 28 fields: a change of this number moves images between the halves of splits.
    assert (len(images), kinds.count("below") + kinds.count("right")) == (90, 74)
