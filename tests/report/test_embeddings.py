"""Maps of profiles: against scikit-learn, by invariance, and with too little."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from cellml.report.embeddings import embed_pca, embed_umap, umap_installed


@pytest.mark.parametrize("shape", [(30, 7), (7, 30)])
def test_components_are_those_of_scikit_learn(shape):
    x = np.random.default_rng(0).normal(size=shape) * np.linspace(1, 3, shape[1]) + 5
    found = embed_pca(x)
    reference = PCA(2, svd_solver="full").fit(x)
    expected = reference.transform(x)
    signs = np.sign((found.points * expected).sum(axis=0))
    np.testing.assert_allclose(found.points, expected * signs, atol=1e-9)
    share = reference.explained_variance_ratio_
    assert found.axes == (f"PC 1 ({share[0]:.0%})", f"PC 2 ({share[1]:.0%})")


def test_components_of_next_to_nothing_are_zero():
    for x in (np.ones((1, 3)), np.ones((4, 1)), np.full((3, 5), 2.0)):
        found = embed_pca(x)
        np.testing.assert_array_equal(found.points, np.zeros((len(x), 2)))
        assert found.axes[0] == "PC 1 (0%)"


def test_umap_keeps_groups_together_and_is_repeatable():
    if not umap_installed():
        pytest.skip("umap-learn is not installed")
    rng = np.random.default_rng(1)
    group = np.arange(36) % 3
    x = 4 * rng.normal(size=(3, 10))[group] + 0.3 * rng.normal(size=(36, 10))
    found = embed_umap(x).points
    distance = np.linalg.norm(found[:, None] - found[None], axis=-1)
    same = group[:, None] == group[None]
    np.fill_diagonal(distance, np.inf)
    assert (same[np.arange(36), distance.argmin(axis=1)]).all()
    np.testing.assert_array_equal(embed_umap(x).points, found)
    with pytest.raises(ValueError, match="at least 5 profiles, found 4"):
        embed_umap(x[:4])
