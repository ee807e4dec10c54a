"""Kernel ridge regression: against scikit-learn, and what sharing and choosing do."""

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

from cellml.screening.kernel_ridge import FLOOR, fit_kernel

OWN = {"shared_penalty": 10.0, "sharings": (0.0,)}


def kernel(n: int, m: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + m, 5))
    near = np.exp(-((x[:, None] - x[None]) ** 2).sum(-1) / 8).astype(np.float32)
    return near[:n, :n], near[n:, :n]


def labels(n: int, t: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = (rng.random((n, t)) < 0.3).astype(np.float32)
    gaps = rng.random((n, t)) < 0.4
    gaps[np.arange(n), np.arange(n) % t] = False  # each compound says something
    found[gaps] = np.nan
    return found


def alone(n: int) -> np.ndarray:
    return np.arange(n)


def test_each_assay_is_a_ridge_regression_of_its_own_compounds() -> None:
    (near, far), truth = kernel(40, 7), labels(40, 3)
    fit = fit_kernel(near, truth, alone(len(near)), penalties=(2.0,), **OWN)
    found = far @ fit.weights
    for assay in range(3):
        rows = np.flatnonzero(np.isfinite(truth[:, assay]))
        y = truth[rows, assay]
        model = KernelRidge(alpha=2.0, kernel="precomputed").fit(
            near[np.ix_(rows, rows)], (y - y.mean()) / np.sqrt(y.var() + FLOOR)
        )
        np.testing.assert_allclose(found[:, assay], model.predict(far[:, rows]), atol=1e-4)
        assert not fit.weights[np.isnan(truth[:, assay]), assay].any()


def test_the_shared_part_is_a_regression_on_the_means_weighted_by_counts() -> None:
    (near, far), truth = kernel(30, 5), labels(30, 4)
    own = fit_kernel(near, truth, alone(len(near)), penalties=(2.0,), **OWN).weights
    both = fit_kernel(
        near, truth, alone(30), penalties=(2.0,), shared_penalty=3.0, sharings=(2.0,)
    ).weights
    known = np.isfinite(truth)
    mean, sd = np.nanmean(truth, 0), np.sqrt(np.nanvar(truth, 0) + FLOOR)
    standard = np.where(known, (truth - mean) / sd, 0)
    rows, count = np.flatnonzero(known.any(1)), known.sum(1)
    # Noise of variance 3 / n: a penalty of 3 with sample weights n.
    model = KernelRidge(alpha=3.0, kernel="precomputed").fit(
        near[np.ix_(rows, rows)], standard.sum(1)[rows] / count[rows], sample_weight=count[rows]
    )
    expected = model.predict(far[:, rows])
    np.testing.assert_allclose(
        far @ (both - own), np.repeat(2 * expected[:, None], 4, 1), atol=2e-4
    )


def test_an_assay_without_readouts_changes_nothing_and_borrows_from_the_others() -> None:
    (near, far), truth = kernel(30, 5), labels(30, 3)
    wider = np.concatenate([truth, np.full((30, 1), np.nan, np.float32)], axis=1)
    options = {"penalties": (2.0,), "shared_penalty": 3.0, "sharings": (1.0,)}
    a, b = (fit_kernel(near, each, alone(30), **options).weights for each in (truth, wider))
    np.testing.assert_allclose(b[:, :3], a, atol=1e-6)
    assert np.abs(far @ b[:, 3]).max() > 0.01


def test_what_is_left_out_is_what_a_fit_without_it_says() -> None:
    (near, _), truth = kernel(24), labels(24, 3)
    groups = np.array([0, 1, 2, 0, 3, 1, 0, 4] * 3)
    options = {"penalties": (2.0,), "shared_penalty": 3.0}
    mean, sd = np.nanmean(truth, 0), np.sqrt(np.nanvar(truth, 0) + FLOOR)
    targets = (truth - mean) / sd
    count = np.isfinite(truth).sum(1)
    found = fit_kernel(near, truth, groups, sharings=(1.5,), **options).left_out
    for group in range(5):
        out, rest = groups == group, groups != group

        def without(target, penalty, keep, out=out):
            weights = np.linalg.solve(near[np.ix_(keep, keep)] + np.diag(penalty), target[keep])
            return near[np.ix_(out, keep)] @ weights

        shared = without(np.nanmean(targets, 1), 3.0 / count[rest], rest)
        for assay in range(3):
            keep = np.isfinite(truth[:, assay]) & rest
            own = without(targets[:, assay], np.full(keep.sum(), 2.0), keep)
            known = np.isfinite(truth[out, assay])
            np.testing.assert_allclose(
                found[out, assay][known], (own + 1.5 * shared)[known], atol=2e-4
            )


def test_what_is_best_for_compounds_left_out_is_taken() -> None:
    (near, _), truth = kernel(30), labels(30, 2)
    options = {"groups": alone(30) // 2, "shared_penalty": 3.0}
    grid = [(p, s) for p in (1.0, 5.0) for s in (0.0, 3.0)]
    single = {
        (p, s): fit_kernel(near, truth, penalties=(p,), sharings=(s,), **options) for p, s in grid
    }
    for wanted in grid:
        seen = []

        def rate(outputs: np.ndarray, wanted=wanted, seen=seen) -> float:
            seen.append(outputs)
            return -float(np.abs(outputs - single[wanted].left_out).max())

        fit = fit_kernel(
            near, truth, penalties=(1.0, 5.0), sharings=(0.0, 3.0), rate=rate, **options
        )
        assert (fit.penalty, fit.sharing) == wanted
        np.testing.assert_allclose(fit.weights, single[wanted].weights, atol=1e-6)
        assert len(seen) == 4
    undefined = fit_kernel(
        near, truth, penalties=(1.0, 5.0), sharings=(0.0,), rate=lambda _: float("nan"), **options
    )
    assert undefined.penalty == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"penalties": ()}, "one or more expected"),
        ({"penalties": (0.0,)}, "penalties above 0"),
        ({"penalties": (1.0, 2.0)}, "need a rate"),
    ],
)
def test_nothing_to_choose_from_or_by_is_refused(changes, message) -> None:
    near, _ = kernel(10)
    with pytest.raises(ValueError, match=message):
        fit_kernel(near, labels(10, 2), alone(10), **{"penalties": (1.0,), **OWN, **changes})


def test_a_compound_without_a_readout_is_refused() -> None:
    (near, _), truth = kernel(10), np.ones((10, 1))
    truth[4] = np.nan
    with pytest.raises(ValueError, match="compound 4 has no readout"):
        fit_kernel(near, truth, alone(10), penalties=(1.0,), **OWN)
