"""`--set ENTRY=VALUE`: changes of a config on the command line."""

import json
from typing import Any

from ml_collections import ConfigDict

from cellml.errors import UsageError


def change_config(config: ConfigDict, change: str) -> None:
    """Changes one entry, in place.

    Args:
      config: The config.
      change: `name.of.entry=value`; the value is JSON, or else a text.

    Raises:
      UsageError: There is no such entry, or it is of another kind; the message lists the entries.
    """
    name, _, text = change.partition("=")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    *path, last = name.split(".")
    part: Any = config
    try:
        for step in path:
            part = part[step]
        if last not in part:
            raise KeyError(last)
        part[last] = tuple(value) if isinstance(value, list) else value
    except (KeyError, TypeError, AttributeError) as error:
        known = ", ".join(part) if isinstance(part, ConfigDict) else ""
        raise UsageError(f"--set {change}: no such entry, or of another kind ({known})") from error
