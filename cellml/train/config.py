"""Finding the entries of a config that nothing reads.

A misspelt or forgotten entry of a config does nothing, silently. A test runs each config through
`track_reads` and fails on what `unread` returns.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

Config = Mapping[str, Any] | ConfigDict
"""What functions that take a config accept; a ConfigDict is not registered as a Mapping."""


class TrackedConfig(ConfigDict):
    """A ConfigDict that knows which of its entries were read.

    Reading is `config.a`, `config["a"]`, `config.get("a")`, iterating over values or items, and
    `**config`. Copying with `to_dict`, printing and comparing are not.
    """

    def __getitem__(self, key: str) -> Any:
        """Gives an entry and marks it as read."""
        value = super().__getitem__(key)
        self._reads().add(key)
        return value

    def to_dict(self, *_: Any, **__: Any) -> dict[str, Any]:
        """Copies to plain dictionaries; the base class would read every entry."""
        return {
            key: value.to_dict() if isinstance(value, ConfigDict) else value
            for key, value in sorted(self._fields.items())
        }

    def _reads(self) -> set[str]:
        # Not an entry of the config, hence past ConfigDict's own __setattr__.
        if "_read_keys" not in self.__dict__:
            object.__setattr__(self, "_read_keys", set())
        return self.__dict__["_read_keys"]


def track_reads(config: Config) -> TrackedConfig:
    """Copies a config, nested dictionaries included, into one that records what is read.

    Args:
      config: A ConfigDict or plain dictionaries.

    Returns:
      A copy in which nothing counts as read.
    """
    tracked = TrackedConfig()
    plain = config if isinstance(config, Mapping) else config.to_dict()
    for key, value in plain.items():
        tracked._fields[key] = track_reads(value) if isinstance(value, Mapping) else value
    return tracked


def unread(config: TrackedConfig) -> list[str]:
    """Dotted names of the entries that nothing has read, sorted; empty dictionaries excepted."""
    names = []
    for key, value in config._fields.items():
        if isinstance(value, TrackedConfig):
            names += [f"{key}.{name}" for name in unread(value)]
        elif key not in config._reads():
            names.append(str(key))
    return sorted(names)
