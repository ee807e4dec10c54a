import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.metrics import boundary_f1, dice, iou, summed
from tests.metrics import oracles


def blobs(seed, shape=(3, 17, 23)):
    """Random patches, different in true and pred, not symmetric."""
    rng = np.random.default_rng(seed)
    images = [oracles.random_labels(rng, shape[1:], 5) for _ in range(2 * shape[0])]
    return np.stack(images[::2]) > 0, np.stack(images[1::2]) > 0


TRUE, PRED = blobs(0)
SCORES = {"iou": iou, "dice": dice, "boundary_f1": boundary_f1}


@pytest.fixture(params=SCORES)
def score(request):
    return SCORES[request.param]


def test_by_hand():
    true = np.zeros((1, 4, 6), bool)
    pred = true.copy()
    true[0, 1:3, 1:4] = True  # 6 pixels
    pred[0, 1:3, 2:6] = True  # 8 pixels, 4 shared
    assert iou(true, pred)[0] == pytest.approx(4 / 10)
    assert dice(true, pred)[0] == pytest.approx(8 / 14)
    # Every foreground pixel is boundary. Exactly on it: the 4 shared of 6 and of 8.
    assert boundary_f1(true, pred, tolerance_px=0)[0] == pytest.approx(
        2 * (4 / 8) * (4 / 6) / (7 / 6)
    )
    # One pixel away: true columns 1-3 all lie near, of the predicted columns 2-5 the last does not.
    assert boundary_f1(true, pred, tolerance_px=1)[0] == pytest.approx(2 * (6 / 8) / (14 / 8))


def test_equal_to_loops():
    for t, p, i, d in zip(TRUE, PRED, iou(TRUE, PRED), dice(TRUE, PRED), strict=True):
        both = sum(bool(a and b) for a, b in zip(t.flat, p.flat, strict=True))
        either = sum(bool(a or b) for a, b in zip(t.flat, p.flat, strict=True))
        assert i == pytest.approx(both / either)
        assert d == pytest.approx(2 * both / (both + either))


@pytest.mark.parametrize("tolerance_px", [0, 1.5, 2.3, 30])
def test_boundary_f1_equal_to_loops(tolerance_px):
    found = boundary_f1(TRUE, PRED, tolerance_px=tolerance_px)
    expected = [oracles.boundary_f1(t, p, tolerance_px) for t, p in zip(TRUE, PRED, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_eager_vmap_and_loop_agree(score):
    expected = score(TRUE, PRED)
    with jax.disable_jit():
        np.testing.assert_array_equal(score(TRUE, PRED), expected)
    np.testing.assert_array_equal(jax.vmap(score)(TRUE, PRED), expected)
    one_by_one = [score(t, p) for t, p in zip(TRUE, PRED, strict=True)]
    np.testing.assert_array_equal(jnp.stack(one_by_one), expected)


def test_symmetric_and_flipped(score):
    expected = score(TRUE, PRED)
    np.testing.assert_allclose(score(PRED, TRUE), expected, rtol=1e-6)
    np.testing.assert_allclose(score(TRUE[:, ::-1], PRED[:, ::-1]), expected, rtol=1e-6)
    swapped = score(TRUE.transpose(0, 2, 1), PRED.transpose(0, 2, 1))
    np.testing.assert_allclose(swapped, expected, rtol=1e-6)


def test_perfect_and_disjoint(score):
    np.testing.assert_array_equal(score(TRUE, TRUE), np.ones(3))
    left, right = np.zeros((1, 9, 40), bool), np.zeros((1, 9, 40), bool)
    left[:, 2:5, 1:6], right[:, 4:7, 30:33] = True, True
    assert score(left, right)[0] == 0


def test_empty_images_follow_the_policy(score):
    nothing = np.zeros((1, 5, 7), bool)
    assert score(nothing, nothing)[0] == 1
    assert score(nothing, nothing, empty="zero")[0] == 0
    assert np.isnan(score(nothing, nothing, empty="nan")[0])
    dot = nothing.copy()
    dot[0, 2, 3] = True
    for policy in ("one", "zero", "nan"):  # with one side only the policy has no say
        assert score(dot, nothing, empty=policy)[0] == 0
        assert score(nothing, dot, empty=policy)[0] == 0
        assert score(dot, dot, empty=policy)[0] == 1


def test_everything_foreground():
    full = np.ones((1, 5, 7), bool)
    assert iou(full, full)[0] == 1
    assert dice(full, full)[0] == 1
    assert np.isnan(boundary_f1(full, full, empty="nan")[0])  # the frame is no boundary


def test_masked_padding_changes_nothing(score):
    rng = np.random.default_rng(1)
    true, pred = rng.random((2, 3, 24, 29)) < 0.5
    mask = np.zeros(true.shape, bool)
    mask[:, 3:20, 2:25] = True
    true[mask], pred[mask] = TRUE.ravel(), PRED.ravel()
    np.testing.assert_array_equal(score(true, pred, mask=mask), score(TRUE, PRED))
    assert not np.array_equal(score(true, pred), score(TRUE, PRED))


def test_padding_images_do_not_count(score):
    valid = np.array([True, False, True])
    values = score(TRUE, PRED, valid=valid)
    total, count = summed(values)
    expected = score(TRUE, PRED)
    assert np.isnan(values[1])
    assert count == 2
    assert total == pytest.approx(float(expected[0] + expected[2]))


def test_counts_are_exact_beyond_float32():
    # 2**24 + 2**12 pixels: a float32 sum of ones stops at 2**24.
    true = np.ones((4097, 4096), bool)
    pred = true.copy()
    pred[0] = False
    assert iou(true, pred) == pytest.approx(4096 / 4097, abs=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"empty": "maybe"}, "empty must be one of"),
        ({"mask": np.ones((3, 17, 22), bool)}, "mask"),
        ({"pred": PRED[:, 1:]}, "pred"),
        ({"pred": PRED.astype(np.float32)}, "pred"),
        ({"valid": np.ones(2, bool)}, "valid"),
    ],
)
def test_refuses(score, options, message):
    # TypeError: the run-time checks of the tests may be faster than our own message.
    with pytest.raises((ValueError, TypeError), match=message):
        score(**({"true": TRUE, "pred": PRED} | options))


@pytest.mark.parametrize("tolerance_px", [-1.0, float("inf"), float("nan")])
def test_refuses_tolerance(tolerance_px):
    with pytest.raises(ValueError, match="tolerance_px"):
        boundary_f1(TRUE, PRED, tolerance_px=tolerance_px)
