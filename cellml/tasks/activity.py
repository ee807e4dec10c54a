"""Compound activity from structures and profiles, from end to end: inputs, network, predictions.

A compound is described by its graph (D-MPNN), by a Morgan fingerprint, by profiles and other
features (`modalities`), or by several of them side by side: early fusion. One network predicts all
assays. Training is in `cellml.tasks.activity_training`, files in `cellml.tasks.activity_models`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import jraph
from jaxtyping import Array, Bool, Float

from cellml.losses_evidential import beta_moments, nig_moments
from cellml.models.mpnn import PRESETS
from cellml.ops.graph_batches import flat, graphs_of
from cellml.ops.kernel_machine import kernel_machine
from cellml.ops.molecule_features import expand_atoms, expand_bonds
from cellml.tasks.activity_spec import (
    KINDS,
    REPRESENTATIONS,
    ActivitySpec,
    Fingerprint,
    Modality,
)
from cellml.tasks.ensembles import over_members
from cellml.types import Batch, Key, Variables

__all__ = [
    "KINDS",
    "REPRESENTATIONS",
    "ActivityModel",
    "ActivitySpec",
    "Fingerprint",
    "Inputs",
    "Modality",
    "inputs_of",
    "member_outputs",
    "outputs",
    "predict",
    "predict_members",
    "predict_with_spread",
]


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
      Logits [b t] or [b t k]; of regression standardised values; with evidence, what
      `cellml.losses_evidential` takes.
    """
    if spec.is_kernel:
        assert inputs.fingerprint is not None
        machine = variables["params"]["network"]
        return kernel_machine(machine, inputs.fingerprint, parts=spec.fingerprint.n_kinds)
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
    return found.reshape(len(found), -1, spec.n_outputs) if spec.n_outputs else found


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
    return _member_moments(spec, variables, batch, key)[0]


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
      Mean and standard deviation over members and samples (0 for one member without samples),
      the latter with what the members state themselves, if they are evidential.
    """
    if not samples:
        found, variance = _member_moments(spec, variables, batch, key)
    else:
        if key is None:
            raise ValueError("MC dropout needs a key")
        keys = jax.random.split(key, samples)
        several = jax.lax.map(lambda k: _member_moments(spec, variables, batch, k), keys)
        found, variance = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), several)
    spread = jnp.std(found, axis=0)
    if spec.evidential:
        spread = jnp.sqrt(spread**2 + jnp.mean(variance, axis=0))
    return jnp.mean(found, axis=0), spread


def _member_moments(
    spec: ActivitySpec, variables: Variables, batch: Batch, key: Key | None
) -> tuple[Float[Array, "m b t *k"], Float[Array, "m b t *k"]]:
    """Predictions of each member, and the variance that it states itself; 0 without evidence."""
    found = member_outputs(spec, variables, inputs_of(spec, batch), key=key)
    if spec.evidential:
        found, variance = (beta_moments if spec.kind == "binary" else nig_moments)(found)
    else:
        if spec.kind != "regression":
            found = jax.nn.softmax(found, axis=-1) if spec.n_classes else jax.nn.sigmoid(found)
        variance = jnp.zeros_like(found)
    if spec.kind == "regression":
        mean, scale = (variables["scales"][f"target_{name}"] for name in ("mean", "scale"))
        if spec.members == 1:
            mean, scale = mean[None], scale[None]
        found = found * scale[:, None, :] + mean[:, None, :]
        variance = variance * scale[:, None, :] ** 2
    return found, variance


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
