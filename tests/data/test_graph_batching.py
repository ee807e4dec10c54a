"""Padded batches of graphs: nothing lost, few shapes, padding without effect, exact resume."""

import itertools

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

from cellml.data.graph_batching import (
    evaluation_batches,
    pack_graphs,
    steps_per_epoch,
    training_batches,
)
from cellml.data.graph_budgets import GraphBudget, choose_budgets, draw_epoch, smallest_budget
from cellml.data.molecules import read_molecules
from cellml.ops.graph_batches import flat, graph_of_node, graphs_of
from cellml.train.evaluate import evaluate
from cellml.types import Task

SMILES = [
    "CCO",
    "C",
    "c1ccccc1C",
    "[Na+].[Cl-]",
    "C#N",
    "CC(C)(C)C(=O)N",
    "O",
    "CCCCN",
    "C1CC1",
    "S",
]
ROOM = (GraphBudget(24, 48, 6),)


@pytest.fixture(scope="module")
def molecules():
    return read_molecules(["", *SMILES]).molecules  # rows are 1 to 10


@pytest.fixture(scope="module")
def extras():
    n = len(SMILES)
    return {"target": np.arange(2 * n, dtype=np.float32).reshape(n, 2), "known": np.ones(n, bool)}


def unpacked(batch):
    """Graphs of a batch by index, by naive loops: atoms, directed edges with codes, extras."""
    found = {}
    for p in range(len(batch["nodes"])):
        node = edge = 0
        for g in range(batch["n_node"].shape[1]):
            nodes, edges = int(batch["n_node"][p, g]), int(batch["n_edge"][p, g])
            links = [
                (int(s) - node, int(r) - node, tuple(code.tolist()))
                for s, r, code in zip(
                    batch["senders"][p, edge : edge + edges],
                    batch["receivers"][p, edge : edge + edges],
                    batch["edges"][p, edge : edge + edges],
                    strict=True,
                )
            ]
            atoms = batch["nodes"][p, node : node + nodes].tolist()
            index = int(batch["index"][p, g])
            if batch["valid"][p, g]:
                assert index not in found
                target = batch["target"][p, g].tolist()
                found[index] = (atoms, links, target, bool(batch["known"][p, g]))
            else:
                assert index == -1
                assert not batch["known"][p, g]
                assert not np.any(batch["target"][p, g])
            node, edge = node + nodes, edge + edges
        assert (node, edge) == (batch["nodes"].shape[1], batch["edges"].shape[1])
    return found


def expected(molecules, extras):
    graphs = {}
    for i, row in enumerate(molecules.rows.tolist()):
        bonds = slice(*molecules.bond_starts[i : i + 2])
        links = []
        for (a, b), code in zip(
            molecules.ends[bonds].tolist(), molecules.bonds[bonds].tolist(), strict=True
        ):
            links += [(a, b, tuple(code)), (b, a, tuple(code))]
        atoms = molecules.atoms[slice(*molecules.atom_starts[i : i + 2])].tolist()
        graphs[row] = (atoms, links, extras["target"][i].tolist(), True)
    return graphs


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("balanced", [True, False])
def test_an_epoch_holds_every_molecule_once(molecules, extras, parts, balanced):
    budgets = choose_budgets(
        molecules.atom_counts, molecules.bond_counts, batch_size=4, parts=parts, balanced=balanced
    )
    batches = training_batches(
        molecules, extras, batch_size=4, seed=1, budgets=budgets, parts=parts, balanced=balanced
    )
    steps = steps_per_epoch(molecules, 4)
    assert steps == 3
    truth = expected(molecules, extras)
    epochs = []
    for _, group in itertools.groupby(
        enumerate(itertools.islice(batches(0), 9)), lambda x: x[0] // 3
    ):
        found = [unpacked(batch) for _, batch in group]
        merged = {k: v for one in found for k, v in one.items()}
        assert sum(map(len, found)) == len(SMILES)
        assert merged == truth
        sizes = sorted(map(len, found))
        assert sizes == ([3, 3, 4] if balanced else [2, 4, 4])
        epochs.append([sorted(one) for one in found])
    assert epochs[0] != epochs[1]


def test_evaluation_holds_every_molecule_once_even_too_large_ones(molecules, extras):
    truth = expected(molecules, extras)
    for parts, room in itertools.product((1, 2), (ROOM[0], GraphBudget(6, 10, 4))):
        batches = list(evaluation_batches(molecules, extras, budgets=(room,), parts=parts))
        assert {k: v for batch in batches for k, v in unpacked(batch).items()} == truth
        assert sum(len(unpacked(batch)) for batch in batches) == len(SMILES)
        shapes = {batch["nodes"].shape for batch in batches}
        assert shapes <= {(parts, room.n_node, 9), (parts, 2 * room.n_node, 9)}
        assert len(shapes) == (1 if room is ROOM[0] else 2)


def test_reverse_of_an_edge_is_its_neighbour_also_in_the_padding(molecules, extras):
    batch = pack_graphs(molecules, np.array([[2, 4, -1], [5, 1, 8]]), budgets=ROOM, extras=extras)
    graphs = graphs_of(batch)
    reverse = np.arange(len(graphs.senders)) ^ 1
    np.testing.assert_array_equal(graphs.senders[reverse], graphs.receivers)
    np.testing.assert_array_equal(graphs.edges[reverse], graphs.edges)
    padding = ~np.repeat(flat(jnp.asarray(batch["valid"])), graphs.n_edge)
    assert set(np.asarray(graphs.senders)[padding].tolist()) == {23, 47}  # last node of each part


def test_one_part_is_what_jraph_makes(molecules, extras):
    """The same up to the node that padding edges belong to: jraph takes the first padding node."""
    singles = []
    for place in (2, 0, 3):
        one = pack_graphs(molecules, np.array([[place]]), budgets=ROOM, extras=extras)
        singles.append(jraph.unpad_with_graphs(graphs_of(one)))
    ours = graphs_of(pack_graphs(molecules, np.array([[2, 0, 3]]), budgets=ROOM, extras=extras))
    theirs = jraph.pad_with_graphs(jraph.batch(singles), *ROOM[0])
    for name in ("nodes", "edges", "n_node", "n_edge"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    real = int(sum(graph.n_edge.sum() for graph in singles))
    np.testing.assert_array_equal(ours.senders[:real], theirs.senders[:real])
    np.testing.assert_array_equal(ours.receivers[:real], theirs.receivers[:real])
    np.testing.assert_array_equal(
        jraph.get_graph_padding_mask(ours), [True, True, True, False, False, False]
    )
    assert graph_of_node(ours).tolist()[:12] == [0] * 7 + [1] * 3 + [2] * 2
    jitted = jax.jit(lambda graphs: graph_of_node(graphs))(ours)
    np.testing.assert_array_equal(jitted, graph_of_node(ours))


def test_a_batch_depends_on_seed_and_step_alone(molecules, extras):
    def make(seed):
        return training_batches(molecules, extras, batch_size=4, seed=seed, budgets=ROOM, parts=2)

    whole = list(itertools.islice(make(3)(0), 8))
    for step, batch in zip(range(5, 8), make(3)(5), strict=False):
        for name, values in batch.items():
            np.testing.assert_array_equal(values, whole[step][name], err_msg=name)
    other = next(make(4)(0))
    assert not np.array_equal(other["index"], whole[0]["index"])


def test_too_large_a_batch_gets_a_doubled_shape(molecules, extras):
    places = np.array([[2, 5, 7, 0, 8, -1]])
    batch = pack_graphs(molecules, places, budgets=(GraphBudget(8, 16, 3),), extras=extras)
    assert batch["nodes"].shape == (1, 32, 9)  # 24 atoms
    assert batch["edges"].shape == (1, 64, 4)  # 40 directed edges
    assert batch["valid"].tolist() == [[True] * 5 + [False]]


def test_budgets_by_hand():
    small, large = GraphBudget(8, 16, 3), GraphBudget(16, 32, 3)
    assert smallest_budget((small, large), 7, 16, 2) == small
    assert smallest_budget((small, large), 8, 16, 2) == large  # no node left for padding
    assert smallest_budget((small, large), 7, 18, 2) == large
    assert smallest_budget((small, large), 40, 32, 3) == GraphBudget(64, 32, 6)


def test_chosen_shapes_are_few_and_little_is_padded():
    rng = np.random.default_rng(0)
    atoms = np.clip(rng.lognormal(2.8, 0.5, 3000), 1, 132).astype(np.int64)
    bonds = atoms + rng.integers(-1, 3, 3000)
    for parts, waste_max in ((1, 1.05), (4, 1.10)):
        budgets = choose_budgets(atoms, bonds, batch_size=64, parts=parts)
        assert len(budgets) <= 2
        nodes = []
        for epoch in range(10):
            for batch in draw_epoch(atoms, batch_size=64, seed=7, epoch=epoch, parts=parts):
                own = [part[part >= 0] for part in batch]
                v, e = (max(int(c[part].sum()) for part in own) for c in (atoms, 2 * bonds))
                nodes.append(smallest_budget(budgets, v, e, max(map(len, own))))
        assert len(set(nodes)) <= 3
        assert sum(parts * budget.n_node for budget in nodes) < waste_max * 10 * atoms.sum()
    assert all(budget.n_edge % 2 == 0 for budget in budgets)


def test_draws_are_random_within_strata():
    """Each molecule meets many others, and no batch is all large or all small."""
    sizes = np.arange(100)
    met = set()
    for epoch in range(40):
        dealt = draw_epoch(sizes, batch_size=10, seed=0, epoch=epoch)
        assert sorted(dealt.reshape(-1).tolist()) == list(range(100))
        assert np.all(np.sort(dealt[:, 0], axis=1) // 10 == np.arange(10)[None, :])
        met |= set(dealt[np.any(dealt == 37, axis=(1, 2))].reshape(-1).tolist())
    assert len(met) > 80


def test_eight_devices_count_as_one(molecules, extras):
    """Parts that `shard_batch` adds, and padding graphs, do not count."""

    def count(variables, batch):
        graphs = graphs_of(batch)
        valid = flat(jnp.asarray(batch["valid"]))
        per_graph = jraph.segment_sum(
            jnp.ones(graphs.nodes.shape[0]), graph_of_node(graphs), valid.shape[0]
        )
        total = jnp.sum(jnp.where(valid, per_graph + variables["params"], 0.0))
        return {"atoms": (total, jnp.sum(valid).astype(jnp.float32))}

    task = Task("count", lambda k, b: {}, lambda *a: ({}, {}), {}, count)
    mean = molecules.atom_counts.mean()
    for parts, devices in ((1, 1), (3, 8), (8, 8)):
        batches = evaluation_batches(molecules, extras, budgets=ROOM, parts=parts)
        found = evaluate(
            task, {"params": jnp.zeros(())}, batches, devices=jax.local_devices()[:devices]
        )
        assert found["atoms"] == pytest.approx(mean)


def test_misuse_is_named(molecules, extras):
    none = molecules.take(np.zeros(0, np.int64))
    with pytest.raises(ValueError, match="no molecules"):
        training_batches(none, {}, batch_size=2, seed=0, budgets=ROOM)
    with pytest.raises(ValueError, match="'valid' is reserved"):
        training_batches(molecules, {"valid": np.ones(10)}, batch_size=2, seed=0, budgets=ROOM)
    with pytest.raises(ValueError, match="3 entries for 10"):
        next(evaluation_batches(molecules, {"a": np.ones(3)}, budgets=ROOM))
    with pytest.raises(ValueError, match="no budgets"):
        next(evaluation_batches(molecules, {}, budgets=()))
    with pytest.raises(ValueError, match="batch_size 0"):
        draw_epoch(np.array([1]), batch_size=0, seed=0, epoch=0)
