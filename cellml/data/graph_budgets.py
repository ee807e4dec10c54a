"""Static shapes of padded graph batches, and which molecules go together.

XLA compiles a program for each shape, so batches are padded to one of very few. In one epoch the
molecules are sorted by size and cut into strata; each batch gets one molecule of each stratum,
drawn at random. So batches are equal in number of molecules and nearly equal in atoms, little is
padded, and every molecule comes exactly once an epoch.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer

ROUNDING = 8  # budgets are multiples of it; even, so that an edge and its reverse stay together
SLACK = 1.02  # of the largest budget over the largest batch of the simulated epochs
SAVING_MIN = 0.02  # share of the padded nodes that a second shape must save


class GraphBudget(NamedTuple):
    """Room of one part of a batch.

    Attributes:
      n_node: Nodes, one of them for padding.
      n_edge: Directed edges.
      n_graph: Graphs, one of them for padding.
    """

    n_node: int
    n_edge: int
    n_graph: int

    def fits(self, nodes: int, edges: int, graphs: int) -> bool:
        """Whether so many real nodes, directed edges and graphs have room beside the padding."""
        return nodes < self.n_node and edges <= self.n_edge and graphs < self.n_graph

    def grown(self, nodes: int, edges: int, graphs: int) -> "GraphBudget":
        """The least budget that fits among this one, doubled, doubled again and so on.

        Doubling keeps the number of shapes small whatever comes.
        """
        n_node, n_edge, n_graph = self
        while nodes >= n_node:
            n_node *= 2
        while edges > n_edge:
            n_edge *= 2
        while graphs >= n_graph:
            n_graph *= 2
        return GraphBudget(n_node, n_edge, n_graph)


def smallest_budget(
    budgets: Sequence[GraphBudget], nodes: int, edges: int, graphs: int
) -> GraphBudget:
    """Finds the first budget that fits.

    Args:
      budgets: At least one, ascending.
      nodes: Real nodes of the largest part.
      edges: Directed edges of the largest part.
      graphs: Real graphs of the largest part.

    Returns:
      A budget of the list, or its last one grown.
    """
    for budget in budgets:
        if budget.fits(nodes, edges, graphs):
            return budget
    return budgets[-1].grown(nodes, edges, graphs)


def draw_epoch(
    atom_counts: Integer[np.ndarray, " m"],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    parts: int = 1,
    balanced: bool = True,
) -> Integer[np.ndarray, "steps p k"]:
    """Deals all molecules to the batches of one epoch.

    Args:
      atom_counts: Of each molecule, at least one.
      batch_size: Molecules a batch at most; where m is no multiple, some batches have fewer (one
        fewer each, as far as that goes).
      seed: Of the order.
      epoch: Counted from 0; every epoch has an order of its own.
      parts: Parts of a batch, made nearly equal in atoms.
      balanced: Whether to draw by strata of size; else the order is purely random, and the last
        batch is the short one.

    Returns:
      Molecule in each slot, -1 for none; steps = ceil(m / batch_size).

    Raises:
      ValueError: There is no molecule, or `batch_size` or `parts` is below 1.
    """
    count = len(atom_counts)
    if not count or batch_size < 1 or parts < 1:
        raise ValueError(
            f"{count} molecules, batch_size {batch_size}, parts {parts}: at least 1 expected"
        )
    rng = np.random.default_rng([seed, epoch])
    steps = -(-count // batch_size)
    slots = np.full(steps * batch_size, -1)
    slots[:count] = rng.permutation(count)
    if balanced:
        sizes = np.where(slots < 0, 0, atom_counts[slots])
        strata = slots[np.argsort(-sizes, kind="stable")].reshape(batch_size, steps)
        batches = rng.permuted(strata, axis=1).T
    else:
        batches = slots.reshape(steps, batch_size)
    return _deal_to_parts(batches, atom_counts, parts)


def _deal_to_parts(
    batches: Integer[np.ndarray, "steps b"], atom_counts: Integer[np.ndarray, " m"], parts: int
) -> Integer[np.ndarray, "steps p k"]:
    """Deals each batch's molecules, the largest first, always to the part with fewest atoms yet.

    Which molecules share a device changes no sum, so here nothing need be random.
    """
    steps, batch_size = batches.shape
    room = -(-batch_size // parts)
    dealt = np.full((steps, parts, room), -1)
    filled = np.zeros((steps, parts), np.int64)
    load = np.zeros((steps, parts), np.float64)
    sizes = np.where(batches < 0, -1, atom_counts[batches])
    order = np.argsort(-sizes, axis=1, kind="stable")
    every = np.arange(steps)
    for column in order.T:
        molecule = batches[every, column]
        part = np.argmin(np.where(filled < room, load, np.inf), axis=1)
        real = molecule >= 0
        dealt[every[real], part[real], filled[every, part][real]] = molecule[real]
        filled[every, part] += real
        load[every, part] += np.where(real, atom_counts[molecule], 0)
    return dealt


def choose_budgets(
    atom_counts: Integer[np.ndarray, " m"],
    bond_counts: Integer[np.ndarray, " m"],
    *,
    batch_size: int,
    parts: int = 1,
    balanced: bool = True,
    epochs: int = 4,
) -> tuple[GraphBudget, ...]:
    """Chooses one or two shapes for training from simulated epochs.

    Two, if the smaller one saves a good part of the padding. A batch of a later epoch that exceeds
    both, which is rare, gets a shape of its own (`smallest_budget`).

    Args:
      atom_counts: Of each molecule.
      bond_counts: Likewise.
      batch_size: See `draw_epoch`.
      parts: See `draw_epoch`.
      balanced: See `draw_epoch`.
      epochs: How many are simulated.

    Returns:
      Budgets of a part, ascending. They depend on the arguments alone.
    """
    nodes, edges = _largest_parts(
        atom_counts,
        bond_counts,
        batch_size=batch_size,
        parts=parts,
        balanced=balanced,
        epochs=epochs,
    )
    n_graph = -(-batch_size // parts) + 1
    order = np.argsort(nodes)
    nodes, edges = nodes[order], np.maximum.accumulate(edges[order])
    top = GraphBudget(
        _rounded_up(float(SLACK * nodes[-1] + 1)),
        _rounded_up(float(SLACK * edges[-1] + 1)),
        n_graph,
    )
    # With the first i + 1 batches in the smaller shape: nodes that are computed in all.
    taken = np.arange(1, len(nodes) + 1)
    computed = taken * nodes + (len(nodes) - taken) * top.n_node
    best = int(np.argmin(computed))
    if computed[best] > (1 - SAVING_MIN) * len(nodes) * top.n_node:
        return (top,)
    small = GraphBudget(
        _rounded_up(float(nodes[best] + 1)), _rounded_up(float(edges[best])), n_graph
    )
    return (small, top)


def _largest_parts(
    atom_counts: np.ndarray, bond_counts: np.ndarray, *, epochs: int, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and directed edges of the largest part of each batch of some epochs."""
    atoms, bonds = np.append(atom_counts, 0), np.append(bond_counts, 0)  # -1 is the last, 0
    nodes, edges = [], []
    for epoch in range(epochs):
        dealt = draw_epoch(atom_counts, seed=0, epoch=epoch, **options)
        nodes.append(atoms[dealt].sum(axis=2).max(axis=1))
        edges.append(2 * bonds[dealt].sum(axis=2).max(axis=1))
    return np.concatenate(nodes), np.concatenate(edges)


def _rounded_up(value: float) -> int:
    return max(1, -(-int(np.ceil(value)) // ROUNDING)) * ROUNDING
