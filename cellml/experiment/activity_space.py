"""What a search over activity models may choose, and what its choices are in a config.

The ranges are those of the dissertation, section 3.5, which are Chemprop's: width, depth and
dropout of the graph network, and the layers of the head, whose width and dropout are the same.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from cellml.errors import UsageError

Number = int | float


class Range(NamedTuple):
    """Values from `low` to `high`, both possible, `step` apart."""

    low: Number
    high: Number
    step: Number


SPACE: Mapping[str, Range] = {
    "hidden": Range(300, 2400, 100),
    "depth": Range(2, 6, 1),
    "dropout": Range(0.0, 0.4, 0.05),
    "layers": Range(1, 3, 1),
}
"""By choice; `layers` counts the output, so that one layer makes a linear head."""


def space_of(config: ConfigDict, changes: Sequence[str] = ()) -> dict[str, Range]:
    """The choices that matter to a config's model.

    Args:
      config: The config; without graphs there is no depth.
      changes: `name=low:high:step` or `name=value` instead of a range of `SPACE`.

    Returns:
      Ranges by choice.

    Raises:
      UsageError: A change cannot be read or is of another choice.
    """
    graph = config.model.representation in ("graph", "both")
    space = {name: values for name, values in SPACE.items() if graph or name != "depth"}
    for change in changes:
        name, _, text = change.partition("=")
        if name not in space:
            raise UsageError(f"--range {change}: one of {', '.join(space)} expected")
        space[name] = _range(change, text, type(SPACE[name].low))
    return space


def changes_of(config: ConfigDict, values: Mapping[str, Number]) -> dict[str, Any]:
    """Entries of a config that follow from choices, by dotted name.

    Args:
      config: Of the run; what else it says of the graph network stays.
      values: A number a choice of `space_of`.

    Returns:
      New values.
    """
    hidden, dropout = int(values["hidden"]), float(values["dropout"])
    found: dict[str, Any] = {
        "model.hidden": (hidden,) * (int(values["layers"]) - 1),
        "model.dropout": dropout,
    }
    if config.model.preset == "chemprop_v1":  # which drops inputs of the head as well
        found["model.input_dropout"] = dropout
    if "depth" in values:
        own = {"hidden": hidden, "depth": int(values["depth"]), "dropout": dropout}
        found["model.mpnn"] = {**config.model.mpnn.to_dict(), **own}
    return found


def changed(config: ConfigDict, values: Mapping[str, Number]) -> ConfigDict:
    """A copy of a config with the choices made."""
    copy = ConfigDict(config.to_dict())
    for name, value in changes_of(config, values).items():
        part, _, last = name.partition(".")
        copy[part][last] = ConfigDict(value) if isinstance(value, dict) else value
    return copy


def settings_of(config: ConfigDict, values: Mapping[str, Number]) -> list[str]:
    """Choices as `cellml activity train --set` takes them: `model.dropout=0.1`."""
    found = changes_of(config, values)
    return [f"{name}={json.dumps(value, separators=(',', ':'))}" for name, value in found.items()]


def _range(change: str, text: str, kind: type) -> Range:
    pieces = text.split(":")
    try:
        numbers = [kind(piece) for piece in pieces]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers = [numbers[0], numbers[0], kind(1)]
    if len(numbers) != 3 or not numbers[0] <= numbers[1] or numbers[2] <= 0 or numbers[0] < 0:
        raise UsageError(f"--range {change}: low:high:step or one value expected, from 0 on")
    return Range(*numbers)
