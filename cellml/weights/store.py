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

FORMAT_VERSION = 1


def save_weights(
    path: str | Path,
    variables: Mapping[str, Any],
    description: Mapping[str, Any],
    *,
    half: bool = False,
) -> None:
    """Writes a parameter tree and its description atomically; equal trees are equal bytes.

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
        _write(Path(temporary), flat, metadata)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


_DTYPES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


def _write(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file whose bytes depend on its content alone.

    The library's own writer puts the metadata in an order that changes from call to call. Arrays
    are in its order: largest elements first, so that all are aligned, then by name.

    Source: https://github.com/huggingface/safetensors#format
    """
    ordered = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in ordered:
        array = arrays[name]
        start, end = end, end + array.nbytes
        kind = _DTYPES.get(array.dtype.name)
        if kind is None:
            raise TypeError(f"{path}: {name} is {array.dtype}, numbers expected")
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in ordered:
            file.write(arrays[name].tobytes())


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
