"""Splits of compounds into folds, or into training, validation and test parts.

A split is one integer a compound. Groups (scaffolds, skeletons of InChIKeys, replicates) are
integers too, see `codes_of`; a split by groups puts no group on two sides.
"""

import random
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Integer
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

TRAINING, VALIDATION, TEST = 0, 1, 2
"""Parts that `balanced_parts` and `random_parts` number."""

Groups = Integer[np.ndarray, " n"]
Split = Int[np.ndarray, " n"]


def codes_of(values: Sequence[str | None]) -> Split:
    """Numbers texts by first appearance; every None is a group of its own."""
    known: dict[object, int] = {}
    return np.array(
        [known.setdefault(("", i) if v is None else v, len(known)) for i, v in enumerate(values)],
        np.int64,
    )


def joined_groups(*groups: Groups) -> Split:
    """Groups whose members are linked by any of the given groupings, directly or through others.

    Scaffolds joined with skeletons make a split that keeps both together.
    """
    n = len(groups[0])
    links = []
    offset = n  # nodes: the compounds first, then the groups of each kind
    for kind in groups:
        names, codes = np.unique(kind, return_inverse=True)
        links.append(codes + offset)
        offset += len(names)
    rows = np.tile(np.arange(n), len(groups))
    graph = coo_array((np.ones(rows.size), (rows, np.concatenate(links))), shape=(offset, offset))
    return _by_appearance(connected_components(graph, directed=False)[1][:n])


def grouped_folds(groups: Groups, *, n_folds: int = 5) -> Split:
    """Fills folds with whole groups: the largest group next, into the smallest fold so far.

    Equal groups come by first appearance, and of equal folds the first is filled. With Bemis-Murcko
    scaffolds as groups these are the scaffold folds of the study (up to the numbers of the folds).

    Args:
      groups: Group of each compound.
      n_folds: Number of folds, 2 or more.

    Returns:
      Fold of each compound.

    Raises:
      ValueError: There are fewer groups than folds.
    Source: Moshkov et al. 2023, Nat. Commun. 14:1967; Bemis & Murcko 1996, J. Med. Chem. 39:2887.
    """
    codes = _by_appearance(groups)
    sizes = np.bincount(codes)
    _check_folds(n_folds, sizes.size, "groups")
    return _fill(np.argsort(-sizes, kind="stable"), sizes, n_folds)[codes]


def random_folds(n: int, *, n_folds: int = 5, seed: int = 0, groups: Groups | None = None) -> Split:
    """Random folds of equal sizes (they differ by one compound at most).

    Args:
      n: Number of compounds.
      n_folds: Number of folds, 2 or more.
      seed: Of the shuffle.
      groups: Kept whole, such as skeletons; sizes then differ by the size of a group at most.

    Returns:
      Fold of each compound.

    Raises:
      ValueError: There are fewer compounds or groups than folds, or groups of another number.
    """
    codes = np.arange(n) if groups is None else _by_appearance(_of_length(groups, n))
    sizes = np.bincount(codes, minlength=1)
    _check_folds(n_folds, int(codes.max(initial=-1)) + 1, "compounds or groups")
    order = np.random.default_rng(seed).permutation(sizes.size)
    return _fill(order, sizes, n_folds)[codes]


def balanced_parts(
    groups: Groups, *, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1), seed: int = 0
) -> Split:
    """Training, validation and test parts of whole groups, as Chemprop's `scaffold_balanced`.

    Groups larger than half of the validation or the test part come first, then the others, both
    shuffled; each goes to training, validation or else test, wherever there is room first.

    Args:
      groups: Scaffold of each compound, without chirality in Chemprop.
      fractions: Sizes of the parts, which sum to 1.
      seed: Of the shuffle, which is Python's own, as in Chemprop 1.

    Returns:
      0 training, 1 validation, 2 test for each compound.

    Raises:
      ValueError: The fractions are no shares that sum to 1.
    Source: Yang et al. 2019, J. Chem. Inf. Model. 59:3370, and the code of Chemprop 1.
    """
    room = np.array(_check_fractions(fractions)) * len(groups)
    codes = _by_appearance(groups)
    sizes = np.bincount(codes)
    is_big = sizes > min(room[VALIDATION] / 2, room[TEST] / 2)
    big, small = (np.flatnonzero(x).tolist() for x in (is_big, ~is_big))
    shuffle = random.Random(seed).shuffle
    shuffle(big)
    shuffle(small)
    part = np.full(sizes.size, TEST)
    filled = [0, 0]
    for group in big + small:
        for side in (TRAINING, VALIDATION):
            if filled[side] + sizes[group] <= room[side] + 1e-9:
                part[group] = side
                filled[side] += sizes[group]
                break
    return part[codes]


def random_parts(
    n: int,
    *,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    groups: Groups | None = None,
) -> Split:
    """Random training, validation and test parts.

    Args:
      n: Number of compounds.
      fractions: Sizes of the parts, which sum to 1.
      seed: Of the shuffle.
      groups: Kept whole; a group goes to the part in which its middle compound falls.

    Returns:
      0 training, 1 validation, 2 test for each compound.

    Raises:
      ValueError: The fractions are no shares that sum to 1, or groups are of another number.
    """
    borders = np.cumsum(_check_fractions(fractions))[:2] * n
    codes = np.arange(n) if groups is None else _by_appearance(_of_length(groups, n))
    sizes = np.bincount(codes)
    order = np.random.default_rng(seed).permutation(sizes.size)
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    part = np.empty(sizes.size, np.int64)
    part[order] = np.searchsorted(borders + 1e-9, middle)
    return part[codes]


def clustered_folds(
    features: Float[np.ndarray, "n f"], *, n_folds: int = 5, seed: int = 0, n_starts: int = 1
) -> Split:
    """Folds of similar profiles: k-means whose clusters have equal sizes.

    Args:
      features: Profiles (morphology, expression), finite and comparable in scale.
      n_folds: Number of folds, 2 or more.
      seed: Of the initial centres.
      n_starts: Runs, of which the one with the smallest distances counts.

    Returns:
      Fold of each compound; sizes differ by one at most.

    Raises:
      ValueError: Too few compounds, or a profile is not finite.
    Source: Bradley, Bennett & Demiriz 2000, MSR-TR-2000-65, "Constrained k-means clustering".
    """
    n = len(features)
    _check_folds(n_folds, n, "compounds")
    if not (good := np.isfinite(features).all(1)).all():
        raise ValueError(
            f"{(~good).sum()} of {n} profiles are not finite, the first is row "
            f"{int(np.argmin(good))}: split the compounds that have a profile"
        )
    from k_means_constrained import KMeansConstrained  # compiled code that nothing else needs

    model = KMeansConstrained(
        n_clusters=n_folds,
        size_min=n // n_folds,
        size_max=-(-n // n_folds),
        n_init=n_starts,
        random_state=seed,
    )
    return np.asarray(model.fit_predict(features.astype(np.float64)), np.int64)


def column_folds(values: Sequence[str]) -> tuple[Split, tuple[str, ...]]:
    """Folds that a column of a table names.

    Args:
      values: Name of the fold of each compound.

    Returns:
      Fold of each compound, and the names by fold: in the order of their numbers where all are
      whole numbers, else of the alphabet.

    Raises:
      ValueError: A name is missing.
    """
    texts = [value.strip() for value in values]
    if "" in texts:
        raise ValueError(f"row {texts.index('')} names no fold")
    names = sorted(set(texts))
    if all(name.lstrip("-").isdigit() for name in names):
        names.sort(key=int)
    place = {name: i for i, name in enumerate(names)}
    return np.array([place[text] for text in texts], np.int64), tuple(names)


def keep_together(split: Groups, groups: Groups) -> Split:
    """Moves every group to the side on which most of its members are; the lowest one of equals.

    Makes any split identity-safe. Sizes change by what is moved.

    Args:
      split: Fold or part of each compound; members on -1 follow the others of their group.
      groups: Such as skeletons of InChIKeys.

    Returns:
      The split with no group on two sides.
    """
    codes = _by_appearance(_of_length(groups, len(split)))
    votes = np.zeros((int(codes.max(initial=-1)) + 1, int(split.max(initial=0)) + 1), np.int64)
    inside = split >= 0
    np.add.at(votes, (codes[inside], split[inside]), 1)
    side = np.where(votes.any(1), votes.argmax(1), -1)
    return side[codes]


def _fill(order: np.ndarray, sizes: np.ndarray, n_folds: int) -> np.ndarray:
    """Fold of each group, where each next one goes to the smallest fold so far."""
    filled = [0] * n_folds
    fold = np.empty(sizes.size, np.int64)
    for group in order.tolist():
        smallest = filled.index(min(filled))
        fold[group] = smallest
        filled[smallest] += int(sizes[group])
    return fold


def _by_appearance(groups: np.ndarray) -> np.ndarray:
    _, first, codes = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[codes]


def _of_length(groups: np.ndarray, n: int) -> np.ndarray:
    if len(groups) != n:
        raise ValueError(f"found groups of {len(groups)} compounds, expected {n}")
    return groups


def _check_folds(n_folds: int, available: int, of: str) -> None:
    if not 2 <= n_folds <= available:
        raise ValueError(f"n_folds must lie within 2 and the {available} {of}, found {n_folds}")


def _check_fractions(fractions: tuple[float, float, float]) -> tuple[float, float, float]:
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"fractions must be three shares that sum to 1, found {fractions}")
    return fractions
