"""The contour assist on simulated nuclei: prompts, methods, places, scales and kinds of images."""

import numpy as np
import pytest

from cellml.annotate.assist import (
    METHODS,
    WINDOW_PX,
    Assistant,
    NothingFoundError,
    best_fit,
    mask_iou,
)
from cellml.annotate.outlines import fill_polygons
from cellml.annotate.simulated_annotator import lazy_contour
from cellml.annotate.whole_image import label_whole_image
from cellml.data.simulation import simulate_field
from cellml.errors import UsageError, UserError
from cellml.experiment.model_predictors import make_predictor
from cellml.experiment.predictor import segment_pixels
from cellml.tasks.nucleus_models import from_segmenter


@pytest.fixture(scope="module")
def assistant() -> Assistant:
    return Assistant.load("nuclei")


@pytest.fixture(scope="module")
def field() -> tuple[np.ndarray, np.ndarray]:
    """Larger than the window and asymmetric, with nuclei that touch."""
    return simulate_field(
        np.random.default_rng(5),
        shape=(420, 460),
        n_nuclei=60,
        diameter_px=26.0,
        touching=0.5,
        blur_px=1.0,
        photons=200.0,
    )


@pytest.fixture(scope="module")
def sparse() -> tuple[np.ndarray, np.ndarray]:
    """Nuclei that stand alone: by colour, two that touch are one."""
    return simulate_field(
        np.random.default_rng(6),
        shape=(420, 460),
        n_nuclei=40,
        diameter_px=26.0,
        touching=0.0,
        blur_px=1.0,
        photons=200.0,
    )


def reader(image):
    """Reads regions, and fails where one does not lie within the image."""

    def read(y0, x0, y1, x1):
        assert 0 <= y0 < y1 <= image.shape[0]
        assert 0 <= x0 < x1 <= image.shape[1]
        return image[y0:y1, x0:x1]

    return read


def large_labels(labels: np.ndarray, count: int) -> list[int]:
    """Labels of nuclei of a fair size."""
    return [int(i) for i in np.flatnonzero(np.bincount(labels.ravel()) > 200) if i][:count]


def inner_labels(labels: np.ndarray, count: int) -> list[int]:
    """Labels of nuclei of a fair size whose window lies within the image."""
    middle = labels[150:-150, 150:-150]
    area = np.bincount(labels.ravel())
    return [int(i) for i in np.unique(middle) if i and area[i] > 200][:count]


def outlined(assistant, image, **options) -> np.ndarray:
    found = assistant.outline(reader(image), image.shape, **options)
    assert 0 <= found.score <= 1
    return fill_polygons(found.polygons, image.shape[:2])


@pytest.mark.parametrize(
    ("method", "name", "least"),
    # the rim of a simulated nucleus is dim: less than half as bright as its middle
    [
        ("unet", "field", 0.8),
        ("unet", "sparse", 0.8),
        ("classic", "sparse", 0.65),
        ("snake", "sparse", 0.65),
    ],
)
def test_proposals_for_lazy_contours(assistant, request, method, name, least):
    image, labels = request.getfixturevalue(name)
    rng = np.random.default_rng(0)
    lazy, proposed = [], []
    for label in large_labels(labels, 6):
        contour = lazy_contour(rng, labels == label)
        lazy.append(mask_iou(fill_polygons(((tuple(contour),),), labels.shape), labels == label))
        found = outlined(assistant, image, polygon=contour, method=method)
        proposed.append(mask_iou(found, labels == label))
    assert np.mean(proposed) > least
    if method == "unet":
        assert np.mean(proposed) > np.mean(lazy) + 0.05


@pytest.mark.parametrize("method", METHODS)
def test_a_click_finds_the_nucleus_under_it(assistant, sparse, method):
    image, labels = sparse
    ious = []
    for label in large_labels(labels, 6):
        rows, columns = np.nonzero(labels == label)
        point = [float(columns.mean()) + 0.5, float(rows.mean()) + 0.5]
        found = outlined(assistant, image, point=point, method=method)
        ious.append(mask_iou(found, labels == label))
    assert np.median(ious) > (0.75 if method == "unet" else 0.6)


def test_a_box_is_a_prompt_with_corners_in_any_order(assistant, field):
    image, labels = field
    label = inner_labels(labels, 1)[0]
    rows, columns = np.nonzero(labels == label)
    x0, y0, x1, y1 = columns.min() - 3, rows.min() - 3, columns.max() + 4, rows.max() + 4
    found = outlined(assistant, image, box=[int(x0), int(y0), int(x1), int(y1)])
    assert mask_iou(found, labels == label) > 0.8
    again = outlined(assistant, image, box=[int(x1), int(y1), int(x0), int(y0)])
    np.testing.assert_array_equal(again, found)


def test_the_outline_moves_with_the_image(assistant, field):
    image, labels = field
    label = inner_labels(labels, 1)[0]
    contour = lazy_contour(np.random.default_rng(1), labels == label)
    part = image[13:, 7:]
    moved = [(x - 7, y - 13) for x, y in contour]
    for method in METHODS:
        whole = assistant.outline(reader(image), image.shape, polygon=contour, method=method)
        shifted = assistant.outline(reader(part), part.shape, polygon=moved, method=method)
        expected = [(x - 7, y - 13) for x, y in whole.polygons[0][0]]
        assert list(shifted.polygons[0][0]) == expected


def variants(image: np.ndarray) -> dict[str, tuple[np.ndarray, dict]]:
    """The same picture, stored otherwise."""
    alpha = np.full_like(image, 255)
    stack = np.concatenate([np.zeros_like(image), image, np.zeros_like(image), alpha // 2], -1)
    return {
        "16 bit": (image.astype(np.uint16) * 257, {}),
        "float": (image.astype(np.float32) / 1000, {}),
        "RGBA": (np.concatenate([image, image, image, alpha], axis=-1), {}),
        "inverted": (255 - image, {"invert": True}),
        "one of five channels": (np.concatenate([stack, image], axis=-1), {"channel": 1}),
    }


@pytest.mark.parametrize("name", list(variants(np.zeros((1, 1, 1), np.uint8))))
def test_how_the_picture_is_stored_does_not_matter(assistant, field, name):
    image, labels = field
    contour = lazy_contour(np.random.default_rng(2), labels == inner_labels(labels, 2)[1])
    expected = outlined(assistant, image, polygon=contour)
    stored, options = variants(image)[name]
    assert mask_iou(outlined(assistant, stored, polygon=contour, **options), expected) > 0.98


@pytest.mark.parametrize("dark", [False, True])
def test_whether_to_invert_is_seen_from_the_image(assistant, field, dark):
    image, labels = field
    stored = 255 - image if dark else image
    contour = lazy_contour(np.random.default_rng(2), labels == inner_labels(labels, 2)[1])
    rows, columns = np.nonzero(labels == inner_labels(labels, 2)[1])
    click = (float(np.median(columns)) + 0.5, float(np.median(rows)) + 0.5)
    for prompt in ({"polygon": contour}, {"point": click}):
        found = assistant.outline(reader(stored), stored.shape, **prompt)
        told = assistant.outline(reader(stored), stored.shape, invert=dark, **prompt)
        assert found.inverted is told.inverted is dark
        assert found == told
    assert not assistant.outline(
        reader(stored), stored.shape, polygon=contour, method="classic"
    ).inverted


def test_without_a_chosen_channel_many_channels_are_joined(assistant, field):
    image, labels = field
    mask = labels == inner_labels(labels, 1)[0]
    contour = lazy_contour(np.random.default_rng(3), mask)
    noise = np.random.default_rng(4).integers(0, 9, image.shape).astype(np.uint8)
    two = np.concatenate([noise * 0, image], axis=-1)
    assert mask_iou(outlined(assistant, two, polygon=contour), mask) > 0.7


def test_a_large_object_is_seen_smaller(assistant, field):
    image, labels = field
    mask = labels == inner_labels(labels, 1)[0]
    contour = [(4 * x, 4 * y) for x, y in lazy_contour(np.random.default_rng(1), mask)]
    image, mask = (np.repeat(np.repeat(one, 4, axis=0), 4, axis=1) for one in (image, mask))
    assert mask_iou(outlined(assistant, image, polygon=contour), mask) > 0.75


@pytest.mark.parametrize("method", METHODS)
def test_small_images_and_corners(assistant, method):
    image = np.zeros((21, 34, 1), np.uint8)
    image[:9, :11] = 200
    mask = image[..., 0] > 0
    polygon = [(-3, -2), (13, -1), (12, 11), (-2, 10)]
    assert mask_iou(outlined(assistant, image, polygon=polygon, method=method), mask) > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_found_where_nothing_is(assistant, method):
    flat = np.full((90, 80, 1), 7, np.uint8)
    for prompt in ({"point": [30, 40]}, {"box": [20, 20, 50, 55]}):
        with pytest.raises(NothingFoundError, match=f"Nothing was found here by .* {method}"):
            assistant.outline(reader(flat), flat.shape, method=method, **prompt)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of polygon, point and box expected, found none"),
        ({"point": [1, 2], "box": [1, 2, 3, 4]}, "found .'point', 'box'."),
        ({"point": [1, 2, 3]}, "two numbers"),
        ({"point": [1, float("nan")]}, "finite"),
        ({"polygon": [(1, 2), (3, 4)]}, "at least 3 points"),
        ({"box": [1, 2, 3]}, "four numbers"),
        ({"point": [90, 2]}, "outside the image of 80 x 60 px"),
    ],
)
def test_prompts_that_cannot_be_used(assistant, options, message):
    image = np.zeros((60, 80, 1), np.uint8)
    with pytest.raises(UserError, match=message):
        assistant.outline(reader(image), image.shape, **options)


def test_unknown_methods_models_and_channels(assistant, tmp_path):
    image = np.zeros((60, 80, 1), np.uint8)
    with pytest.raises(UsageError, match="one of unet, classic, snake expected"):
        assistant.outline(reader(image), image.shape, point=[1, 2], method="magic")
    with pytest.raises(UserError, match="channel 1: the image has 1"):
        assistant.outline(reader(image), image.shape, point=[1, 2], channel=1)
    with pytest.raises(UsageError, match="known: nuclei"):
        Assistant.load("mitochondria")
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        Assistant.load(tmp_path)


def test_best_fit_joins_pieces_within_the_prompt_and_leaves_neighbours():
    labels = np.zeros((12, 20), np.int32)
    labels[2:8, 2:7] = 1
    labels[2:8, 7:10] = 2  # a piece that was taken apart
    labels[2:8, 10:18] = 3  # a neighbour that the prompt touches
    prompt = np.zeros(labels.shape, bool)
    prompt[1:9, 1:12] = True
    np.testing.assert_array_equal(best_fit(labels, prompt), (labels == 1) | (labels == 2))
    assert not best_fit(labels * 0, prompt).any()


def test_propose_gives_what_segment_gives_tile_by_tile(assistant, field):
    image, _ = field
    tile = WINDOW_PX
    predictor = make_predictor(from_segmenter(assistant.segmenter))
    expected = segment_pixels(predictor, image, tile_px=tile).labels
    seen = []
    found = label_whole_image(
        assistant.segmenter, image, tile_px=tile, progress=lambda share, _: seen.append(share)
    )
    np.testing.assert_array_equal(found, expected)
    assert found.max() > 30
    assert len(seen) > 1
    assert seen == sorted(seen)
    assert seen[-1] == 1
    inverted = label_whole_image(assistant.segmenter, 255 - image, tile_px=tile, invert=True)
    assert mask_iou(inverted > 0, expected > 0) > 0.99


def test_an_image_of_bits(assistant, field):
    _, labels = field
    contour = lazy_contour(np.random.default_rng(2), labels == inner_labels(labels, 2)[1])
    bits = labels[..., None] > 0
    for method in METHODS:
        found = outlined(assistant, bits, polygon=contour, method=method)
        assert mask_iou(found, labels == inner_labels(labels, 2)[1]) > 0.6
