"""Leaves of parameter trees: by name, described for messages, and with checksums."""

import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import PyTree


def named_leaves(tree: PyTree) -> list[tuple[tuple[str, ...], Any]]:
    """Leaves with their path, the same for a dictionary's key, a field and an index."""

    def part(entry: Any) -> str:
        for attribute in ("key", "name", "idx"):
            if hasattr(entry, attribute):
                return str(getattr(entry, attribute))
        raise TypeError(f"unnamed tree entry {entry!r}")

    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [(tuple(part(entry) for entry in path), leaf) for path, leaf in leaves]


def nest(named: list[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """Nested dictionaries of NumPy arrays from leaves with their paths; inverse of `walk`."""
    return traverse_util.unflatten_dict({parts: np.asarray(leaf) for parts, leaf in named})


def walk(nested: Mapping[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    """Leaves of nested dictionaries with their paths."""
    return list(traverse_util.flatten_dict(dict(nested)).items())


def describe(leaf: Any) -> str:
    """Dtype and shape of a leaf, for messages."""
    return f"{leaf.dtype}{list(leaf.shape)}"


def crc32(leaf: Any) -> int:
    """Checksum of a leaf's bytes."""
    return zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
