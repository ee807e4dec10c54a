"""From a batch of arrays to jraph's graphs; see `cellml.data.graph_batching` for how it is packed.

A batch has a leading axis of parts, which training cuts over the devices, so that every device
gets whole graphs. Keys, for p parts of V nodes, E directed edges and G graphs:

  nodes: Int8[p V 9], columns of `cellml.ops.atom_codes.ATOM_COLUMNS`.
  edges: Int8[p E 4], columns of `cellml.ops.atom_codes.BOND_COLUMNS`.
  senders, receivers: Int32[p E], nodes from 0 within the part. Edges 2k and 2k + 1 are the two
    directions of one bond, so the reverse of edge e is e ^ 1.
  n_node, n_edge: Int32[p G], how many nodes and edges belong to each graph; they add up to V and E.
  valid: Bool[p G], False for padding graphs.
  index: Int32[p G], row of the molecule in the data, -1 for padding graphs.
  Anything else: [p G ...], one entry a graph, 0 for padding graphs.

Real graphs come first. The next graph, of which there is always one, has all padding nodes (at
least one) and padding edges, which lead from the part's last node to itself; the others are empty.
"""

import jax.numpy as jnp
import jraph
from jaxtyping import Array, Int, Shaped

from cellml.types import Batch


def graphs_of(batch: Batch) -> jraph.GraphsTuple:
    """Joins the parts of a batch into one tuple of p G graphs.

    With several parts padding lies behind each of them and not at the end alone, so jraph's padding
    masks do not apply: use `flat(batch["valid"])`.

    Args:
      batch: As described above; on a device, its share.

    Returns:
      Nodes [p V 9], edges [p E 4], both still coded, senders and receivers numbered throughout.
    """
    nodes = jnp.asarray(batch["nodes"])
    parts, nodes_per_part = nodes.shape[:2]
    first = nodes_per_part * jnp.arange(parts, dtype=jnp.int32)[:, None]
    return jraph.GraphsTuple(
        nodes=flat(nodes),
        edges=flat(jnp.asarray(batch["edges"])),
        senders=flat(jnp.asarray(batch["senders"]) + first),
        receivers=flat(jnp.asarray(batch["receivers"]) + first),
        n_node=flat(jnp.asarray(batch["n_node"])),
        n_edge=flat(jnp.asarray(batch["n_edge"])),
        globals=None,
    )


def flat(values: Shaped[Array, "p g *d"]) -> Shaped[Array, "n *d"]:
    """Joins the axes of parts and of what is in them: a batch's targets as `graphs_of` has them."""
    return values.reshape(-1, *values.shape[2:])


def graph_of_node(graphs: jraph.GraphsTuple) -> Int[Array, " v"]:
    """The graph that each node belongs to, ascending; for segment sums over molecules."""
    count = graphs.n_node.shape[0]
    nodes = graphs.nodes.shape[0]
    ids = jnp.arange(count, dtype=jnp.int32)
    return jnp.repeat(ids, graphs.n_node, total_repeat_length=nodes)
