"""Which atoms and fingerprint bits an output rests on: integrated gradients, in pure JAX.

The inputs go on a straight line from zero to what they are; the gradients on the way, times the
inputs, add up to the difference of the output between the two ends (completeness), but for the
error of the sum over finitely many steps.

Source: Sundararajan et al. 2017, ICML (PMLR 70:3319).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from cellml.tasks.activity import (
    ActivitySpec,
    Inputs,
    inputs_of,
    outputs,
    predict,
)
from cellml.tasks.ensembles import over_members
from cellml.types import Batch, Variables


class Attribution(NamedTuple):
    """What the output of each molecule of a batch rests on; means over the members.

    Attributes:
      atoms: Of each atom, over its features; None without graphs. Those of padding mean nothing.
      bits: Of each bit (or count) of the fingerprint; None without one.
      output: The explained output.
      baseline: The output with all features of atoms and all bits at zero.
      prediction: Probability or value, as of `predict`.
    """

    atoms: Float[Array, " v"] | None
    bits: Float[Array, "b n"] | None
    output: Float[Array, " b"]
    baseline: Float[Array, " b"]
    prediction: Float[Array, " b"]


def integrated_gradients(
    spec: ActivitySpec,
    variables: Variables,
    batch: Batch,
    assay: Integer[Array, ""],
    category: Integer[Array, ""],
    *,
    steps: int = 64,
) -> Attribution:
    """Attributes one output of every molecule. Pure: jit it with `spec` and `steps` bound.

    Atoms and bits are explained together; bonds and the features of modalities stay as they are.

    Args:
      spec: Static; of a model that sees structures.
      variables: Of the model.
      batch: See `inputs_of`.
      assay: Number of the assay.
      category: Number of the class; only of `multiclass`.
      steps: Static; gradients on the way, at the middles of as many equal parts of it.

    Returns:
      Attributions of the logit of a hit, of the logit of the class, or of the value in the assay's
      units.

    Raises:
      ValueError: The model sees no structure, or there is no step (at trace time).
    """
    if steps < 1 or not (spec.uses_graph or spec.uses_fingerprint):
        raise ValueError(
            f"integrated gradients: found {steps} steps and representation "
            f"{spec.representation!r}, at least one step and a structure expected"
        )
    inputs = inputs_of(spec, batch)
    ends = _explained(inputs)

    def of_member(own: Variables) -> tuple[dict[str, Array], Array, Array]:
        def output(some: dict[str, Array]) -> Array:
            return _output(spec, own, _replaced(inputs, some), assay, category)

        def total(some: dict[str, Array]) -> Array:
            # Molecules do not see each other: the gradient of the sum is each one's own.
            return jnp.sum(jnp.where(inputs.valid, output(some), 0.0))

        def add(gradients: dict[str, Array], step: Array) -> tuple[dict[str, Array], None]:
            share = (step.astype(jnp.float32) + 0.5) / steps
            here = jax.grad(total)(jax.tree.map(lambda x: share * x, ends))
            return jax.tree.map(jnp.add, gradients, here), None

        zero = jax.tree.map(jnp.zeros_like, ends)
        gradients, _ = jax.lax.scan(add, zero, jnp.arange(steps))
        products = jax.tree.map(lambda x, g: x * g / steps, ends, gradients)
        if "atoms" in products:
            products["atoms"] = jnp.sum(products["atoms"], axis=1)
        return products, output(ends), output(zero)

    if spec.members == 1:
        found, output, baseline = of_member(variables)
    else:
        found, output, baseline = jax.tree.map(
            lambda x: jnp.mean(x, axis=0), over_members(of_member)(variables)
        )
    prediction = jnp.take(predict(spec, variables, batch), assay, axis=1)
    if spec.kind == "multiclass":
        prediction = jnp.take(prediction, category, axis=1)
    return Attribution(found.get("atoms"), found.get("bits"), output, baseline, prediction)


def _explained(inputs: Inputs) -> dict[str, Array]:
    found = {}
    if inputs.graphs is not None:
        found["atoms"] = jnp.asarray(inputs.graphs.nodes)
    if inputs.fingerprint is not None:
        found["bits"] = inputs.fingerprint
    return found


def _replaced(inputs: Inputs, some: dict[str, Array]) -> Inputs:
    if inputs.graphs is not None:
        inputs = inputs._replace(graphs=inputs.graphs._replace(nodes=some["atoms"]))
    return inputs._replace(fingerprint=some["bits"]) if "bits" in some else inputs


def _output(
    spec: ActivitySpec,
    variables: Variables,
    inputs: Inputs,
    assay: Integer[Array, ""],
    category: Integer[Array, ""],
) -> Float[Array, " b"]:
    found = jnp.take(outputs(spec, variables, inputs), assay, axis=1)
    if spec.kind == "multiclass":
        return jnp.take(found, category, axis=1)
    if spec.evidential:  # log odds of the mean probability, or the mean
        alpha = jax.nn.softplus(found) + 1.0
        found = jnp.log(alpha[:, 1] / alpha[:, 0]) if spec.kind == "binary" else found[:, 0]
    if spec.kind == "regression":
        mean, scale = (variables["scales"][f"target_{name}"] for name in ("mean", "scale"))
        return found * jnp.take(scale, assay) + jnp.take(mean, assay)
    return found
