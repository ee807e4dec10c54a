"""Parts of the assist without a network: windows, growing, fitting, and the simulated annotator."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from cellml.annotate.active_contour import fit_contour
from cellml.annotate.assist import around, mask_iou
from cellml.annotate.outlines import fill_polygons
from cellml.annotate.region_growing import contrast_map, grow_region, largest_piece
from cellml.annotate.simulated_annotator import (
    STROKES_MAX,
    LazyHand,
    count_strokes,
    lazy_contour,
)
from cellml.annotate.windows import (
    block_mean,
    choose_shrink,
    cut_view,
    enlarge_linear,
    make_prompt,
    model_channels,
)


def ellipse(shape=(60, 70), centre=(28.0, 33.0), radii=(11.0, 16.0)) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1


def ring_around(prompt: np.ndarray) -> np.ndarray:
    away = distance_transform_edt(~prompt)
    return (away > 1) & (away <= 9)


def test_block_mean_and_enlargement_by_hand():
    pixels = np.array([[1, 3, 5], [5, 7, 9]], np.uint8)[..., None]
    np.testing.assert_allclose(block_mean(pixels, 2)[..., 0], [[4, 7]])  # 5, 9 are repeated
    row = enlarge_linear(np.array([[0.0, 4.0]])[..., None], 2)[..., 0]
    np.testing.assert_allclose(row, [[0, 1, 3, 4], [0, 1, 3, 4]])
    assert enlarge_linear(np.ones((1, 1, 2)), 3).shape == (3, 3, 2)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_enlarging_undoes_nothing_that_block_mean_did_to_a_plane(factor):
    y, x = np.mgrid[:6, :7].astype(np.float32)
    plane = (2 * y + 3 * x)[..., None]
    back = block_mean(enlarge_linear(plane, factor), factor)
    np.testing.assert_allclose(back[1:-1, 1:-1], plane[1:-1, 1:-1], rtol=1e-5)


@pytest.mark.parametrize(("size", "shrink"), [(20, 1), (80, 1), (81, 2), (161, 3), (700, 9)])
def test_large_prompts_are_shrunk(size, shrink):
    prompt = make_prompt((2000, 2000), box=[100, 100, 100 + size, 100 + size])
    assert choose_shrink(prompt, 256) == shrink
    assert (size + 34) / shrink <= 256


@pytest.mark.parametrize("size", [50, 170])
def test_a_window_is_cut_and_restored_in_place(size):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (611, 733, 1), dtype=np.uint8)
    box = [420, 330, 420 + size, 330 + size // 2]
    prompt = make_prompt(image.shape, box=box)
    read = []

    def reader(y0, x0, y1, x1):
        read.append((y0, x0, y1, x1))
        return image[y0:y1, x0:x1]

    view = cut_view(reader, image.shape, prompt, side_px=128, channels=3, percentiles=(0.0, 100.0))
    assert read == [tuple(view.box)]
    assert view.image.shape == (128, 128, 3)
    expected = fill_polygons(prompt.polygons, image.shape[:2])[view.box.slices()]
    assert mask_iou(view.restore(view.prompt), expected) > 0.95
    if view.shrink == 1:
        np.testing.assert_allclose(
            view.image[: view.seen[0], : view.seen[1], :1] * 255, image[view.box.slices()], atol=3
        )


def test_channels_become_one_or_three():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (9, 8, 5), dtype=np.uint8)
    assert model_channels(pixels).shape == (9, 8, 1)
    np.testing.assert_array_equal(model_channels(pixels[..., :3]), pixels[..., :3])
    np.testing.assert_array_equal(model_channels(pixels, channel=4), pixels[..., 4:])
    # four channels of light are no RGBA
    assert model_channels(pixels[..., :4]).shape == (9, 8, 1)
    pixels[..., 3] = 255
    np.testing.assert_array_equal(model_channels(pixels[..., :4]), pixels[..., :3])
    # a dim stain counts as much as a bright one
    two = np.stack([pixels[..., 0].astype(np.uint16), pixels[..., 1].astype(np.uint16) * 200], -1)
    a, b = (model_channels(two[..., [i]] * 1.0 / 1) for i in (0, 1))
    a, b = (
        (c - np.percentile(c, 1)) / (np.percentile(c, 99.8) - np.percentile(c, 1)) for c in (a, b)
    )
    np.testing.assert_allclose(model_channels(two)[..., 0], (a + b)[..., 0] / 2, atol=0.02)


@pytest.mark.parametrize("contrast", [150, -150])
@pytest.mark.parametrize("fit", [grow_region, fit_contour])
def test_pixel_methods_find_bright_and_dark_objects(fit, contrast):
    truth = ellipse()
    rng = np.random.default_rng(0)
    image = (200 if contrast < 0 else 30) + contrast * truth + rng.normal(0, 12, truth.shape)
    prompt = fill_polygons(((tuple(lazy_contour(rng, truth)),),), truth.shape)
    likeness = contrast_map(image[..., None], prompt, ring_around(prompt))
    assert likeness[truth].mean() > 0.8
    assert abs(likeness[~truth].mean()) < 0.2
    found = fit(likeness, prompt, around(prompt))
    assert mask_iou(found, truth) > max(0.85, mask_iou(prompt, truth))
    assert not (found & ~around(prompt)).any()


@pytest.mark.parametrize("fit", [grow_region, fit_contour])
def test_pixel_methods_find_nothing_in_a_flat_image(fit):
    prompt = ellipse()
    likeness = contrast_map(np.full((*prompt.shape, 3), 5.0), prompt, ring_around(prompt))
    assert not likeness.any()
    assert not fit(likeness, prompt, around(prompt)).any()
    # and a prompt that fills the image has no surroundings
    everything = np.ones(prompt.shape, bool)
    assert not contrast_map(np.ones((*prompt.shape, 1)), everything, ~everything).any()


def test_growing_does_not_cross_a_bridge_of_one_pixel():
    image = np.zeros((40, 60))
    image[12:28, 6:26] = 1
    image[12:28, 34:54] = 1
    image[19, 26:34] = 1
    prompt = np.zeros(image.shape, bool)
    prompt[10:30, 4:32] = True
    found = grow_region(image.astype(np.float32), prompt, np.ones(image.shape, bool))
    assert found[20, 15]
    assert not found[:, 34:].any()


def test_largest_piece():
    mask = np.zeros((6, 9), bool)
    mask[0, :3] = mask[3:5, 4:8] = True
    np.testing.assert_array_equal(np.argwhere(largest_piece(mask)).min(axis=0), [3, 4])
    assert not largest_piece(np.zeros((3, 3), bool)).any()


def test_a_perfect_hand_draws_the_outline():
    truth = ellipse()
    hand = LazyHand(size=0.0, size_sd=0.0, offset=0.0, noise=0.0, tremor_px=0.0)
    contour = lazy_contour(np.random.default_rng(0), truth, hand)
    assert mask_iou(fill_polygons(((tuple(contour),),), truth.shape), truth) > 0.93


def test_a_lazy_hand_is_as_careless_as_it_says():
    truth = ellipse((140, 140), (70.0, 70.0), (20.0, 20.0))
    rng = np.random.default_rng(0)
    masks = [fill_polygons(((tuple(lazy_contour(rng, truth)),),), truth.shape) for _ in range(200)]
    radius = np.sqrt([m.sum() / truth.sum() for m in masks])
    assert abs(radius.mean() - 1.1) < 0.03
    assert 0.08 < radius.std() < 0.14
    middle = [np.argwhere(m).mean(axis=0) + 0.5 - 70 for m in masks]
    assert np.abs(np.mean(middle, axis=0)).max() < 0.6
    assert 0.05 * 40 < np.std(middle) < 0.09 * 40
    assert 0.6 < np.median([mask_iou(m, truth) for m in masks]) < 0.8
    with pytest.raises(ValueError, match="empty"):
        lazy_contour(rng, truth & False)


def test_strokes_by_hand():
    truth = np.zeros((9, 12), bool)
    truth[4, 1:11] = True
    found = truth.copy()
    found[4, 6:9] = False  # one stroke of radius 1 mends these three
    found[4, 11] = True  # and another takes this one away
    assert count_strokes(found, truth, goals=[0.6, 0.9, 1.0], radius_px=1.0) == [0, 1, 2]
    assert count_strokes(truth, truth, goals=[1.0]) == [0]
    # without an outline everything has to be painted: ten pixels, three a stroke
    assert count_strokes(truth & False, truth, goals=[0.25, 1.0], radius_px=1.0) == [1, 4]


def test_strokes_never_make_it_worse_and_larger_brushes_need_fewer():
    truth = ellipse()
    contour = lazy_contour(np.random.default_rng(3), truth)
    found = fill_polygons(((tuple(contour),),), truth.shape)
    goals = [0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
    fine, coarse = (count_strokes(found, truth, goals=goals, radius_px=r) for r in (2.0, 6.0))
    assert fine == sorted(fine)
    assert coarse == sorted(coarse)
    assert coarse[-1] < fine[-1] < STROKES_MAX
    with pytest.raises(ValueError, match="goals"):
        count_strokes(found, truth, goals=[1.2])
