"""Where the hits of every assay stand among its readouts, for all assays and folds at once.

A matrix of assays is mostly empty, and most readouts are no hits. So the readouts that exist are
listed once on the host (`lay_out_readouts`); on the device each one searches its place among the
few sorted hits of its own assay, and the counts per gap between hits say all that a score needs.
No assay is sorted as a whole. Groups (an assay in a fold) with similar numbers of hits share a
table, so that one assay with a thousand hits does not widen the tables of all others.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Num

from cellml.metrics.ranks import Ranks

Labels = Num[np.ndarray, "n t"]
"""Readouts of n compounds in t assays: 1 hit, 0 no hit, NaN not tested."""


class ReadoutTable(NamedTuple):
    """Readouts of groups with similar numbers of hits.

    Attributes:
      index: Readouts, as positions in the flattened matrix of compounds by assays.
      group: Row of the group that each readout belongs to.
      hit: The hits among them per group, -1 is padding; the width is a power of two less one.
      n_tested: Readouts of each group.
      cell: Place of each group in the flattened table of assays by folds.
    """

    index: Int[Array | np.ndarray, " r"]
    group: Int[Array | np.ndarray, " r"]
    hit: Int[Array | np.ndarray, "q p"]
    n_tested: Int[Array | np.ndarray, " q"]
    cell: Int[Array | np.ndarray, " q"]


class ReadoutLayout(NamedTuple):
    """Which readouts of a matrix belong to which assay and fold; serves any number of predictors.

    Attributes:
      tables: The groups that have hits and others, by their number of hits.
      n_tested: Readouts per assay and fold, also where no score is defined.
      n_hits: Hits among them.
      shape: Compounds and assays of the matrix.
    """

    tables: tuple[ReadoutTable, ...]
    n_tested: Int[np.ndarray, "t k"]
    n_hits: Int[np.ndarray, "t k"]
    shape: tuple[int, int]


def lay_out_readouts(
    labels: Labels,
    *,
    folds: Integer[np.ndarray, " n"] | None = None,
    n_folds: int | None = None,
    scored: Bool[np.ndarray, "n t"] | None = None,
) -> ReadoutLayout:
    """Lists the readouts by assay and fold.

    Args:
      labels: 1 hit, 0 no hit, NaN not tested; a matrix of integers has no missing readouts.
      folds: Fold of each compound from 0; compounds with -1 are not scored. One fold, if None.
      n_folds: Number of folds; the largest of `folds` plus one, if None.
      scored: Which readouts count, such as those that a predictor speaks of; all, if None.

    Returns:
      The layout.

    Raises:
      ValueError: Shapes differ, a label is neither 0, 1 nor NaN, or a fold is out of range.
    """
    n, t = labels.shape
    if n * t >= 2**31:
        raise ValueError(f"labels {labels.shape} have 2^31 entries or more: score them in parts")
    if scored is not None and scored.shape != labels.shape:
        raise ValueError(f"scored has shape {scored.shape}, labels {labels.shape}")
    k, fold = _check_folds(n, folds, n_folds)
    flat = labels.reshape(-1)
    known = np.flatnonzero(flat == flat)  # NaN equals nothing
    values, index = flat[known], known.astype(np.int32)
    is_hit = values == 1
    if (strange := ~is_hit & (values != 0)).any():
        row, column = divmod(int(index[np.argmax(strange)]), t)
        raise ValueError(
            f"labels[{row}, {column}] is {labels[row, column]}, expected 0, 1 or NaN (not tested)"
        )
    if scored is not None:
        keep = scored.reshape(-1)[index]
        index, is_hit = index[keep], is_hit[keep]
    row = index // t
    group = index - row * t
    if fold is not None:
        group = group * k + fold[row]
        if (fold < 0).any():
            index, is_hit, group = (x[fold[row] >= 0] for x in (index, is_hit, group))
    n_tested = np.bincount(group, minlength=t * k)
    n_hits = np.bincount(group[is_hit], minlength=t * k)
    return ReadoutLayout(
        _tables(index, group, is_hit, n_tested, n_hits),
        n_tested.reshape(t, k).astype(np.int32),
        n_hits.reshape(t, k).astype(np.int32),
        (n, t),
    )


def table_ranks(table: ReadoutTable, scores: Float[Array, " m"]) -> tuple[Ranks, Bool[Array, ""]]:
    """Ranks the hits of each group among its readouts, the highest score first; jittable.

    Args:
      table: Groups with at least one hit each.
      scores: Predictions, the flattened matrix of compounds by assays.

    Returns:
      Ranks with one query a group, equal scores tied, and whether all scores used are finite.
    """
    q, p = table.hit.shape
    valid = jnp.asarray(table.hit) >= 0
    at = jnp.where(valid, -_at(scores, jnp.maximum(table.hit, 0)), jnp.array(jnp.inf, scores.dtype))
    at = jnp.sort(at, axis=1)
    n_hits = valid.sum(1, dtype=jnp.int32)
    valid = jnp.arange(p, dtype=jnp.int32)[None, :] < n_hits[:, None]
    values = -_at(scores, jnp.asarray(table.index))
    start = jnp.asarray(table.group) * p
    passed = _search(at, start, values, equal=True)
    equal = (passed > 0) & (_at(at.reshape(-1), start + jnp.maximum(passed, 1) - 1) == values)
    # How many readouts lie in each gap between hits, and how many of them equal the hit below it.
    bins = (table.group * (p + 1) + passed) * 2 + equal.astype(jnp.int32)
    counts = jnp.zeros(q * (p + 1) * 2, jnp.int32)
    counts = counts.at[bins].add(1, mode="promise_in_bounds", wrap_negative_indices=False)
    counts = counts.reshape(q, p + 1, 2)
    up_to = jnp.cumsum(counts.sum(2, dtype=jnp.int32), axis=1, dtype=jnp.int32)
    own = jnp.broadcast_to(jnp.arange(q, dtype=jnp.int32)[:, None] * p, at.shape)
    first = _search(at, own, at, equal=False)
    last = jnp.minimum(_search(at, own, at, equal=True), n_hits[:, None])
    above = jnp.take_along_axis(up_to, first, axis=1)
    tied = jnp.take_along_axis(counts[:, :, 1], last, axis=1)
    zero = jnp.zeros_like(above)
    ranks = Ranks(
        above=jnp.where(valid, above, zero),
        tied=jnp.where(valid, tied, zero),
        above_right=jnp.where(valid, first, zero),
        tied_right=jnp.where(valid, last - first, zero),
        valid=valid,
        n_right=n_hits,
        n_candidates=jnp.asarray(table.n_tested, jnp.int32),
    )
    return ranks, jnp.isfinite(values).all()


def _check_folds(
    n: int, folds: np.ndarray | None, n_folds: int | None
) -> tuple[int, np.ndarray | None]:
    """Number of folds, and the fold of each compound unless all are in one."""
    if folds is None:
        return n_folds or 1, None
    if folds.shape != (n,):
        raise ValueError(f"folds has shape {folds.shape}, expected one for each of {n} compounds")
    low, high = int(folds.min(initial=0)), int(folds.max(initial=0))
    k = high + 1 if n_folds is None else n_folds
    if low < -1 or high >= k:
        raise ValueError(f"folds must lie within -1 (not scored) and {k - 1}, found {low}..{high}")
    return k, folds.astype(np.int32)


def _tables(
    index: np.ndarray,
    group: np.ndarray,
    is_hit: np.ndarray,
    n_tested: np.ndarray,
    n_hits: np.ndarray,
) -> tuple[ReadoutTable, ...]:
    """Groups that have a score, collected by their number of hits."""
    # Widths 15, 255, 4095 ...: few tables to compile, and searching them takes 4, 8, 12 ... steps.
    level = np.ceil(np.log2(n_hits + 1) / 4).astype(np.int8)
    level[(n_hits == 0) | (n_hits == n_tested)] = 0
    level_of = level[group]
    row_of = np.zeros(n_hits.size, np.int32)
    tables = []
    for one in np.unique(level[level > 0]).tolist():
        cells = np.flatnonzero(level == one)
        row_of[cells] = np.arange(cells.size)
        here = np.flatnonzero(level_of == one)
        rows, where, hits = row_of[group[here]], index[here], np.flatnonzero(is_hit[here])
        hits = hits[np.argsort(rows[hits], kind="stable")]
        start = np.cumsum(n_hits[cells]) - n_hits[cells]
        table = np.full((cells.size, 16**one - 1), -1, np.int32)
        table[rows[hits], np.arange(hits.size) - start[rows[hits]]] = where[hits]
        tested = n_tested[cells].astype(np.int32)
        tables.append(ReadoutTable(where, rows, table, tested, cells.astype(np.int32)))
    return tuple(tables)


def _search(
    at: Float[Array, "q p"], start: Int[Array, "*r"], values: Float[Array, "*r"], *, equal: bool
) -> Int[Array, "*r"]:
    """Number of hits below each value, or not above it.

    Args:
      at: Sorted hits of each group; the width is a power of two less one.
      start: Position of the first hit of the value's group in the flattened table.
      values: Any number of any shape.
      equal: Count the hits that equal the value as well.

    Returns:
      Numbers from 0 to p.
    """
    flat = at.reshape(-1)
    n_steps = (at.shape[1] + 1).bit_length() - 1

    # A loop: unrolled steps would be fused into one program that takes minutes to compile.
    def halve(i: Array, passed: Array) -> Array:
        step = jnp.left_shift(jnp.int32(1), n_steps - 1 - i)
        found = _at(flat, start + passed + (step - 1))  # never beyond the width of 2^m - 1
        further = found <= values if equal else found < values
        return jnp.where(further, passed + step, passed)

    return jax.lax.fori_loop(
        jnp.int32(0), jnp.int32(n_steps), halve, jnp.zeros(values.shape, jnp.int32)
    )


def _at(values: Float[Array, " m"], index: Int[Array, "*r"]) -> Float[Array, "*r"]:
    """Reads places that exist; checking millions of them would take as long as reading them."""
    return values.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)
