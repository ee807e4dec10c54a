"""Files of activity models: our own, and Chemprop's checkpoints converted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cellml.models.mpnn import PRESETS
from cellml.tasks.activity import ActivityModel, ActivitySpec, Modality
from cellml.weights.chemprop import read_chemprop
from cellml.weights.store import load_weights, save_weights

KIND = "activity"
MODEL = "model.safetensors"
"""File that a training leaves in its folder."""


def save_activity(
    path: str | Path, model: ActivityModel, *, card: Mapping[str, Any] | None = None
) -> None:
    """Writes a model that `load_activity` reads.

    Args:
      path: A `.safetensors` file.
      model: The model.
      card: JSON-able facts about training and scores, kept beside the spec.
    """
    description = {"kind": KIND, "spec": model.spec.to_json(), "card": dict(card or {})}
    save_weights(path, model.variables, description)


def load_activity(path: str | Path) -> ActivityModel:
    """Loads a model of ours, or a checkpoint of Chemprop (`.pt`, `.ckpt`).

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: It holds something else, or a network that ours cannot compute.
    """
    if Path(path).suffix in (".pt", ".ckpt"):
        return from_chemprop(path)
    variables, description = load_weights(path)
    if description.get("kind") != KIND:
        raise ValueError(
            f"{path}: expected weights of an activity model, found {description.get('kind')}"
        )
    return ActivityModel(ActivitySpec.from_json(description["spec"]), variables)


def from_chemprop(path: str | Path) -> ActivityModel:
    """Converts a checkpoint of Chemprop 1 or 2; errors as of `read_chemprop`.

    Further features of molecules become the modality `features`, columns numbered.
    """
    found = read_chemprop(path)
    fields = PRESETS[found.preset].fields
    columns = tuple(f"feature_{i}" for i in range(found.n_features))
    spec = ActivitySpec(
        name=f"chemprop_v{found.version}",
        kind=found.kind,
        assays=found.assays,
        n_classes=found.n_classes,
        preset=found.preset,
        mpnn=tuple((k, v) for k, v in found.mpnn.items() if fields.get(k) != v),
        modalities=(Modality("features", columns),) if columns else (),
        presence=False,
        hidden=found.head["hidden"],
        dropout=found.head["dropout"],
        input_dropout=found.head["input_dropout"],
        activation=found.head["activation"],
    )
    variables = {"params": {"network": found.network}, "scales": found.scales}
    return ActivityModel(spec, jax.tree.map(jnp.asarray, variables))
