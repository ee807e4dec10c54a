"""Directed message passing (D-MPNN) on molecules, as the two versions of Chemprop compute it.

Messages live on directed bonds: what bond v -> w hears is the sum over the bonds that lead into v,
without its own reverse. The input enters before its activation in every step, which the papers
write otherwise; this follows the programs.

Source: Yang et al. 2019, JCIM 59:3370; Heid et al. 2024, JCIM 64:9; code of Chemprop 1.6 and 2.3.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Bool, Float, Int

from cellml.models.mlp import Mlp, Weights, activation_named, affine
from cellml.ops.graph_batches import graph_of_node

MESSAGES = ("bonds", "atoms")
AGGREGATIONS = ("mean", "sum", "norm", "attention")


class MpnnPreset(NamedTuple):
    """A network and what it sees.

    Attributes:
      features: A key of `cellml.ops.molecule_features.PRESETS`.
      fields: Fields of `Mpnn`.
    """

    features: str
    fields: dict[str, Any]


PRESETS = {
    "chemprop_v1": MpnnPreset("chemprop_v1", {"aggregation": "mean", "initializer": "xavier"}),
    "chemprop_v2": MpnnPreset("chemprop_v2", {"aggregation": "norm", "initializer": "torch"}),
    "cellml": MpnnPreset("chemprop_v2", {"aggregation": "mean", "initializer": "xavier"}),
}
"""The defaults of Chemprop's command line, and ours."""


class Mpnn(nn.Module):
    """From graphs with float features to one vector a molecule.

    Attributes:
      hidden: Width of messages, atoms and the result.
      depth: Steps; the first only reads the input, so `depth - 1` messages are passed.
      dropout: Share of hidden units that are left out in training.
      activation: A key of `cellml.models.mlp.ACTIVATIONS`.
      bias: Whether the layers of the messages have one.
      messages: One of `MESSAGES`: where they live. On atoms, an atom hears its neighbours and the
        bonds to them.
      undirected: Average the two directions of a bond before each message.
      virtual_node: Add to every message a transform of the mean over the whole molecule.
      aggregation: One of `AGGREGATIONS`, atoms to molecule; `norm` is the sum over `norm`.
      norm: See `aggregation`.
      initializer: One of `cellml.models.mlp.INITS`.
    """

    hidden: int = 300
    depth: int = 3
    dropout: float = 0.0
    activation: str = "relu"
    bias: bool = False
    messages: str = "bonds"
    undirected: bool = False
    virtual_node: bool = False
    aggregation: str = "mean"
    norm: float = 100.0
    initializer: str = "xavier"

    @nn.compact
    def __call__(
        self, graphs: jraph.GraphsTuple, valid: Bool[Array, " g"], train: bool = False
    ) -> Float[Array, "g h"]:
        """Embeds molecules.

        Args:
          graphs: Nodes Float[v d], edges Float[e d2]; edges 2k and 2k + 1 are the two directions
            of a bond.
          valid: False marks padding graphs; what they give is finite, but means nothing.
          train: Whether to drop units; needs the random stream `dropout`.

        Returns:
          One vector a graph, of padding graphs as well.

        Raises:
          ValueError: An option is unknown, or `undirected` goes with atom messages (at trace time).
        """
        self._check()
        flow = _Flow(graphs, valid)
        act, nodes = activation_named(self.activation), jnp.asarray(graphs.nodes)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        run = self._bond_messages if self.messages == "bonds" else self._atom_messages
        message = run(flow, nodes, jnp.asarray(graphs.edges), act, drop)
        out = self._weights("output", bias=True)(nodes.shape[1] + self.hidden)
        atoms = drop(act(_joint(nodes, message, out)))
        return self._read_out(flow, atoms)

    def _bond_messages(
        self,
        flow: "_Flow",
        nodes: Float[Array, "v d"],
        edges: Float[Array, "e d2"],
        act: Callable[[Array], Array],
        drop: nn.Module,
    ) -> Float[Array, "v h"]:
        kernel, bias = self._weights("input")(nodes.shape[1] + edges.shape[1])
        # Atoms are multiplied once each and not once a bond that leaves them.
        start = (nodes @ kernel[: nodes.shape[1]])[flow.senders] + edges @ kernel[nodes.shape[1] :]
        start = start if bias is None else start + bias[None, :]
        weights = self._weights("message")(self.hidden)
        hearing = self._hearing(flow, act)
        h = act(start)
        for _ in range(self.depth - 1):
            if self.undirected:
                h = (h + reverse(h)) / 2.0
            heard = hearing(flow.into_atoms(h))
            h = drop(act(start + affine(heard[flow.senders] - reverse(h), weights)))
        return flow.into_atoms(h)

    def _atom_messages(
        self,
        flow: "_Flow",
        nodes: Float[Array, "v d"],
        edges: Float[Array, "e d2"],
        act: Callable[[Array], Array],
        drop: nn.Module,
    ) -> Float[Array, "v h"]:
        start = affine(nodes, self._weights("input")(nodes.shape[1]))
        weights = self._weights("message")(self.hidden + edges.shape[1])
        hearing = self._hearing(flow, act)
        around = flow.into_atoms(edges)
        h = act(start)
        for _ in range(self.depth - 1):
            heard = hearing(flow.into_atoms(h[flow.senders]))
            h = drop(act(start + _joint(heard, around, weights)))
        return flow.into_atoms(h[flow.senders])

    def _hearing(self, flow: "_Flow", act: Callable[[Array], Array]) -> Callable[[Array], Array]:
        """What an atom hears at last, given the sum over its bonds; the virtual node's part."""
        if not self.virtual_node:
            return lambda heard: heard
        weights = self._weights("virtual", bias=True)(self.hidden)
        return lambda heard: heard + act(affine(flow.mean(heard), weights))[flow.graph]

    def _read_out(self, flow: "_Flow", atoms: Float[Array, "v h"]) -> Float[Array, "g h"]:
        if self.aggregation == "mean":
            return flow.mean(atoms)
        if self.aggregation == "attention":
            weights = self._weights("attention", features=1, bias=True)(self.hidden)
            share = jraph.segment_softmax(
                affine(atoms, weights)[:, 0], flow.graph, flow.n_graphs, indices_are_sorted=True
            )
            return flow.total(atoms * share[:, None])
        return flow.total(atoms) / (self.norm if self.aggregation == "norm" else 1.0)

    def _weights(self, name: str, *, features: int = 0, bias: bool | None = None) -> Weights:
        use_bias = self.bias if bias is None else bias
        return Weights(features or self.hidden, use_bias, self.initializer, name=name)

    def _check(self) -> None:
        for what, value, known in (
            ("messages", self.messages, MESSAGES),
            ("aggregation", self.aggregation, AGGREGATIONS),
        ):
            if value not in known:
                raise ValueError(f"mpnn: {what} {value!r}, expected one of {', '.join(known)}")
        if self.depth < 1 or (self.undirected and self.messages == "atoms"):
            raise ValueError(
                f"mpnn: depth {self.depth} must be at least 1, and undirected goes with messages "
                f"on bonds only, found {self.messages}"
            )


MPNN_FIELDS = tuple(name for name in Mpnn.__dataclass_fields__ if name not in ("parent", "name"))
"""What may be set of an `Mpnn`."""


class ActivityNet(nn.Module):
    """Whatever describes a molecule, side by side, through a feed-forward head.

    Attributes:
      head: The head.
      mpnn: The graph network, None for a model without graphs.
    """

    head: Mlp
    mpnn: Mpnn | None = None

    def __call__(
        self,
        graphs: jraph.GraphsTuple | None,
        valid: Bool[Array, " g"],
        others: tuple[Float[Array, "g _"], ...],
        train: bool = False,
    ) -> Float[Array, "g o"]:
        """Gives the outputs of molecules.

        Args:
          graphs: See `Mpnn`; None where there is no graph network.
          valid: Likewise.
          others: Fingerprints, features: anything that stands behind the graph's vector.
          train: See `Mpnn`.

        Returns:
          One row a molecule.
        """
        parts = list(others)
        if self.mpnn is not None:
            if graphs is None:
                raise ValueError("a graph network needs graphs")
            parts.insert(0, self.mpnn(graphs, valid, train))
        return self.head(jnp.concatenate(parts, axis=1), train)


def make_mpnn(preset: str, **changes: Any) -> Mpnn:
    """Builds a network from a preset and the fields that differ from it.

    Raises:
      ValueError: There is no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"mpnn: preset {preset!r}, expected one of {', '.join(PRESETS)}")
    return Mpnn(**PRESETS[preset].fields | changes)


def reverse(values: Float[Array, "e h"]) -> Float[Array, "e h"]:
    """What belongs to the other direction of each bond: row e is row e ^ 1 of `values`."""
    pairs = values.reshape(values.shape[0] // 2, 2, values.shape[1])
    return pairs[:, ::-1].reshape(values.shape)


class _Flow:
    """Who is linked with whom: sums over bonds into atoms and over atoms into molecules."""

    def __init__(self, graphs: jraph.GraphsTuple, valid: Bool[Array, " g"]) -> None:
        n_edges = graphs.edges.shape[0]
        self.n_nodes, self.n_graphs = graphs.nodes.shape[0], valid.shape[0]
        self.senders: Int[Array, " e"] = jnp.asarray(graphs.senders)
        real = jnp.repeat(valid, graphs.n_edge, total_repeat_length=n_edges)
        # Padding edges lead nowhere: their many sums into one atom would grow step by step.
        self.receivers = jnp.where(real, graphs.receivers, self.n_nodes)
        self.graph = graph_of_node(graphs)
        self.sizes = jnp.maximum(graphs.n_node, 1).astype(jnp.float32)

    def into_atoms(self, values: Float[Array, "e h"]) -> Float[Array, "v h"]:
        return jraph.segment_sum(values, self.receivers, self.n_nodes)

    def total(self, values: Float[Array, "v h"]) -> Float[Array, "g h"]:
        return jraph.segment_sum(values, self.graph, self.n_graphs, indices_are_sorted=True)

    def mean(self, values: Float[Array, "v h"]) -> Float[Array, "g h"]:
        return self.total(values) / self.sizes[:, None]


def _joint(
    first: Float[Array, "n a"],
    second: Float[Array, "n b"],
    weights: tuple[Float[Array, "c o"], Float[Array, " o"] | None],
) -> Float[Array, "n o"]:
    """A linear layer on two inputs side by side, without joining them."""
    kernel, bias = weights
    width = first.shape[1]
    return affine(first, (kernel[:width], bias)) + second @ kernel[width:]
