"""From a screen's raw matrix of assays to the one that models are trained on.

Five steps, in this order: compounds known to interfere (PAINS), assays without a hit, redundant
assays, frequent hitters, assays that have no hit left. Every step says what it took out.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

PAPER_HITS_MAX = 30
"""The published code takes out compounds with more hits than this, of any number of assays."""


class FilterStep(NamedTuple):
    """What one step did.

    Attributes:
      name: Short name, fit for a file.
      rule: What was taken out, in words.
      compounds: Rows of the original matrix that it took out.
      assays: Columns of the original matrix that it took out.
      n_compounds: Compounds left.
      n_assays: Assays left.
      n_readouts: Readouts left.
      n_hits: Hits left.
    """

    name: str
    rule: str
    compounds: Int[np.ndarray, " a"]
    assays: Int[np.ndarray, " b"]
    n_compounds: int
    n_assays: int
    n_readouts: int
    n_hits: int


class FilterResult(NamedTuple):
    """What is left, and how it came to that.

    Attributes:
      compounds: Rows that are left, ascending.
      assays: Columns that are left, ascending.
      clusters: Cluster of redundant assays that each column was put in; -1 for those that an
        earlier step took out.
      steps: In order.
    """

    compounds: Int[np.ndarray, " c"]
    assays: Int[np.ndarray, " a"]
    clusters: Int[np.ndarray, " t"]
    steps: tuple[FilterStep, ...]


def filter_screen(
    labels: Float[np.ndarray, "n t"],
    *,
    pains: Bool[np.ndarray, " n"] | None = None,
    seed: int = 0,
    jaccard: float = 0.7,
    cut: float = 0.95,
    keep: float = 0.3,
    frequent: float = 0.1,
    paper: bool = False,
) -> FilterResult:
    """Runs the five steps.

    Redundant assays: the Jaccard index of the sets of hits of each two assays is cut at `jaccard`
    into similar or not; assays are clustered by the cosine distance between their rows of that
    table (complete linkage), up to the share `cut` of the largest distance. Of every cluster a
    random share `keep` stays.

    Args:
      labels: 1 hit, 0 no hit, NaN not tested.
      pains: Compounds with a PAINS substructure; the step is left out, if None.
      seed: Of the choice among redundant assays.
      jaccard: Assays whose index is above this are similar.
      cut: Height of the cut as a share of the largest distance.
      keep: Share of each cluster of two or more that stays, rounded down, but at least one.
      frequent: Compounds that hit at least this share of the assays that are left go.
      paper: Do what the published code does: clusters of two and three vanish, as the share
        rounds to none; the columns chosen are then read one place off, as the first column of
        its table holds SMILES, so that the assay in front of each chosen one stays; and frequent
        hitters are those with more than 30 hits. (The code drew without a seed; `seed` holds
        here too.)

    Returns:
      Rows and columns that are left, with a report.

    Raises:
      ValueError: A label or an option is out of range.
    Source: Moshkov et al. 2023, Nat. Commun. 14:1967, and its code.
    """
    for name, value in (("jaccard", jaccard), ("cut", cut), ("keep", keep), ("frequent", frequent)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie within [0, 1], found {value}")
    if (strange := ~(np.isnan(labels) | (labels == 0) | (labels == 1))).any():
        row, column = np.argwhere(strange)[0].tolist()
        raise ValueError(f"labels[{row}, {column}] is {labels[row, column]}, expected 0, 1 or NaN")
    run = _Filtering(labels)
    if pains is not None:
        run.drop("pains", "compounds with a PAINS substructure", compounds=pains)
    run.drop("no_hits", "assays without a hit", assays=run.hits_per_assay() == 0)
    clusters = np.full(labels.shape[1], -1)
    if (left := np.flatnonzero(run.assays)).size:
        clusters[left] = assay_clusters(run.hit[run.compounds][:, left], jaccard=jaccard, cut=cut)
        stay = left[choose_assays(clusters[left], keep=keep, seed=seed, paper=paper)]
        redundant = run.assays & ~np.isin(np.arange(labels.shape[1]), stay)
        rule = f"assays that share more than {jaccard:g} of their hits (Jaccard), by clusters"
        run.drop("redundant", rule, assays=redundant)
    hits = (run.hit & run.assays).sum(1)
    if paper:
        often, rule = hits > PAPER_HITS_MAX, f"compounds with more than {PAPER_HITS_MAX} hits"
    else:
        n_assays = int(run.assays.sum())
        often = (hits >= frequent * n_assays - 1e-9) & (hits > 0)
        rule = f"compounds that hit {frequent:.0%} or more of {n_assays} assays"
    run.drop("frequent_hitters", rule, compounds=often)
    run.drop("no_hits_left", "assays without a hit left", assays=run.hits_per_assay() == 0)
    compounds, assays = np.flatnonzero(run.compounds), np.flatnonzero(run.assays)
    return FilterResult(compounds, assays, clusters, tuple(run.steps))


def assay_clusters(
    hits: Bool[np.ndarray, "n t"], *, jaccard: float = 0.7, cut: float = 0.95
) -> Int[np.ndarray, " t"]:
    """Clusters assays by the overlap of their hits, see `filter_screen`.

    Args:
      hits: Each assay has one at least.
      jaccard: As in `filter_screen`.
      cut: Likewise.

    Returns:
      Cluster of each assay from 0, numbered by first appearance.
    """
    if hits.shape[1] < 2:
        return np.zeros(hits.shape[1], np.int64)
    counts = hits.astype(np.float64)
    both = counts.T @ counts
    own = np.diag(both)
    similar = (both / (own[:, None] + own[None, :] - both) > jaccard).astype(np.float64)
    np.fill_diagonal(similar, 1.0)  # also where jaccard is 1
    length = np.sqrt(similar.sum(1))
    distance = 1 - similar @ similar.T / (length[:, None] * length[None, :])
    # Rounding makes equal rows differ by 1e-16, which a cut at 0 would notice.
    distance = np.where(distance < 1e-12, 0, distance)
    np.fill_diagonal(distance, 0)
    distance = (distance + distance.T) / 2
    tree = linkage(squareform(distance, checks=False), method="complete")
    found = fcluster(tree, t=cut * distance.max(), criterion="distance")
    _, first, codes = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[codes]


def choose_assays(
    clusters: Int[np.ndarray, " t"], *, keep: float = 0.3, seed: int = 0, paper: bool = False
) -> Int[np.ndarray, " a"]:
    """Chooses which assays of each cluster stay.

    Args:
      clusters: Of each assay.
      keep: Share of each cluster of two or more.
      seed: Of the choice.
      paper: As in `filter_screen`.

    Returns:
      Indices of assays, ascending.
    """
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for cluster in np.unique(clusters).tolist():
        members = np.flatnonzero(clusters == cluster)
        if members.size > 1:
            size = int(keep * members.size + 1e-9)
            members = rng.choice(members, size if paper else max(size, 1), replace=False)
        chosen += members.tolist()
    stay = np.array(sorted(chosen), np.int64)
    return stay[stay > 0] - 1 if paper else stay  # -1: place 0 of the paper's table holds SMILES


class _Filtering:
    """What is left so far, and the steps that led there."""

    def __init__(self, labels: np.ndarray) -> None:
        self.hit = labels == 1
        self._tested = ~np.isnan(labels)
        self.compounds = np.ones(labels.shape[0], bool)
        self.assays = np.ones(labels.shape[1], bool)
        self.steps: list[FilterStep] = []

    def hits_per_assay(self) -> np.ndarray:
        return self.hit[self.compounds].sum(0)

    def drop(
        self,
        name: str,
        rule: str,
        *,
        compounds: np.ndarray | None = None,
        assays: np.ndarray | None = None,
    ) -> None:
        none = np.zeros(0, bool)
        rows = self.compounds & compounds if compounds is not None else none
        columns = self.assays & assays if assays is not None else none
        if compounds is not None:
            self.compounds = self.compounds & ~compounds
        if assays is not None:
            self.assays = self.assays & ~assays
        left = self.compounds
        step = FilterStep(
            name,
            rule,
            np.flatnonzero(rows),
            np.flatnonzero(columns),
            int(left.sum()),
            int(self.assays.sum()),
            int(self._tested[left][:, self.assays].sum()),
            int(self.hit[left][:, self.assays].sum()),
        )
        self.steps.append(step)
