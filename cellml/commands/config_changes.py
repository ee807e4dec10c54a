"""`--set ENTRY=VALUE`: changes of a config on the command line."""

import json
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from cellml.data.text_tables import suggestion
from cellml.errors import UsageError


def change_config(
    config: ConfigDict, change: str, *, open_entries: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Changes one entry, in place.

    Args:
      config: The config.
      change: `name.of.entry=value`; the value is JSON, or else a text.
      open_entries: Parts of the config, by dotted name, that hold only what differs from a default
        elsewhere, and the names that may stand in them.

    Raises:
      UsageError: There is no such entry, or it is of another kind; the message names the closest
        entry, or all, and what was found and expected.
    """
    name, sign, text = change.partition("=")
    if not sign:
        raise UsageError(f"--set {change}: NAME=VALUE expected")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    value = tuple(value) if isinstance(value, list) else value
    *path, last = name.split(".")
    part, trail = config, ""
    for step in path:
        _check(change, trail, step, list(part))
        trail = f"{trail}.{step}" if trail else step
        part = part[step]
        if not isinstance(part, ConfigDict):
            raise UsageError(f"--set {change}: {trail} is one value, {part!r}; nothing is in it")
    known = (open_entries or {}).get(trail)
    _check(change, trail, last, list(known) if known is not None else list(part))
    inside = (open_entries or {}).get(name)
    if isinstance(value, dict) and inside is not None:
        for entry in value:
            _check(change, name, entry, list(inside))
    before = part.get(last)
    try:
        part[last] = ConfigDict(value) if isinstance(value, dict) else value
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"--set {change}: found a {type(value).__name__}, expected a {type(before).__name__} "
            f"as {before!r}"
        ) from error


def _check(change: str, trail: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        where = f"no such entry in {trail!r}" if trail else "no such entry"
        raise UsageError(f"--set {change}: {where}{suggestion(name, known)}")
