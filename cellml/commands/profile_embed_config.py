"""What DeepProfiler's configuration says of features, for `cellml profile embed`.

Every key of the section `profile` that is given is followed, or refused with its name, or listed
as of no effect. Options on the command line overrule it.
"""

from pathlib import Path
from typing import Any, NamedTuple

from cellml.data.painting_config import flat_config
from cellml.data.painting_project import Project
from cellml.errors import UserError
from cellml.weights.registry import CELLS, model_names

CLASSICAL, RANDOM, IMAGENET = "classical", "random", "imagenet"
LAYER = "block6a_activation"
CHECKPOINTS = "checkpoint"
"""Folder of an experiment in which DeepProfiler keeps its weights."""


class Followed(NamedTuple):
    """What the section `profile` asks for; None where it says nothing, or of no use.

    Attributes:
      model: Weights file, where the user named no model.
      input_px: Side that crops are resized to.
      batch_size: Cells at a time.
      notes: For people.
    """

    model: str | None = None
    input_px: int | None = None
    batch_size: int | None = None
    notes: tuple[str, ...] = ()


def follow_profile(project: Project, experiment: Path, model: str | None) -> Followed:
    """Reads the section `profile` of a project's configuration.

    Args:
      project: Has the configuration.
      experiment: Folder of the experiment.
      model: What the user named, as `--model`; None for the network of the experiment.

    Returns:
      What to do; only keys that the file gives.

    Raises:
      UserError: A key is unknown or misspelt, or asks for what there is not here.
    """
    settings = project.settings("embed")
    named = flat_config(project.config)
    given = {key: settings[key] for key in settings if key in named and key.startswith("profile.")}
    file, notes, unused = project.config_file, [], []
    layer = given.get("profile.feature_layer", LAYER)
    if layer != LAYER:
        if model not in (CLASSICAL, *model_names(CELLS)):
            raise _refused(file, "feature_layer", layer, f"{LAYER!r}, where networks are cut here,")
        unused.append("profile.feature_layer")
    side = given.get("profile.use_pretrained_input_size")
    if side is not None and model not in (RANDOM, IMAGENET):
        unused.append("profile.use_pretrained_input_size")
        side = None
    weights = None
    if model is None and "profile.checkpoint" in given:
        weights, note = _checkpoint(file, experiment, given["profile.checkpoint"])
        notes.append(note)
    if unused:
        notes.append(f"{file}: not followed by this model: {', '.join(unused)}")
    batch_size = given.get("profile.batch_size")
    return Followed(weights, side, batch_size, tuple(filter(None, notes)))


def _checkpoint(file: Path, experiment: Path, name: str | None) -> tuple[str | None, str]:
    """The weights file that the configuration names, if it is there, and a note.

    Without it what `train` made here is the model; DeepProfiler's "None", ImageNet's weights, has
    to be said with `--model imagenet`.
    """
    if name is None:
        return None, ""
    path = experiment / CHECKPOINTS / name
    if path.is_file():
        return str(path), f"{file}: profile.checkpoint: {path} is the model"
    if not any((experiment / "model" / "embedders").glob("step_*.safetensors")):
        raise _refused(file, "checkpoint", name, f"a file (there is no {path}), or --model,")
    return None, f"{path} is not there (profile.checkpoint); what `train` made here is the model"


def _refused(file: Path, key: str, value: Any, expected: str) -> UserError:
    return UserError(f"{file}, for 'embed': profile.{key} is {value!r}, {expected} expected")
