"""Compound activity from structures and profiles, from end to end: inputs, network, predictions.

A compound is described by its graph (D-MPNN), by a Morgan fingerprint, by profiles and other
features (`modalities`), or by several of them side by side: early fusion. One network predicts all
assays. Training is in `cellml.tasks.activity_training`, files in `cellml.tasks.activity_models`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Bool, Float

from cellml.models.mlp import Mlp
from cellml.models.mpnn import PRESETS, ActivityNet, make_mpnn
from cellml.ops.graph_batches import flat, graphs_of
from cellml.ops.molecule_features import expand_atoms, expand_bonds
from cellml.types import Batch, Key, Variables

KINDS = ("binary", "regression", "multiclass")
REPRESENTATIONS = ("graph", "morgan", "both", "features_only")


class Fingerprint(NamedTuple):
    """A Morgan fingerprint; arguments of `cellml.data.fingerprints.morgan_fingerprints`."""

    radius: int = 2
    size: int = 2048
    counts: bool = False
    chirality: bool = False


MORGAN = Fingerprint()


class Modality(NamedTuple):
    """Features that a compound has all or none of.

    Attributes:
      name: Such as `morphology`.
      columns: Names of the features, in order.
    """

    name: str
    columns: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ActivitySpec:
    """Everything besides the weights that turns a compound into predictions; stored with them.

    Attributes:
      name: Name of the model.
      kind: One of `KINDS`, of all assays.
      assays: Their names.
      n_classes: Classes of each assay, for `multiclass`.
      representation: One of `REPRESENTATIONS`; modalities come on top of each.
      preset: A key of `cellml.models.mpnn.PRESETS`; it also gives the initialisation.
      mpnn: Fields of `Mpnn` that differ from the preset, as (name, value) pairs.
      fingerprint: For `morgan` and `both`.
      modalities: In the order of the columns of a batch's `features`.
      presence: Whether the network is told which modalities are there, one input each.
      largest_fragment: Whether salts lose their counter-ions, see `read_molecules`.
      hidden: Widths of the head's hidden layers.
      dropout: Of the head, see `Mlp`.
      input_dropout: Likewise.
      activation: Of the head.
      uncertainty_weights: Whether each assay's loss has a learned weight.
      members: Networks of the ensemble; from 2 on, every array of the variables has a leading axis.
    """

    name: str = "unnamed"
    kind: str = "binary"
    assays: tuple[str, ...] = ()
    n_classes: int = 0
    representation: str = "graph"
    preset: str = "cellml"
    mpnn: tuple[tuple[str, Any], ...] = ()
    fingerprint: Fingerprint = MORGAN
    modalities: tuple[Modality, ...] = ()
    presence: bool = True
    largest_fragment: bool = False
    hidden: tuple[int, ...] = (300,)
    dropout: float = 0.0
    input_dropout: float = 0.0
    activation: str = "relu"
    uncertainty_weights: bool = False
    members: int = 1

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
          ValueError: One is unknown, or they contradict each other.
        """
        for what, value, known in (
            ("kind", self.kind, KINDS),
            ("representation", self.representation, REPRESENTATIONS),
            ("preset", self.preset, tuple(PRESETS)),
        ):
            if value not in known:
                raise ValueError(f"activity: {what} {value!r}, expected one of {', '.join(known)}")
        if self.representation == "features_only" and not self.modalities:
            raise ValueError("activity: representation 'features_only' needs features")
        if (self.kind == "multiclass") != (self.n_classes > 1) or self.members < 1:
            raise ValueError(
                f"activity: kind {self.kind!r} with {self.n_classes} classes and {self.members} "
                "members: two classes or more go with 'multiclass', and one member is the least"
            )

    @property
    def uses_graph(self) -> bool:
        """Whether batches hold graphs."""
        return self.representation in ("graph", "both")

    @property
    def uses_fingerprint(self) -> bool:
        """Whether batches hold fingerprints."""
        return self.representation in ("morgan", "both")

    @property
    def n_features(self) -> int:
        """Columns of all modalities."""
        return sum(len(modality.columns) for modality in self.modalities)

    def network(self, **mpnn_changes: Any) -> ActivityNet:
        """The module of one member, with further fields of its graph network if given."""
        initializer = PRESETS[self.preset].fields["initializer"]
        head = Mlp(
            out=len(self.assays) * max(self.n_classes, 1),
            hidden=self.hidden,
            dropout=self.dropout,
            input_dropout=self.input_dropout,
            activation=self.activation,
            initializer=initializer,
        )
        fields = dict(self.mpnn) | mpnn_changes
        return ActivityNet(head, make_mpnn(self.preset, **fields) if self.uses_graph else None)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_json` is its inverse."""
        return {
            **dataclasses.asdict(self),
            "mpnn": [list(pair) for pair in self.mpnn],
            "fingerprint": self.fingerprint._asdict(),
            "modalities": [modality._asdict() for modality in self.modalities],
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "ActivitySpec":
        """Reads what `to_json` gave.

        Raises:
          ValueError: Unknown field, as of a later version.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(fields) - known:
            raise ValueError(f"activity: unknown fields {sorted(unknown)}; known {sorted(known)}")
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()
        }
        values["mpnn"] = tuple((name, value) for name, value in values.get("mpnn", ()))
        values["fingerprint"] = Fingerprint(**values.get("fingerprint", {}))
        values["modalities"] = tuple(
            Modality(m["name"], tuple(m["columns"])) for m in values.get("modalities", ())
        )
        return cls(**values)


class ActivityModel(NamedTuple):
    """A trained model: what it is, and its parameter tree.

    The collection `scales` holds `feature_mean` and `feature_scale` [f], `target_mean` and
    `target_scale` [t], with which features (if any) enter and values of regression leave the
    network.
    """

    spec: ActivitySpec
    variables: Variables


class Inputs(NamedTuple):
    """What the network sees of a batch, in floats.

    Attributes:
      graphs: Expanded features of atoms and bonds, None without graphs.
      valid: False for padding.
      fingerprint: None without one.
      features: As they came, NaN where missing; None without modalities.
    """

    graphs: jraph.GraphsTuple | None
    valid: Bool[Array, " b"]
    fingerprint: Float[Array, "b n"] | None
    features: Float[Array, "b f"] | None


def inputs_of(spec: ActivitySpec, batch: Batch) -> Inputs:
    """Unpacks a batch.

    Args:
      spec: What the model needs of it.
      batch: With graphs as in `cellml.ops.graph_batches`, else plain rows; `valid`, and
        `fingerprint` and `features` where the spec has them.

    Returns:
      The inputs.
    """

    def rows(name: str) -> Array:
        values = jnp.asarray(batch[name])
        return flat(values) if spec.uses_graph else values

    graphs = None
    if spec.uses_graph:
        graphs = graphs_of(batch)
        preset = PRESETS[spec.preset].features
        graphs = graphs._replace(
            nodes=expand_atoms(graphs.nodes, preset), edges=expand_bonds(graphs.edges, preset)
        )
    return Inputs(
        graphs,
        rows("valid"),
        rows("fingerprint").astype(jnp.float32) if spec.uses_fingerprint else None,
        rows("features") if spec.modalities else None,
    )


def outputs(
    spec: ActivitySpec,
    variables: Variables,
    inputs: Inputs,
    *,
    key: Key | None = None,
    modality_dropout: float = 0.0,
) -> Float[Array, "b t *k"]:
    """Runs the network of one member.

    Args:
      spec: Static.
      variables: Of one member.
      inputs: From `inputs_of`.
      key: Given, units are dropped as in training.
      modality_dropout: Share of the modalities that are taken away from a compound; needs `key`.

    Returns:
      Logits [b t] or [b t k]; of regression standardised values.
    """
    drop_key, modality_key = (None, None) if key is None else jax.random.split(key)
    others = [] if inputs.fingerprint is None else [inputs.fingerprint]
    if inputs.features is not None:
        rate = modality_dropout if modality_key is not None else 0.0
        others.append(_features(spec, variables, inputs.features, modality_key, rate))
    found = spec.network().apply(
        {"params": variables["params"]["network"]},
        inputs.graphs,
        inputs.valid,
        tuple(others),
        train=key is not None,
        rngs={} if drop_key is None else {"dropout": drop_key},
    )
    found = jnp.asarray(found)
    return found.reshape(len(found), -1, spec.n_classes) if spec.n_classes else found


def member_outputs(
    spec: ActivitySpec, variables: Variables, inputs: Inputs, *, key: Key | None = None
) -> Float[Array, "m b t *k"]:
    """Runs all members.

    Args:
      spec: Static.
      variables: Of the model.
      inputs: From `inputs_of`.
      key: Given, units are dropped as in training.

    Returns:
      As of `outputs`, one a member.
    """
    if spec.members == 1:
        return outputs(spec, variables, inputs, key=key)[None]
    if key is None:
        return over_members(lambda v: outputs(spec, v, inputs))(variables)
    keys = jax.random.split(key, spec.members)
    return over_members(lambda v, k: outputs(spec, v, inputs, key=k))(variables, keys)


def over_members(function: Callable[..., Any]) -> Callable[..., Any]:
    """Maps a function over the leading axis of its arguments: the members of an ensemble.

    With `vmap`, except on CPUs, whose batched products and scatters take twice the time of single
    ones: there the members take turns, within one program and with the same results.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)
    return lambda *arguments: jax.lax.map(lambda some: function(*some), arguments)


def predict_members(
    spec: ActivitySpec, variables: Variables, batch: Batch, *, key: Key | None = None
) -> Float[Array, "m b t *k"]:
    """Predictions of each member. Pure: `jax.jit(functools.partial(predict_members, spec))`.

    Args:
      spec: Static.
      variables: Of the model.
      batch: See `inputs_of`.
      key: Given, units are dropped as in training: a sample of MC dropout.

    Returns:
      Probabilities of a hit [m b t], of each class [m b t k], or values in the assays' units.
    """
    found = member_outputs(spec, variables, inputs_of(spec, batch), key=key)
    if spec.kind == "binary":
        return jax.nn.sigmoid(found)
    if spec.kind == "multiclass":
        return jax.nn.softmax(found, axis=-1)
    mean, scale = (variables["scales"][f"target_{name}"] for name in ("mean", "scale"))
    if spec.members == 1:
        mean, scale = mean[None], scale[None]
    return found * scale[:, None, :] + mean[:, None, :]


def predict(spec: ActivitySpec, variables: Variables, batch: Batch) -> Float[Array, "b t *k"]:
    """Mean of the members' predictions; arguments and units as in `predict_members`.

    Returns:
      One row a molecule; those of padding mean nothing.
    """
    return jnp.mean(predict_members(spec, variables, batch), axis=0)


def predict_with_spread(
    spec: ActivitySpec,
    variables: Variables,
    batch: Batch,
    *,
    key: Key | None = None,
    samples: int = 0,
) -> tuple[Float[Array, "b t *k"], Float[Array, "b t *k"]]:
    """Predictions and how much they disagree.

    Args:
      spec: Static.
      variables: Of the model.
      batch: See `inputs_of`.
      key: For MC dropout.
      samples: Passes of MC dropout a member; 0 for the ensemble alone. Without dropout in the
        network they are all alike.

    Returns:
      Mean and standard deviation over members and samples; 0 for one member without samples.
    """
    if not samples:
        found = predict_members(spec, variables, batch)
    else:
        if key is None:
            raise ValueError("MC dropout needs a key")
        keys = jax.random.split(key, samples)
        found = jax.lax.map(lambda k: predict_members(spec, variables, batch, key=k), keys)
        found = found.reshape(-1, *found.shape[2:])
    return jnp.mean(found, axis=0), jnp.std(found, axis=0)


def _features(
    spec: ActivitySpec,
    variables: Variables,
    raw: Float[Array, "b f"],
    key: Key | None,
    rate: float,
) -> Float[Array, "b f2"]:
    """Standardised features, 0 where missing, and behind them which modalities are there."""
    mean, scale = (variables["scales"][f"feature_{name}"] for name in ("mean", "scale"))
    known = jnp.isfinite(raw)
    # Missing is the mean; the difference is taken of finite numbers alone.
    standard = (jnp.where(known, raw, mean[None]) - mean[None]) / scale[None]
    parts, present, first = [], [], 0
    for i, modality in enumerate(spec.modalities):
        last = first + len(modality.columns)
        there = jnp.any(known[:, first:last], axis=1).astype(jnp.float32)
        if key is not None and rate > 0:
            keep = jax.random.bernoulli(jax.random.fold_in(key, i), 1.0 - rate, there.shape)
            there = there * keep.astype(jnp.float32)
        parts.append(standard[:, first:last] * there[:, None])
        present.append(there[:, None])
        first = last
    return jnp.concatenate(parts + (present if spec.presence else []), axis=1)
