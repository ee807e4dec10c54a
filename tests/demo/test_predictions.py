import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.demo.augmentation import _busiest_window, _pixel_errors
from cellml.demo.fields import Field, tissue_section
from cellml.demo.predictions import (
    MEAN,
    METHODS,
    OTSU,
    SINGLE,
    VOTES,
    Prediction,
    predict_field,
    votes_and_hits,
)
from cellml.tasks.semantic import Segmenter, SegmenterSpec
from cellml.tta import merge_instances_host


def squares(*corners, shape=(40, 56), side=10) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    for i, (y, x) in enumerate(corners, start=1):
        labels[y : y + side, x : x + side] = i
    return labels


def prediction(truth: np.ndarray, copies: np.ndarray, foreground: np.ndarray) -> Prediction:
    field = Field("f", "G", np.zeros((*truth.shape, 1), np.uint8), truth)
    return Prediction(field, foreground, {}, merge_instances_host(copies), {}, 0.0)


def test_votes_are_counted_and_hits_need_half_an_overlap():
    truth = squares((2, 2), (20, 30))
    right, displaced, extra = (2, 2), (26, 36), (25, 5)
    copies = np.stack([squares(right, displaced, extra)] * 5 + [squares(right, displaced)] * 3)
    made = prediction(truth, copies, (copies > 0).astype(np.float32))
    assert sorted(votes_and_hits(made)) == [(5, False), (8, False), (8, True)]


def test_hits_need_truth():
    made = prediction(squares((2, 2)), squares((2, 2))[None], np.zeros((1, 40, 56), np.float32))
    blind = Prediction(Field("f", "G", made.field.image), made.foreground, {}, made.merge, {}, 0.0)
    with pytest.raises(ValueError, match="f: no truth"):
        votes_and_hits(blind)


def test_spread_and_probability_are_those_of_the_copies():
    copies = np.stack([squares((2, 2)), squares()])
    made = prediction(squares((2, 2)), copies, (copies > 0).astype(np.float32))
    inside = squares((2, 2)) > 0
    np.testing.assert_allclose(made.spread, np.where(inside, 0.5, 0.0))
    np.testing.assert_allclose(made.probability, np.where(inside, 0.5, 0.0))


def test_errors_are_shared_out_by_spread():
    truth = squares((2, 2))
    foreground = np.repeat((truth > 0).astype(np.float32)[None], 2, 0)
    foreground[:, 30, :10] = 0.9  # ten sure mistakes
    foreground[:, 35, :4] = [[1.0], [0.5]]  # four unsure ones, spread 0.25
    found = {
        name: (share, n)
        for name, share, n in _pixel_errors(
            [prediction(truth, foreground.astype(np.int32), foreground)]
        )
    }
    assert set(found) == {"0–0.01", "0.2–0.5"}
    assert found["0.2–0.5"] == (1.0, 4)
    assert found["0–0.01"] == (pytest.approx(10 / (40 * 56 - 4)), 40 * 56 - 4)


def test_a_large_image_is_cut_to_where_the_spread_is():
    foreground = np.zeros((2, 512, 400), np.float32)
    foreground[0, 300:330, 250:280] = 1.0
    labels = np.zeros((1, 512, 400), np.int32)
    window = _busiest_window(prediction(labels[0], labels, foreground))
    assert foreground[0][window].sum() == 900
    assert foreground[0][window].shape == (192, 192)
    small = prediction(squares(), squares()[None], np.zeros((2, 40, 56), np.float32))
    assert _busiest_window(small) == (slice(0, 40), slice(0, 56))


def test_every_method_gives_labels_and_scores():
    spec = SegmenterSpec(preset="plain", model=(("filters", (4, 8)),))
    variables = spec.unet().init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    image = np.random.default_rng(0).integers(0, 255, (44, 36, 1), dtype=np.uint8)
    made = predict_field(
        Segmenter(spec, variables), Field("f", "G", image, squares((2, 2), shape=(44, 36)))
    )
    assert set(made.labels) == set(made.scores) == set(METHODS) == {OTSU, SINGLE, MEAN, VOTES}
    assert made.foreground.shape == (8, 44, 36)
    assert all(labels.shape == (44, 36) for labels in made.labels.values())
    assert all(score.n_true == 1 for score in made.scores.values())


def test_the_tissue_section_is_bright_where_the_picture_is_blue():
    field = tissue_section(128)
    assert field.shown.shape == (128, 128, 3)
    assert field.image.shape == (128, 128, 1)
    assert (field.image.min(), field.image.max()) == (0.0, 1.0)
    blueness = field.shown[..., 2].astype(float) - field.shown[..., 0]
    bright = field.image[..., 0] > 0.5
    assert blueness[bright].mean() > blueness[~bright].mean() + 20
