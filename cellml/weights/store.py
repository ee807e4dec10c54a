"""Our own weights files: parameter trees with a JSON description, in one safetensors file.

Arrays may be stored in float16, which halves a model that ships; they load as float32.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

FORMAT_VERSION = 1


def save_weights(
    path: str | Path,
    variables: Mapping[str, Any],
    description: Mapping[str, Any],
    *,
    half: bool = False,
) -> None:
    """Writes a parameter tree and its description atomically.

    Args:
      path: File to write; the usual ending is `.safetensors`.
      variables: Nested dictionary of arrays; keys must not contain "/".
      description: JSON-able; comes back unchanged from `load_weights`.
      half: Store floating-point arrays in float16.
    """
    flat = {}
    for name, leaf in flatten_dict(dict(variables), sep="/").items():
        array = np.asarray(leaf)
        if half and np.issubdtype(array.dtype, np.floating):
            array = array.astype(np.float16)
        flat[name] = np.ascontiguousarray(array)
    metadata = {
        "format": "cellml",
        "version": str(FORMAT_VERSION),
        "description": json.dumps(description, sort_keys=True),
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(flat, temporary, metadata=metadata)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads what `save_weights` wrote.

    Returns:
      The tree, floating-point leaves as float32, and the description.
    Raises:
      FileNotFoundError: There is no such file.
      ValueError: The file is not a cellml weights file, is cut short, or is of a later version.
    """
    with _opened(path) as (file, description):
        flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tree = {
        name: jnp.asarray(a, jnp.float32) if np.issubdtype(a.dtype, np.floating) else jnp.asarray(a)
        for name, a in flat.items()
    }
    return unflatten_dict(tree, sep="/"), description


def read_description(path: str | Path) -> dict[str, Any]:
    """The description alone, without reading the arrays; errors as of `load_weights`."""
    with _opened(path) as (_, description):
        return description


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """An open weights file of ours, and its description."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != "cellml":
                raise ValueError(f"{path}: a safetensors file, but not one written by cellml")
            if int(metadata["version"]) > FORMAT_VERSION:
                raise ValueError(
                    f"{path}: format version {metadata['version']}, this cellml reads "
                    f"{FORMAT_VERSION}"
                )
            yield file, json.loads(metadata["description"])
    except SafetensorError as error:
        raise ValueError(
            f"{path}: expected a cellml weights file (.safetensors), found {error}"
        ) from error


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
