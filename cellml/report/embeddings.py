"""Profiles in two dimensions, to be looked at: principal components and UMAP."""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

NEIGHBOURS = 15
"""Neighbours that UMAP keeps together (its default), fewer where there are fewer profiles."""
UMAP_AT_LEAST = 5
"""Profiles below which a map of neighbourhoods says nothing."""


class Embedding(NamedTuple):
    """Profiles in the plane.

    Attributes:
      points: One row a profile.
      axes: Name of each axis.
    """

    points: Float[np.ndarray, "n 2"]
    axes: tuple[str, str]


def embed_pca(profiles: Float[np.ndarray, "n f"]) -> Embedding:
    """The first two principal components, in float64.

    Args:
      profiles: Finite, one row each, at least one.

    Returns:
      Scores, and the share of the variance in the name of each axis. A component that does not
      exist is 0. The sign is such that the largest loading is positive.
    """
    centred = profiles.astype(np.float64)
    centred = centred - centred.mean(axis=0)
    n, f = centred.shape
    # The smaller of both matrices: 10,000 x 3,360 profiles have no 10,000 x 10,000 one.
    gram = centred @ centred.T if n < f else centred.T @ centred
    values, vectors = np.linalg.eigh(gram)
    values, vectors = np.maximum(values[::-1][:2], 0), vectors[:, ::-1][:, :2]
    loadings = centred.T @ vectors if n < f else vectors
    largest = np.abs(loadings).argmax(axis=0)
    signs = np.where(loadings[largest, np.arange(loadings.shape[1])] < 0, -1.0, 1.0)
    scores = (vectors * np.sqrt(values) if n < f else centred @ vectors) * signs
    points = np.zeros((n, 2))
    points[:, : scores.shape[1]] = scores
    total = float((centred**2).sum())
    shares = np.zeros(2)
    shares[: values.size] = values / total if total > 0 else 0.0
    return Embedding(points, (f"PC 1 ({shares[0]:.0%})", f"PC 2 ({shares[1]:.0%})"))


def umap_installed() -> bool:
    """Whether `embed_umap` can be called."""
    from importlib.util import find_spec

    return find_spec("umap") is not None


def embed_umap(profiles: Float[np.ndarray, "n f"], *, seed: int = 0) -> Embedding:
    """UMAP by cosine similarity, the similarity that the scores are computed with.

    It starts from the principal components instead of a random place, which keeps distant groups
    where they belong (Kobak and Linderman 2021, Nat. Biotechnol. 39:156), and runs in one thread,
    so that equal profiles give equal maps.

    Args:
      profiles: Finite, at least `UMAP_AT_LEAST`.
      seed: Of its random numbers.

    Returns:
      The map; its axes have no unit.

    Raises:
      ValueError: There are too few profiles.
    Source: McInnes et al. 2018, arXiv:1802.03426, as of umap-learn.
    """
    n = len(profiles)
    if n < UMAP_AT_LEAST:
        raise ValueError(f"UMAP needs at least {UMAP_AT_LEAST} profiles, found {n}")
    start = embed_pca(profiles).points
    start = start / max(float(np.abs(start).max()), 1e-12) * 10
    with warnings.catch_warnings():
        # It warns of optional packages, of its one thread and of versions of scikit-learn.
        warnings.simplefilter("ignore")
        import umap  # optional and slow to import (numba): nowhere else

        model = umap.UMAP(
            n_neighbors=min(NEIGHBOURS, n - 1),
            metric="cosine",
            init=start.astype(np.float32),
            random_state=seed,
            n_jobs=1,
        )
        points = np.asarray(model.fit_transform(profiles.astype(np.float32)), np.float64)
    return Embedding(points, ("UMAP 1", "UMAP 2"))
