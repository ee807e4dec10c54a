"""D-MPNN against a loop over atoms and bonds, and what must not change its result."""

import functools

import jax
import jax.numpy as jnp
import jraph
import numpy as np
import pytest

from cellml.models.mlp import ACTIVATIONS, Mlp
from cellml.models.mpnn import ActivityNet, Mpnn, make_mpnn, reverse
from cellml.ops.graph_batches import graph_of_node

ATOM, BOND, HIDDEN = 5, 3, 4


class Molecule:
    """A molecule with random float features; bonds as pairs of atoms."""

    def __init__(self, seed: int, n_atoms: int, bonds: list[tuple[int, int]]) -> None:
        rng = np.random.default_rng(seed)
        self.atoms = rng.normal(size=(n_atoms, ATOM)).astype(np.float32)
        self.ends = np.array(bonds, np.int32).reshape(-1, 2)
        self.bonds = rng.normal(size=(len(bonds), BOND)).astype(np.float32)


MOLECULES = [
    Molecule(0, 5, [(0, 1), (1, 2), (2, 0), (2, 3)]),  # a ring with a tail, and a lone atom
    Molecule(1, 1, []),
    Molecule(2, 4, [(3, 1), (1, 0), (1, 2)]),
]


def pack(molecules, *, n_node: int = 16, n_edge: int = 24, n_graph: int = 6):
    """A padded tuple and its mask; padding edges lead from the last node to itself."""
    nodes, edges = np.zeros((n_node, ATOM), np.float32), np.zeros((n_edge, BOND), np.float32)
    senders, receivers = (
        np.full(n_edge, n_node - 1, np.int32),
        np.full(n_edge, n_node - 1, np.int32),
    )
    n_nodes, n_edges = np.zeros(n_graph, np.int32), np.zeros(n_graph, np.int32)
    nodes[:], edges[:] = 7.0, -3.0  # whatever padding holds must not matter
    node = edge = 0
    for i, molecule in enumerate(molecules):
        count, links = len(molecule.atoms), 2 * len(molecule.ends)
        nodes[node : node + count] = molecule.atoms
        edges[edge : edge + links] = np.repeat(molecule.bonds, 2, axis=0)
        senders[edge : edge + links] = molecule.ends.reshape(-1) + node
        receivers[edge : edge + links] = molecule.ends[:, ::-1].reshape(-1) + node
        n_nodes[i], n_edges[i] = count, links
        node, edge = node + count, edge + links
    n_nodes[len(molecules)], n_edges[len(molecules)] = n_node - node, n_edge - edge
    arrays = (nodes, edges, receivers, senders, None, n_nodes, n_edges)
    graphs = jraph.GraphsTuple(*(None if a is None else jnp.asarray(a) for a in arrays))
    return graphs, jnp.arange(n_graph) < len(molecules)


def variables_of(net: Mpnn):
    graphs, valid = pack(MOLECULES)
    made = jax.jit(net.init)(jax.random.key(3), graphs, valid)
    # Biases begin at 0, which would hide their faults.
    leaves, tree = jax.tree.flatten(made)
    keys = jax.random.split(jax.random.key(4), len(leaves))
    noisy = [x + 0.3 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(tree, noisy)


def embed(net: Mpnn, variables, molecules=MOLECULES, **sizes):
    graphs, valid = pack(molecules, **sizes)
    return np.asarray(jax.jit(net.apply)(variables, graphs, valid))[: len(molecules)]


def by_loops(net: Mpnn, variables, molecule: Molecule) -> np.ndarray:
    """The definition, atom by atom and bond by bond, in double precision."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])

    def layer(name: str, *parts: np.ndarray) -> np.ndarray:
        weights = params[name]
        return np.concatenate(parts) @ weights["kernel"] + weights.get("bias", 0.0)

    def act(x: np.ndarray) -> np.ndarray:
        return np.asarray(ACTIVATIONS[net.activation](jnp.asarray(x, jnp.float32)), np.float64)

    v = molecule.atoms.astype(np.float64)
    directed = {}
    for (a, b), bond in zip(molecule.ends.tolist(), molecule.bonds, strict=True):
        directed[a, b] = directed[b, a] = bond.astype(np.float64)

    def virtual(sums: list[np.ndarray]) -> np.ndarray:
        return (
            act(layer("virtual", np.mean(sums, axis=0))) if net.virtual_node else np.zeros(HIDDEN)
        )

    def into(state: dict, atom: int) -> np.ndarray:
        return sum((state[a, b] for a, b in directed if b == atom), np.zeros(HIDDEN))

    if net.messages == "bonds":
        start = {(a, b): layer("input", v[a], bond) for (a, b), bond in directed.items()}
    else:
        start = {(a, b): layer("input", v[a]) for a, b in directed}
    h = {pair: act(value) for pair, value in start.items()}
    for _ in range(net.depth - 1):
        if net.undirected:
            h = {(a, b): (h[a, b] + h[b, a]) / 2 for a, b in h}
        sums = [into(h, atom) for atom in range(len(v))]
        extra = virtual(sums)
        new = {}
        for a, b in directed:
            if net.messages == "bonds":
                heard = sum((h[u, w] for u, w in h if w == a and u != b), np.zeros(HIDDEN)) + extra
            else:
                bonds = sum((directed[u, w] for u, w in directed if w == a), np.zeros(BOND))
                heard = np.concatenate([sums[a] + extra, bonds])
            new[a, b] = act(start[a, b] + layer("message", heard))
        h = new
    atoms = [act(layer("output", v[i], into(h, i))) for i in range(len(v))]
    if net.aggregation == "attention":
        score = np.array([layer("attention", atom)[0] for atom in atoms])
        share = np.exp(score - score.max())
        return (share / share.sum()) @ np.array(atoms)
    total = np.sum(atoms, axis=0)
    return {"mean": total / len(v), "sum": total, "norm": total / net.norm}[net.aggregation]


VARIANTS = [
    Mpnn(HIDDEN, depth=3),
    Mpnn(HIDDEN, depth=4, aggregation="norm", norm=10.0, bias=True, activation="tanh"),
    Mpnn(HIDDEN, depth=3, undirected=True, aggregation="sum", activation="leakyrelu"),
    Mpnn(HIDDEN, depth=3, messages="atoms", bias=True),
    Mpnn(HIDDEN, depth=3, virtual_node=True, aggregation="attention"),
    Mpnn(HIDDEN, depth=1),
]


@pytest.mark.parametrize("net", VARIANTS, ids=lambda net: f"{net.messages}-{net.aggregation}")
def test_network_equals_loops_over_bonds(net: Mpnn) -> None:
    variables = variables_of(net)
    found = embed(net, variables)
    for row, molecule in zip(found, MOLECULES, strict=True):
        np.testing.assert_allclose(row, by_loops(net, variables, molecule), rtol=2e-5, atol=1e-5)


def test_order_of_atoms_bonds_and_molecules_changes_nothing() -> None:
    net = VARIANTS[0]
    variables = variables_of(net)
    expected = embed(net, variables)
    order = np.array([3, 0, 4, 1, 2])
    place = np.argsort(order)
    shuffled = Molecule(0, 5, [(0, 1)])
    shuffled.atoms = MOLECULES[0].atoms[order]
    # The bonds come in another order, one of them written from its other end.
    shuffled.ends = place[MOLECULES[0].ends][[2, 0, 3, 1]].astype(np.int32)
    shuffled.ends[1] = shuffled.ends[1][::-1]
    shuffled.bonds = MOLECULES[0].bonds[[2, 0, 3, 1]]
    found = embed(net, variables, [MOLECULES[2], shuffled, MOLECULES[1]])
    np.testing.assert_allclose(found, expected[[2, 0, 1]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("net", VARIANTS[3:5], ids=["atoms", "virtual"])
def test_padding_changes_nothing_and_leaves_no_gradient(net: Mpnn) -> None:
    variables = variables_of(net)
    small, large = (
        embed(net, variables, n_node=n, n_edge=e, n_graph=g)
        for n, e, g in ((11, 14, 4), (40, 64, 9))
    )
    np.testing.assert_allclose(small, large, rtol=1e-5, atol=1e-6)
    graphs, valid = pack(MOLECULES, n_node=40, n_edge=64)

    def total(nodes):
        found = net.apply(variables, graphs._replace(nodes=nodes), valid)
        return jnp.sum(jnp.where(valid[:, None], jnp.asarray(found), 0.0))

    gradient = np.asarray(jax.jit(jax.grad(total))(graphs.nodes))
    real = np.asarray(valid)[np.asarray(graph_of_node(graphs))]
    assert np.abs(gradient[real]).min(axis=1).max() > 0
    assert not gradient[~real].any()


def test_many_padding_edges_stay_finite_however_deep() -> None:
    net = Mpnn(HIDDEN, depth=8, activation="elu")
    variables = jax.tree.map(lambda x: 5.0 * x, variables_of(net))
    graphs, valid = pack(MOLECULES, n_node=40, n_edge=4000)
    assert np.isfinite(np.asarray(jax.jit(net.apply)(variables, graphs, valid))).all()


def test_reverse_swaps_pairs() -> None:
    values = jnp.arange(12.0).reshape(6, 2)
    np.testing.assert_array_equal(reverse(values), np.asarray(values)[np.arange(6) ^ 1])


def test_dropout_needs_training_and_is_jitted_as_eager() -> None:
    net = ActivityNet(Mlp(2, (3,), dropout=0.5), make_mpnn("cellml", hidden=HIDDEN, dropout=0.5))
    graphs, valid = pack(MOLECULES)
    extra = (jnp.ones((6, 2)),)
    variables = jax.jit(net.init)(jax.random.key(0), graphs, valid, extra)
    assert variables["params"]["head"]["layer_0"]["kernel"].shape == (HIDDEN + 2, 3)
    key = {"dropout": jax.random.key(1)}
    run = functools.partial(net.apply, train=True, rngs=key)
    eager, jitted, sure = (
        np.asarray(call(variables, graphs, valid, extra)) for call in (run, jax.jit(run), net.apply)
    )
    np.testing.assert_allclose(jitted, eager, rtol=1e-5, atol=1e-6)
    assert not np.allclose(eager, sure)


def test_initialisation_is_that_of_the_two_versions() -> None:
    wide = Mlp(40, (), initializer="torch").init(jax.random.key(0), jnp.zeros((1, 400)))["params"][
        "layer_0"
    ]
    for leaf in (wide["kernel"], wide["bias"]):  # uniform within 1 / sqrt(inputs)
        assert 0.9 / 20 < np.abs(np.asarray(leaf)).max() <= 1 / 20
    normal = Mlp(400, (), initializer="xavier").init(jax.random.key(0), jnp.zeros((1, 400)))[
        "params"
    ]
    spread = np.std(np.asarray(normal["layer_0"]["kernel"]))
    np.testing.assert_allclose(spread, (2 / 800) ** 0.5, rtol=0.02)
    assert not np.asarray(normal["layer_0"]["bias"]).any()


def test_options_are_checked() -> None:
    graphs, valid = pack(MOLECULES)
    for net, text in (
        (Mpnn(HIDDEN, aggregation="median"), "aggregation 'median', expected one of mean"),
        (Mpnn(HIDDEN, messages="rings"), "messages 'rings'"),
        (Mpnn(HIDDEN, messages="atoms", undirected=True), "undirected goes with messages on bonds"),
        (Mpnn(HIDDEN, activation="step"), "activation 'step'"),
        (Mpnn(HIDDEN, initializer="zeros"), "initializer 'zeros'"),
    ):
        with pytest.raises(ValueError, match=text):
            net.init(jax.random.key(0), graphs, valid)
    with pytest.raises(ValueError, match="preset 'v3', expected one of chemprop_v1"):
        make_mpnn("v3")
