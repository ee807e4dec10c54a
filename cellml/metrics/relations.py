"""Which profiles count as right answers to which: labels, replicates, the notebooks' regex.

A relation is kept as two sparse tables over the same k terms. Query q is answered by candidate n if
`wanted[q]` and `offered[n]` share a term. So 10,000 profiles with several labels each take a few
hundred kilobytes, and only the rows of one block of queries are ever multiplied out.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Integer, Shaped
from scipy.sparse import csr_array


class Relation(NamedTuple):
    """Who answers whom.

    Attributes:
      wanted: Terms that each query asks for, csr_array of bool, shape (n, k).
      offered: Terms that each candidate has, likewise. The same table for a symmetric relation.
    """

    wanted: csr_array
    offered: csr_array

    @property
    def n_profiles(self) -> int:
        """Number of profiles."""
        return self.wanted.shape[0]

    def at_most(self) -> np.ndarray:
        """Upper bound of the number of right answers of each query, shape (n,).

        A candidate that shares two terms is counted twice: exact for single labels.
        """
        per_term = np.bincount(self.offered.indices, minlength=self.offered.shape[1])
        return self.wanted.astype(np.int64) @ per_term

    def rows(self, queries: Integer[np.ndarray, " q"]) -> csr_array:
        """Right answers of some queries, themselves included: csr_array, shape (q, n)."""
        return csr_array(self.wanted[queries] @ self.offered.T)

    def dense(self) -> Bool[np.ndarray, "n n"]:
        """The whole relation as a matrix; for small n and for tests."""
        return self.rows(np.arange(self.n_profiles)).toarray() > 0


def same_group(codes: Integer[np.ndarray, " n"]) -> Relation:
    """Profiles answer each other if they have the same code, as replicates do.

    Args:
      codes: Group of each profile; a negative code belongs to no group.

    Returns:
      A symmetric relation.
    """
    codes = np.asarray(codes)
    row = np.flatnonzero(codes >= 0)
    terms, column = np.unique(codes[row], return_inverse=True)
    return _symmetric(row, column, codes.size, terms.size)


def shared_labels(
    labels: Sequence[str | float | None] | Shaped[np.ndarray, " n"], *, separator: str | None = "|"
) -> Relation:
    """Profiles answer each other if they have at least one label in common.

    Args:
      labels: One text per profile, such as "kinase inhibitor|tubulin inhibitor". Anything that is
        not a text (None, NaN) and the empty text mean that the profile has no label.
      separator: What stands between the labels of one profile; None takes the text as one label.

    Returns:
      A symmetric relation. Labels are compared as they are, without white space around them.
    """
    numbers: dict[str, int] = {}
    row, column = [], []
    for n, text in enumerate(labels):
        for label in split_labels(text, separator=separator):
            row.append(n)
            column.append(numbers.setdefault(label, len(numbers)))
    return _symmetric(np.array(row, int), np.array(column, int), len(labels), len(numbers))


def moshkov2024_labels(
    labels: Sequence[str | float | None] | Shaped[np.ndarray, " n"], *, separator: str = "|"
) -> Relation:
    """Matches mechanisms as the published notebooks did, their slip included.

    Every label of the query becomes a regular expression without being escaped, which is searched
    in the joined labels of the others. Labels with brackets or plus signs so fail to match
    themselves: 849 instead of 852 treatments of BBBC022 have a partner, 1365 instead of 1368 of
    BBBC036, 204 of BBBC037 as without the slip.

    Args:
      labels: One text per profile, as for `shared_labels`.
      separator: What stands between the labels of one profile.

    Returns:
      A relation that need not be symmetric.

    Raises:
      ValueError: A label is no valid regular expression; the notebooks stop there as well.
    Source: Moshkov et al. 2024, Nat. Commun. 15:1594, notebooks of DeepProfilerExperiments.
    """
    texts = [text if isinstance(text, str) and text.strip() else None for text in labels]
    numbers: dict[str, int] = {}
    for text in texts:
        if text is not None:
            numbers.setdefault(text, len(numbers))
    # The notebooks put ___ for | so that it is no "or" within the expression.
    joined = [text.replace(separator, "___") for text in numbers]
    found: dict[str, list[int]] = {}
    for text in numbers:
        for label in text.split(separator):
            if label not in found:
                pattern = _compiled(label)
                found[label] = [k for k, other in enumerate(joined) if pattern.search(other)]
    offered = [[numbers[text]] if text is not None else [] for text in texts]
    wanted = [
        sorted({k for label in text.split(separator) for k in found[label]}) if text else []
        for text in texts
    ]
    return Relation(_table(wanted, len(numbers)), _table(offered, len(numbers)))


def split_labels(text: object, *, separator: str | None = "|") -> tuple[str, ...]:
    """Splits the labels of one profile; none for None, NaN and the empty text."""
    if not isinstance(text, str):
        return ()
    parts = text.split(separator) if separator is not None else [text]
    return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _compiled(label: str) -> re.Pattern[str]:
    try:
        return re.compile(f"(^|___){label}($|___)")
    except re.error as error:
        raise ValueError(
            f"label {label!r} is no valid regular expression ({error}), so that the notebooks of "
            "moshkov2024 fail on it; use the protocol strict"
        ) from error


def _table(terms: list[list[int]], n_terms: int) -> csr_array:
    start = np.concatenate([[0], np.cumsum([len(row) for row in terms])]).astype(np.int64)
    column = np.array([k for row in terms for k in row], np.int64)
    return csr_array((np.ones(column.size, bool), column, start), (len(terms), n_terms))


def _symmetric(row: np.ndarray, column: np.ndarray, n: int, k: int) -> Relation:
    table = csr_array((np.ones(row.size, bool), (row, column)), (n, k))
    return Relation(table, table)
