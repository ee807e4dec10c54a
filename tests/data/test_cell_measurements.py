"""Hand-crafted features: values by hand and by scikit-image, invariances, what is missing."""

import numpy as np
import pytest
from skimage import draw, feature, filters, measure

from cellml.data.cell_measurements import measure_cells, measurement_names, nucleus_channel
from cellml.data.cell_measurements_intensity import NAMES as INTENSITY
from cellml.data.cell_measurements_intensity import (
    correlation_measurements,
    intensity_measurements,
    radial_measurements,
)
from cellml.data.cell_measurements_objects import fill_holes, find_objects, otsu_thresholds
from cellml.data.cell_measurements_shape import NAMES as SHAPE
from cellml.data.cell_measurements_shape import shape_measurements
from cellml.data.cell_measurements_texture import (
    HARALICK,
    LEVELS,
    cooccurrences,
    granularity_measurements,
    grey_levels,
    haralick,
)

SIDE = 48
CHANNELS = ("ER", "DNA")


def _ellipse(y: float = 22.0, x: float = 26.0, a: float = 15.0, b: float = 9.0) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[draw.ellipse(y, x, a, b, (SIDE, SIDE), rotation=0.4)] = True
    return mask


def _crops(n: int = 3, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cells of different sizes, a bright nucleus in the second channel; a neighbour beside."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(500, 900, (n, SIDE, SIDE, 2))
    masks = np.zeros((n, SIDE, SIDE), bool)
    for i in range(n):
        masks[i] = _ellipse(24, 25, 13 + 1.5 * i, 9 + i)
        nucleus = _ellipse(25, 23, 6, 4)
        pixels[i, masks[i], 0] += 3000 + 400 * i
        pixels[i, nucleus, 1] += 6000
        other = _ellipse(25, 46, 6, 4)
        pixels[i, other, 1] += 7000
        pixels[i, _ellipse(24, 48, 9, 7) & ~masks[i], 0] += 3000
    pixels += rng.normal(0, 60, pixels.shape)
    return np.clip(pixels, 0, 65535).astype(np.uint16), masks


def _shape(mask: np.ndarray) -> dict[str, float]:
    return dict(zip(SHAPE, shape_measurements(mask[None])[0].tolist(), strict=True))


def test_shape_is_that_of_scikit_image():
    mask = _ellipse()
    mask[20:23, 24:27] = False  # a hole
    found, region = _shape(mask), measure.regionprops(mask.astype(np.uint8))[0]
    assert found["Area"] == region.area
    assert found["Perimeter"] == pytest.approx(region.perimeter_crofton)
    assert found["EulerNumber"] == region.euler_number == 0
    assert found["Extent"] == pytest.approx(region.extent)
    assert found["EquivalentDiameter"] == pytest.approx(region.equivalent_diameter_area)
    assert found["MajorAxisLength"] == pytest.approx(region.axis_major_length)
    assert found["MinorAxisLength"] == pytest.approx(region.axis_minor_length)
    assert found["Eccentricity"] == pytest.approx(region.eccentricity)
    hu = np.array([found[f"HuMoment_{i}"] for i in range(1, 8)])
    expected = np.sign(region.moments_hu) * np.log10(1 + 1e6 * np.abs(region.moments_hu))
    np.testing.assert_allclose(hu, expected, atol=1e-6)


def test_shape_by_hand():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:14, 5:25] = True
    found = _shape(mask)
    assert found["ConvexArea"] == found["Area"] == 80
    assert found["Solidity"] == found["Extent"] == 1
    assert found["MaxFeretDiameter"] == pytest.approx(np.hypot(4, 20))
    assert (found["BoundingBoxHeight"], found["BoundingBoxWidth"]) == (4, 20)
    assert found["MajorAxisLength"] == pytest.approx(4 * np.sqrt((20**2 - 1) / 12))
    dot = np.zeros((SIDE, SIDE), bool)
    dot[3, 3] = True
    assert np.isfinite(list(_shape(dot).values())).all()
    assert np.isnan(list(_shape(np.zeros_like(dot)).values())).all()


def test_intensity_by_naive_statistics():
    pixels, masks = _crops()
    planes = np.moveaxis(pixels, -1, 1).astype(np.float32) / 65535
    found = intensity_measurements(planes, masks).reshape(3, 2, len(INTENSITY))
    values = planes[1, 0][masks[1]].astype(np.float64)
    one = dict(zip(INTENSITY, found[1, 0], strict=True))
    assert one["IntegratedIntensity"] == pytest.approx(values.sum())
    assert one["StdIntensity"] == pytest.approx(values.std(), rel=1e-5)
    assert one["LowerQuartileIntensity"] == pytest.approx(np.quantile(values, 0.25), rel=1e-5)
    mad = np.median(np.abs(values - np.median(values)))
    assert one["MADIntensity"] == pytest.approx(mad, rel=1e-4)
    y, x = np.nonzero(masks[1])
    shift = np.average(y, weights=values) - y.mean(), np.average(x, weights=values) - x.mean()
    assert one["MassDisplacement"] == pytest.approx(np.hypot(*shift), abs=1e-4)
    edge = [
        planes[1, 0, i, j]
        for i, j in zip(y, x, strict=True)
        if not all(masks[1, i + a, j + b] for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    ]
    assert one["MeanIntensityEdge"] == pytest.approx(np.mean(edge), rel=1e-5)


def test_correlation_by_numpy_and_flat_channels():
    pixels, masks = _crops()
    planes = np.moveaxis(pixels, -1, 1).astype(np.float32) / 65535
    found = correlation_measurements(planes, masks, manders=True)
    a, b = (planes[2, c][masks[2]].astype(np.float64) for c in (0, 1))
    assert found[2, 0] == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert found[2, 1] == pytest.approx(a[b > 0.15 * b.max()].sum() / a.sum())
    assert found[2, 2] == pytest.approx(b[a > 0.15 * a.max()].sum() / b.sum())
    planes[0, 0] = 0.1
    assert correlation_measurements(planes, masks, manders=False)[0, 0] == 0


def test_rings_of_a_flat_disc_and_of_a_bright_middle():
    y, x = np.mgrid[:SIDE, :SIDE]
    cell = (y - 24) ** 2 + (x - 24) ** 2 <= 20**2
    nucleus = (y - 24) ** 2 + (x - 24) ** 2 <= 4**2
    planes = np.full((1, 2, SIDE, SIDE), 0.5, np.float32)
    planes[0, 1, nucleus] = 1
    found = radial_measurements(planes, cell[None], nucleus[None]).reshape(2, 3, 4)
    np.testing.assert_allclose(found[:, 0].sum(1), 1)
    np.testing.assert_allclose(found[0, 1], 1)
    np.testing.assert_allclose(found[0, 2], 0, atol=1e-6)
    area = np.diff([0, 5**2, 10**2, 15**2, 20**2]) / 20**2
    np.testing.assert_allclose(found[0, 0], area, atol=0.04)
    assert found[1, 1, 0] > 1.4
    assert found[1, 1, 3] < 1


def test_texture_is_that_of_scikit_image():
    rng = np.random.default_rng(3)
    levels = rng.integers(0, LEVELS, (1, 1, 9, 11 - 2)).astype(np.int32)
    counts = cooccurrences(levels, np.ones((1, 9, 9), bool), distance=2)[0, 0]
    offsets = [(0, 2), (2, 0), (2, 2), (2, -2)]
    naive = np.zeros((LEVELS, LEVELS), np.int64)
    for i, j in np.ndindex(9, 9):
        for a, b in offsets:
            if i + a < 9 and 0 <= j + b < 9:
                naive[levels[0, 0, i, j], levels[0, 0, i + a, j + b]] += 1
    np.testing.assert_array_equal(counts, naive + naive.T)
    values = haralick(counts[None].astype(float))[0].tolist()
    found: dict[str, float] = dict(zip(HARALICK, values, strict=True))
    table = (counts / counts.sum())[:, :, None, None]
    for ours, theirs in [
        ("Contrast", "contrast"),
        ("AngularSecondMoment", "ASM"),
        ("InverseDifferenceMoment", "homogeneity"),
        ("Correlation", "correlation"),
    ]:
        expected = feature.graycoprops(table, theirs)[0, 0]
        assert found[ours] == pytest.approx(expected), ours
    p = table[..., 0, 0]
    i, j = np.indices(p.shape)
    assert found["Entropy"] == pytest.approx(-(p[p > 0] * np.log2(p[p > 0])).sum())
    assert found["SumAverage"] == pytest.approx((p * (i + j)).sum())
    assert found["SumVariance"] == pytest.approx((p * (i + j - (p * (i + j)).sum()) ** 2).sum())
    px = p.sum(1)
    outer = np.outer(px, px)
    hxy1 = -(p[p > 0] * np.log2(outer[p > 0])).sum()
    hx = -(px[px > 0] * np.log2(px[px > 0])).sum()
    assert found["InfoMeas1"] == pytest.approx((found["Entropy"] - hxy1) / hx)


def test_pairs_count_within_the_mask_only():
    levels = np.zeros((2, 1, 8, 8), np.int32)
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 0, :4] = True  # pairs along the row alone
    masks[1, 7, 7] = True
    counts = cooccurrences(levels, masks, distance=1)
    assert counts[0].sum() == 2 * 3
    assert counts[1].sum() == 0
    assert np.isnan(haralick(counts[1].astype(float))).all()
    assert not np.isnan(haralick(counts[0].astype(float))).any()


def test_grey_levels_know_nothing_of_gain_and_background():
    pixels, masks = _crops()
    planes = np.moveaxis(pixels, -1, 1).astype(np.float32) / 65535
    levels = grey_levels(planes, masks)
    moved = grey_levels(planes * np.float32(2) + np.float32(0.125), masks)
    assert (levels != moved)[masks[:, None].repeat(2, 1)].mean() < 0.01
    assert levels[masks[:, None].repeat(2, 1)].std() > 3
    flat = grey_levels(np.full_like(planes, 0.3), masks)
    assert set(flat[:, 0][masks].tolist()) == {LEVELS // 2}


def test_granularity_finds_the_size_of_grains():
    planes = np.zeros((1, 2, 64, 64), np.float32)
    planes[0, 0, 8::16, 8::16] = 1  # single pixels: gone with the first opening
    for y in range(4, 60, 16):
        for x in range(4, 60, 16):
            planes[0, 1, y : y + 10, x : x + 10] = 1  # squares of 5 at half the size
    found = granularity_measurements(planes, np.ones((1, 64, 64), bool)).reshape(2, 8)
    assert found[0, 0] == pytest.approx(100)
    assert found[1].argmax() == 2  # the opening by 7
    assert found[1, 2] == pytest.approx(100)


def test_otsu_is_that_of_scikit_image():
    pixels, masks = _crops()
    plane = pixels[..., 1].astype(np.float32)
    found = otsu_thresholds(plane, masks)
    for i in range(3):
        values = plane[i][masks[i]]
        expected = filters.threshold_otsu(values, nbins=256)
        width = np.ptp(values) / 256
        assert abs(found[i] - expected) <= 1.01 * width  # theirs is the bin's centre
    masks[1] = False
    assert np.isinf(otsu_thresholds(plane, masks)[1])
    assert (otsu_thresholds(np.full_like(plane, 3), masks) >= 3).all()


def test_holes_are_filled_plane_by_plane():
    stack = np.zeros((2, 9, 9), bool)
    stack[0, 2:7, 2:7] = True
    stack[0, 4, 4] = False
    stack[1, 0:5, 0:5] = True
    stack[1, 0, 2] = False  # open to the border
    filled = fill_holes(stack)
    assert filled[0].sum() == 25
    np.testing.assert_array_equal(filled[1], stack[1])


def test_nucleus_and_cell_are_found():
    pixels, masks = _crops()
    planes = np.moveaxis(pixels, -1, 1).astype(np.float32) / 65535
    nucleus = _ellipse(25, 23, 6, 4)
    for given in (masks, None):
        found = find_objects(planes, given, nucleus=1)
        for i in range(3):
            union = (found.nuclei[i] | nucleus).sum()
            assert (found.nuclei[i] & nucleus).sum() / union > 0.75
            assert (found.cells[i] & masks[i]).sum() / (found.cells[i] | masks[i]).sum() > 0.7
            assert not (found.nuclei[i] & ~found.cells[i]).any()
        np.testing.assert_array_equal(found.cytoplasm, found.cells & ~found.nuclei)


def test_features_do_not_depend_on_company_or_dtype():
    pixels, masks = _crops(19)
    names, together = measure_cells(pixels, masks, CHANNELS)
    assert len(names) == len(set(names)) == together.shape[1]
    assert names == measurement_names(CHANNELS)
    assert np.isfinite(together).all()
    alone = measure_cells(pixels[18:], masks[18:], CHANNELS)[1]
    np.testing.assert_allclose(alone[0], together[18], rtol=1e-5, atol=1e-6)
    bytes_ = (pixels >> 8).astype(np.uint8)
    as_words = bytes_.astype(np.uint16) * 257
    np.testing.assert_allclose(
        measure_cells(bytes_[:2], masks[:2], CHANNELS)[1],
        measure_cells(as_words[:2], masks[:2], CHANNELS)[1],
        rtol=1e-4,
        atol=1e-5,
    )


def test_most_features_survive_a_quarter_turn():
    pixels, masks = _crops(2)
    names, found = measure_cells(pixels, masks, CHANNELS)
    turned = np.ascontiguousarray(np.rot90(pixels, axes=(1, 2)))
    after = measure_cells(turned, np.ascontiguousarray(np.rot90(masks, axes=(1, 2))), CHANNELS)[1]
    same = np.asarray(np.isclose(found, after, rtol=1e-3, atol=1e-5).all(0))
    changed = [name for name, equal in zip(names, same.tolist(), strict=True) if not equal]
    # height and width change places; a pixel in the very centre belongs to no wedge
    fitting = ("BoundingBox", "RadialCV_ER_1of4", "RadialCV_DNA_1of4")
    assert all(any(part in name for part in fitting) for name in changed), changed


def test_no_cell_no_features():
    pixels, masks = _crops(3)
    masks[1] = False
    pixels[2] = 700  # flat: a cell, but no nucleus in it
    names, found = measure_cells(pixels, masks, CHANNELS)
    assert np.isnan(found[1]).all()
    cells = np.array([n.startswith("Cells") and "Nucleus" not in n for n in names])
    nuclei = np.array([n.startswith("Nuclei") for n in names])
    assert np.isfinite(found[2, cells]).all()
    assert np.isnan(found[2, nuclei]).all()
    assert np.isnan(measure_cells(np.zeros_like(pixels), None, CHANNELS)[1]).all()
    none = measure_cells(pixels[:0], masks[:0], CHANNELS)[1]
    assert none.shape == (0, len(names))
    assert measure_cells(pixels[:0], None, CHANNELS)[1].shape == (0, len(names))


def test_channels_and_masks_have_to_fit():
    pixels, masks = _crops(2)
    with pytest.raises(ValueError, match="2 channels found"):
        measure_cells(pixels, masks, ("DNA",))
    with pytest.raises((ValueError, TypeError), match="masks"):  # jaxtyping's, with its hook
        measure_cells(pixels, masks[:1], CHANNELS)
    assert nucleus_channel(("ER", "OrigDNA")) == 1
    assert nucleus_channel(("a", "b")) == 0
