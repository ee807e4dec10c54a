"""What a split lets through: compounds of the test side that training has seen in another guise."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Integer, Shaped

from cellml.ops.tanimoto import nearest_tanimoto

SIMILARITIES = (0.4, 0.7, 0.85, 1.0)
"""Tanimoto similarities to the other folds that the report counts."""


class IdentityLeak(NamedTuple):
    """Compounds that share an identity (skeleton, scaffold, SMILES) with another fold.

    Attributes:
      n_groups: Distinct identities.
      n_spanning: Identities with compounds on two sides or more.
      shared: Compounds of each fold whose identity occurs in another one.
      readouts_shared: Readouts of each fold whose identity has a readout of the same assay in
        another one: answers that training has seen. Zeros without labels.
    """

    n_groups: int
    n_spanning: int
    shared: Int[np.ndarray, " k"]
    readouts_shared: Int[np.ndarray, " k"]


class LeakageReport(NamedTuple):
    """What is known of a split.

    Attributes:
      n_compounds: Compounds of each fold.
      n_readouts: Readouts of each fold; zeros without labels, likewise `n_hits`.
      n_hits: Hits of each fold.
      undefined_assays: Assays of each fold without a hit or with nothing but hits there.
      identities: By kind of identity.
      nearest_mean: Mean Tanimoto similarity of each fold's compounds to the nearest of all other
        folds; NaN without fingerprints.
      nearest_share: By similarity, share of each fold's compounds that have a neighbour at least
        so similar in other folds; empty without fingerprints.
    """

    n_compounds: Int[np.ndarray, " k"]
    n_readouts: Int[np.ndarray, " k"]
    n_hits: Int[np.ndarray, " k"]
    undefined_assays: Int[np.ndarray, " k"]
    identities: dict[str, IdentityLeak]
    nearest_mean: Float[np.ndarray, " k"]
    nearest_share: dict[float, Float[np.ndarray, " k"]]

    @property
    def is_safe(self) -> bool:
        """Whether no identity lies on two sides."""
        return all(leak.n_spanning == 0 for leak in self.identities.values())


def leakage_report(
    split: Integer[np.ndarray, " n"],
    identities: Mapping[str, Integer[np.ndarray, " n"]],
    *,
    labels: Float[np.ndarray, "n t"] | None = None,
    fingerprints: Shaped[np.ndarray, "n b"] | None = None,
) -> LeakageReport:
    """Examines folds or parts, whatever made them.

    Args:
      split: Fold or part of each compound from 0; -1 is on no side.
      identities: Groups by their name: what counts as the same compound. See
        `cellml.screening.splits.codes_of`.
      labels: 1 hit, 0 no hit, NaN not tested.
      fingerprints: Bits, for the similarity to the other folds.

    Returns:
      The report.

    Raises:
      ValueError: Something is of another number of compounds, or no compound is in a fold.
    """
    n = len(split)
    given = {**identities, "labels": labels, "fingerprints": fingerprints}
    for name, value in given.items():
        if value is not None and len(value) != n:
            raise ValueError(f"{name} has {len(value)} rows, the split {n}")
    inside = split >= 0
    if not inside.any():
        raise ValueError("no compound of the split is in a fold")
    fold = split[inside]
    k = int(fold.max()) + 1
    known = labels[inside] if labels is not None else np.zeros((len(fold), 0))
    tested = ~np.isnan(known)
    per_fold = [known[fold == side] for side in range(k)]
    hits = np.array([(part == 1).sum(0) for part in per_fold]).reshape(k, -1)
    misses = np.array([(part == 0).sum(0) for part in per_fold]).reshape(k, -1)
    mean, share = np.full(k, np.nan), {}
    if fingerprints is not None:
        bits = fingerprints[inside]
        nearest, _ = nearest_tanimoto(bits, bits, query_groups=fold, reference_groups=fold)
        sides = [nearest[fold == side].astype(np.float64) for side in range(k)]
        mean = np.array([side.mean() if side.size else np.nan for side in sides])
        share = {
            limit: np.array([(s >= limit - 1e-6).mean() if s.size else np.nan for s in sides])
            for limit in SIMILARITIES
        }
    return LeakageReport(
        n_compounds=np.bincount(fold, minlength=k),
        n_readouts=np.bincount(fold, weights=tested.sum(1), minlength=k).astype(np.int64),
        n_hits=hits.sum(1),
        undefined_assays=((hits == 0) | (misses == 0)).sum(1),
        identities={
            name: _identity_leak(fold, groups[inside], tested, k)
            for name, groups in identities.items()
        },
        nearest_mean=mean,
        nearest_share=share,
    )


def _identity_leak(
    fold: np.ndarray, groups: np.ndarray, tested: np.ndarray, k: int
) -> IdentityLeak:
    names, codes = np.unique(groups, return_inverse=True)
    there = np.zeros((len(names), k), bool)
    there[codes, fold] = True
    spans = there.sum(1) > 1
    shared = np.bincount(fold[spans[codes]], minlength=k)
    again = np.zeros(k, np.int64)
    # Only identities on several sides can share readouts; their rows are few in a good split.
    rows = np.flatnonzero(spans[codes])
    _, some = np.unique(codes[rows], return_inverse=True)
    for side in range(k):
        elsewhere = np.zeros((int(some.max(initial=-1)) + 1, tested.shape[1]), bool)
        others, own = rows[fold[rows] != side], rows[fold[rows] == side]
        np.logical_or.at(elsewhere, some[fold[rows] != side], tested[others])
        again[side] = (tested[own] & elsewhere[some[fold[rows] == side]]).sum()
    return IdentityLeak(len(names), int(spans.sum()), shared, again)
