"""Training of activity models: the task, its losses, and ensembles trained at once."""

import functools
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from cellml.losses_activity import (
    LABEL_LOSSES,
    assay_weights,
    class_weights,
    label_weights,
    masked_mean,
)
from cellml.losses_evidential import EVIDENTIAL_LOSSES
from cellml.ops.graph_batches import flat
from cellml.tasks.activity import ActivitySpec, inputs_of, outputs
from cellml.tasks.ensembles import ensemble_task
from cellml.types import Batch, Key, Loss, ModelState, Task, Variables

LOSSES = {"binary": ("bce",), "multiclass": ("cross_entropy",), "regression": ("mse", "mae")}
"""What `LossSettings.loss` may be for each kind; the first is the default."""
EVIDENTIAL = {"binary": ("dirichlet",), "regression": ("nig",)}
"""Likewise for evidential networks."""


class LossSettings(NamedTuple):
    """How readouts count in training.

    Attributes:
      loss: One of `LOSSES` of the kind, empty for its first.
      class_balance: Whether all classes of an assay weigh the same.
      assay_balance: Whether all assays weigh the same; otherwise all readouts do.
      modality_dropout: Share of the modalities that are taken away from a compound, so that the
        network learns to do without.
      evidence_weight: Of what misleading evidence costs an evidential network.
    """

    loss: str = ""
    class_balance: bool = False
    assay_balance: bool = False
    modality_dropout: float = 0.0
    evidence_weight: float = 0.0


class Scales(NamedTuple):
    """Means and standard deviations of the training compounds.

    Attributes:
      feature_mean: Of each feature.
      feature_scale: Likewise, 1 where a feature does not vary.
      target_mean: Of each assay; 0 but for regression.
      target_scale: Likewise; 1.
    """

    feature_mean: Float[np.ndarray, " f"]
    feature_scale: Float[np.ndarray, " f"]
    target_mean: Float[np.ndarray, " t"]
    target_scale: Float[np.ndarray, " t"]


def scales_of(
    spec: ActivitySpec,
    labels: Float[np.ndarray, "n t"],
    features: Float[np.ndarray, "n f"] | None = None,
    *,
    scale_features: bool = True,
) -> Scales:
    """Measures the training compounds; other compounds must not take part.

    Args:
      spec: The kind decides whether targets are scaled.
      labels: NaN where missing.
      features: Of all modalities, NaN where missing.
      scale_features: Whether these are standardised; else they enter the network as they are.

    Returns:
      The scales.
    """
    n_assays = labels.shape[1]
    target = (np.zeros(n_assays, np.float32), np.ones(n_assays, np.float32))
    if spec.kind == "regression":
        target = _moments(labels)
    n_features = 0 if features is None else features.shape[1]
    feature = (np.zeros(n_features, np.float32), np.ones(n_features, np.float32))
    if scale_features and features is not None:
        feature = _moments(features)
    return Scales(*feature, *target)


def make_task(
    spec: ActivitySpec,
    settings: LossSettings | None = None,
    *,
    scales: Scales | None = None,
    labels: Float[np.ndarray, "n t"] | None = None,
) -> Task:
    """The training task; with several members that of `ensemble_task`.

    Args:
      spec: The network.
      settings: How readouts count; the defaults, if None.
      scales: From `scales_of`; 0 and 1, if None.
      labels: Of the training compounds, for the balance of classes and assays.

    Returns:
      The task; batches need `labels`, Float[b t], besides what `inputs_of` takes. Its metric is the
      plain loss, without weights.

    Raises:
      ValueError: The loss is none of the kind, or a balance is asked for without labels.
    """
    settings = settings or LossSettings()
    known_losses = (EVIDENTIAL if spec.evidential else LOSSES)[spec.kind]
    name = settings.loss or known_losses[0]
    if name not in known_losses:
        raise ValueError(
            f"activity: loss {name!r} for kind {spec.kind!r}, expected one of "
            f"{', '.join(known_losses)}"
        )
    if spec.evidential:
        weight_of_evidence = float(settings.evidence_weight)
        loss_of = functools.partial(EVIDENTIAL_LOSSES[name], weight=weight_of_evidence)
    else:
        loss_of = LABEL_LOSSES[name]
    by_class, by_assay = _balance(spec, settings, labels)
    scaled = _no_scales(spec) if scales is None else scales

    def init(key: Key, batch: Batch) -> Variables:
        inputs = inputs_of(spec, batch)
        network = spec.network()
        width = spec.n_features + (len(spec.modalities) if spec.presence else 0)
        others = [] if inputs.fingerprint is None else [inputs.fingerprint]
        if spec.modalities:
            others.append(jnp.zeros((len(inputs.valid), width)))
        found = network.init(key, inputs.graphs, inputs.valid, tuple(others))
        params: dict[str, Any] = {"network": found["params"]}
        if spec.uncertainty_weights:
            params["log_variance"] = jnp.zeros(len(spec.assays))
        # Without features there are no scales of them: checkpoints refuse arrays of no size.
        there = {name: jnp.asarray(value) for name, value in scaled._asdict().items() if value.size}
        return {"params": params, "scales": there}

    def label_loss(variables: Variables, batch: Batch, key: Key | None, weighted: bool) -> Loss:
        inputs = inputs_of(spec, batch)
        target = jnp.asarray(batch["labels"])
        target = flat(target) if spec.uses_graph else target
        known = jnp.isfinite(target) & inputs.valid[:, None]
        target = jnp.where(known, target, 0.0)
        if spec.kind == "regression":
            scale = variables["scales"]
            target = (target - scale["target_mean"][None]) / scale["target_scale"][None]
        found = outputs(
            spec, variables, inputs, key=key, modality_dropout=settings.modality_dropout
        )
        # NaN of padding or of readouts that do not exist must not reach the sum.
        each = jnp.where(known, loss_of(found, target), 0.0)
        if not weighted:
            return masked_mean(each, known)
        weight = label_weights(target, classes=by_class, assays=by_assay)
        return masked_mean(
            each, known, weight=weight, log_variance=variables["params"].get("log_variance")
        )

    def losses(
        variables: Variables, batch: Batch, key: Key, train: bool
    ) -> tuple[dict[str, Loss], ModelState]:
        loss = label_loss(variables, batch, key if train else None, True)
        return {name: loss}, {"scales": variables["scales"]}

    def metrics(variables: Variables, batch: Batch) -> dict[str, Loss]:
        return {name: label_loss(variables, batch, None, False)}

    task = Task(spec.name, init, losses, {name: 1.0}, metrics, reduce_state="first")
    return ensemble_task(task, spec.members) if spec.members > 1 else task


def _balance(
    spec: ActivitySpec, settings: LossSettings, labels: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    if not (settings.class_balance or settings.assay_balance):
        return None, None
    if labels is None:
        raise ValueError("activity: the balance of classes and assays needs the training labels")
    if settings.class_balance and spec.kind == "regression":
        raise ValueError("activity: class balance has no meaning for regression")
    n_classes = spec.n_classes or 2
    return (
        class_weights(labels, n_classes) if settings.class_balance else None,
        assay_weights(labels) if settings.assay_balance else None,
    )


def _no_scales(spec: ActivitySpec) -> Scales:
    sizes = (spec.n_features, spec.n_features, len(spec.assays), len(spec.assays))
    return Scales(*(np.full(n, i % 2, np.float32) for i, n in enumerate(sizes)))


def _moments(
    values: Float[np.ndarray, "n c"],
) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
    """Mean and standard deviation of what is known; 0 and 1 where nothing is, or varies."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    exact = np.where(known, values, 0).astype(np.float64)
    mean = exact.sum(axis=0) / count
    spread = np.sqrt((np.where(known, exact - mean[None, :], 0) ** 2).sum(axis=0) / count)
    same = spread <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return mean.astype(np.float32), np.where(same, 1.0, spread).astype(np.float32)
