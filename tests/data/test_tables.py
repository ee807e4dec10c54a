"""Sums and rows of the nuclei table, against skimage's regionprops and by hand."""

import numpy as np
import pytest
from skimage.measure import regionprops

from cellml.data.tables import merge_sums, nuclei_table, object_sums, table_schema


@pytest.fixture
def scene():
    generator = np.random.default_rng(5)
    labels = np.zeros((20, 31), np.int32)
    labels[0:4, 3:9] = 1
    labels[7:12, 5:6] = 2
    labels[10:19, 12:30] = 3
    labels[13:15, 12:17] = 0
    pixels = generator.integers(0, 60000, (20, 31, 2)).astype(np.uint16)
    probability = generator.uniform(0, 1, (20, 31)).astype(np.float32)
    votes = generator.uniform(0, 1, (4, 20, 31)) > 0.45
    return labels, pixels, probability, votes


def sums_of(scene, rows=slice(None)):
    labels, pixels, probability, votes = scene
    return object_sums(
        labels[rows],
        pixels[rows],
        probability[rows],
        votes[:, rows],
        count=3,
        origin=(rows.start or 0, 0),
        image_shape=labels.shape,
    )


def test_rows_agree_with_regionprops(scene):
    labels, pixels, probability, votes = scene
    table = nuclei_table("field", sums_of(scene)).to_pylist()
    assert len(table) == 3
    for row, region in zip(table, regionprops(labels, pixels), strict=True):
        assert row["label"] == region.label
        assert row["image"] == "field"
        np.testing.assert_allclose([row["centroid_y_px"], row["centroid_x_px"]], region.centroid)
        assert row["area_px"] == region.area
        assert row["equivalent_diameter_px"] == pytest.approx(region.equivalent_diameter_area)
        intensities = [row["mean_intensity_1"], row["mean_intensity_2"]]
        np.testing.assert_allclose(intensities, region.intensity_mean)
        mask = labels == region.label
        assert row["mean_probability"] == pytest.approx(probability[mask].mean(), rel=1e-6)
        assert row["vote_share"] == np.mean([v[mask].mean() > 0.5 for v in votes])
    assert [row["touches_border"] for row in table] == [True, False, False]


def test_vote_share_is_missing_without_augmentation(scene):
    labels, pixels, probability, votes = scene
    table = nuclei_table("a", sums_of((labels, pixels, probability, votes[:0])))
    assert table["vote_share"].null_count == 3


def test_parts_add_up_and_dropped_labels_vanish(scene):
    # rows 0..9 and 10..19; object 2 lies in both, object 1 is dropped
    parts = [sums_of(scene, slice(0, 10)), sums_of(scene, slice(10, 20))]
    whole = sums_of(scene)
    merged = merge_sums(parts, np.array([0, 0, 1, 2, 0, 1, 2]))
    for found, expected in zip(merged, whole, strict=True):
        np.testing.assert_allclose(found, expected[1:])


def test_image_without_nuclei_gives_an_empty_table_with_all_columns(scene):
    _, pixels, probability, votes = scene
    sums = object_sums(
        np.zeros((20, 31), np.int32),
        pixels,
        probability,
        votes,
        count=0,
        origin=(0, 0),
        image_shape=(20, 31),
    )
    table = nuclei_table("empty", merge_sums([sums], np.array([0])))
    assert table.num_rows == 0
    assert table.schema.equals(table_schema(2))


def test_values_of_merged_objects_are_weighted_by_area_over_the_parts(scene):
    labels, pixels, probability, votes = scene
    parts = []
    for rows, values in (
        (slice(0, 10), [[0.5, 0.1], [1.0, 0.0], [0.0, 0.0]]),
        (slice(10, 20), [[0.0, 0.0], [0.5, 0.2], [0.75, 0.3], [9.0, 9.0]]),  # a vanished label
    ):
        parts.append(
            object_sums(
                labels[rows], pixels[rows], probability[rows], votes[:0, rows],
                count=3, origin=(rows.start, 0), image_shape=labels.shape,
                objects=np.array(values),
            )
        )  # fmt: skip
    table = nuclei_table("a", merge_sums(parts, np.array([0, 1, 2, 3, 0, 2, 3])))
    assert table.schema.equals(table_schema(2, merged_objects=True))
    # object 2 has 3 of its 5 pixels in the upper part
    np.testing.assert_allclose(np.array(table["vote_share"]), [0.5, (3 + 2 * 0.5) / 5, 0.75])
    distance = np.array(table["mean_jaccard_distance"])
    np.testing.assert_allclose(distance, [0.1, 2 * 0.2 / 5, 0.3])


def test_wrong_counts_are_refused(scene):
    labels, pixels, probability, votes = scene
    with pytest.raises(ValueError, match="label 3 found"):
        object_sums(
            labels, pixels, probability, votes, count=2, origin=(0, 0), image_shape=(20, 31)
        )
    with pytest.raises(ValueError, match="objects has 2 rows, expected at least 3"):
        object_sums(
            labels, pixels, probability, votes,
            count=3, origin=(0, 0), image_shape=(20, 31), objects=np.zeros((2, 2)),
        )  # fmt: skip
    with pytest.raises(ValueError, match="lookup"):
        merge_sums([sums_of(scene)], np.array([0, 1]))
    labels[labels == 2] = 0
    with pytest.raises(ValueError, match="label 2 has no pixel"):
        nuclei_table("field", sums_of(scene))
