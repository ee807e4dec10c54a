"""Batches of molecules as padded graphs in few static shapes; nothing is ever left out.

A batch depends on the seed and its step alone, so training resumes exactly. Its leading axis is
that of the parts, see `cellml.ops.graph_batches`: with as many parts as there are devices, training
and evaluation give each device one part, a padded tuple of graphs of its own. (With another number
of parts `cellml.train.parallel` would pad the batch with parts that do not count.)
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Integer, Shaped

from cellml.data.graph_budgets import GraphBudget, draw_epoch, smallest_budget
from cellml.data.molecules import Molecules
from cellml.types import Batch

Extras = Mapping[str, np.ndarray]
"""Further values by key, one entry a molecule: targets, weights, features."""


def steps_per_epoch(molecules: Molecules, batch_size: int) -> int:
    """Number of training steps in which every molecule comes once."""
    return -(-len(molecules) // batch_size)


def training_batches(
    molecules: Molecules,
    extras: Extras,
    *,
    batch_size: int,
    seed: int,
    budgets: Sequence[GraphBudget],
    parts: int = 1,
    balanced: bool = True,
) -> Callable[[int], Iterator[Batch]]:
    """Endless batches that can start at any step; every molecule comes once an epoch.

    Args:
      molecules: What to train on.
      extras: Further values of each of them.
      batch_size: Molecules a step, over all parts.
      seed: Of the order.
      budgets: Shapes of a part, from `choose_budgets` with the same options.
      parts: Parts of a batch: the number of devices.
      balanced: See `draw_epoch`.

    Returns:
      `batches(start_step)`, an iterator of host batches.

    Raises:
      ValueError: There is no molecule, the extras have another length or a reserved name, or
        `budgets` is empty.
    """
    _check(molecules, extras, budgets)
    atom_counts = molecules.atom_counts

    def batches(start_step: int) -> Iterator[Batch]:
        first_epoch, skipped = divmod(start_step, steps_per_epoch(molecules, batch_size))
        for epoch in itertools.count(first_epoch):
            dealt = draw_epoch(
                atom_counts,
                batch_size=batch_size,
                seed=seed,
                epoch=epoch,
                parts=parts,
                balanced=balanced,
            )
            for places in dealt[skipped:]:
                yield pack_graphs(molecules, places, budgets=budgets, extras=extras)
            skipped = 0

    return batches


def evaluation_batches(
    molecules: Molecules,
    extras: Extras,
    *,
    budgets: Sequence[GraphBudget],
    parts: int = 1,
) -> Iterator[Batch]:
    """Gives every molecule once, parts filled to the brim; `index` tells which is where.

    Args:
      molecules: What to predict.
      extras: Further values of each of them.
      budgets: Shapes; the last one is filled. A molecule that is too large for it gets a larger
        one of its own. A shape made for training will do.
      parts: Parts of a batch: the number of devices.

    Yields:
      Host batches, those of too large molecules last; unfilled parts are padding.

    Raises:
      ValueError: As from `training_batches`.
    """
    _check(molecules, extras, budgets)
    atoms, edges = molecules.atom_counts, 2 * molecules.bond_counts
    room = budgets[-1]
    fitting = (atoms < room.n_node) & (edges <= room.n_edge)
    fills = _fill(np.flatnonzero(fitting), atoms, edges, room)
    for group in (fills, [np.array([place]) for place in np.flatnonzero(~fitting)]):
        for first in range(0, len(group), parts):
            some = group[first : first + parts]
            places = np.full((parts, max(map(len, some))), -1)
            for row, part in zip(places, some, strict=False):
                row[: len(part)] = part
            yield pack_graphs(molecules, places, budgets=[room], extras=extras)


def pack_graphs(
    molecules: Molecules,
    places: Integer[np.ndarray, "p k"],
    *,
    budgets: Sequence[GraphBudget],
    extras: Extras,
) -> dict[str, np.ndarray]:
    """Packs molecules into a batch of the smallest shape that fits, see `cellml.ops.graph_batches`.

    Args:
      molecules: Where they are taken from.
      places: Molecules of each part, -1 for none.
      budgets: Shapes to choose from, ascending; the last one is doubled if need be.
      extras: Further values of each of `molecules`, given to the batch.

    Returns:
      The batch.
    """
    chosen = [row[row >= 0] for row in places]
    taken = [molecules.take(part) for part in chosen]
    budget = smallest_budget(
        budgets,
        max(len(part.atoms) for part in taken),
        max(2 * len(part.bonds) for part in taken),
        max(len(part) for part in taken),
    )
    packed = [_pack_part(part, budget) for part in taken]
    batch = {name: np.stack([part[name] for part in packed]) for name in packed[0]}
    for name, values in extras.items():
        batch[name] = np.zeros((len(chosen), budget.n_graph, *values.shape[1:]), values.dtype)
        for row, part in zip(batch[name], chosen, strict=True):
            row[: len(part)] = values[part]
    return batch


RESERVED = frozenset(
    ("nodes", "edges", "senders", "receivers", "n_node", "n_edge", "valid", "index")
)
"""Keys of a batch that `pack_graphs` fills; extras have other names."""


def _pack_part(part: Molecules, budget: GraphBudget) -> dict[str, np.ndarray]:
    graphs, nodes, edges = len(part), len(part.atoms), 2 * len(part.bonds)
    begin, end = _directed(part)
    return {
        "nodes": _padded(part.atoms, budget.n_node, 0),
        "edges": _padded(np.repeat(part.bonds, 2, axis=0), budget.n_edge, 0),
        "senders": _padded(begin, budget.n_edge, budget.n_node - 1),
        "receivers": _padded(end, budget.n_edge, budget.n_node - 1),
        "n_node": _counts(part.atom_counts, budget.n_graph, budget.n_node - nodes),
        "n_edge": _counts(2 * part.bond_counts, budget.n_graph, budget.n_edge - edges),
        "valid": np.arange(budget.n_graph) < graphs,
        "index": _padded(part.rows.astype(np.int32), budget.n_graph, -1),
    }


def _directed(part: Molecules) -> tuple[np.ndarray, np.ndarray]:
    """Senders and receivers: each bond from its first atom to its second, then back."""
    first_atom = np.repeat(part.atom_starts[:-1], part.bond_counts)[:, None]
    ends = (part.ends + first_atom).astype(np.int32)
    return ends.reshape(-1), ends[:, ::-1].reshape(-1)


def _padded(
    values: Shaped[np.ndarray, "n *d"], length: int, fill: int
) -> Shaped[np.ndarray, "m *d"]:
    padded = np.full((length, *values.shape[1:]), fill, values.dtype)
    padded[: len(values)] = values
    return padded


def _counts(counts: np.ndarray, length: int, padding: int) -> Integer[np.ndarray, " g"]:
    """Counts of the real graphs, then `padding` for the first padding graph, then zeros."""
    padded = _padded(counts.astype(np.int32), length, 0)
    padded[len(counts)] = padding
    return padded


def _fill(
    places: np.ndarray, atoms: np.ndarray, edges: np.ndarray, room: GraphBudget
) -> list[np.ndarray]:
    """Cuts a sequence of molecules into runs that fit, each as long as possible."""
    fills, first, nodes, links = [], 0, 0, 0
    for i, place in enumerate(places):
        nodes, links = nodes + int(atoms[place]), links + int(edges[place])
        if not room.fits(nodes, links, i - first + 1):
            fills.append(places[first:i])
            first, nodes, links = i, int(atoms[place]), int(edges[place])
    if first < len(places):
        fills.append(places[first:])
    return fills


def _check(molecules: Molecules, extras: Extras, budgets: Sequence[GraphBudget]) -> None:
    if not len(molecules):
        raise ValueError("there are no molecules")
    if not budgets:
        raise ValueError("there are no budgets")
    for name, values in extras.items():
        if name in RESERVED:
            raise ValueError(f"extras: the name {name!r} is reserved")
        if len(values) != len(molecules):
            raise ValueError(
                f"extras: {name!r} has {len(values)} entries for {len(molecules)} molecules"
            )
