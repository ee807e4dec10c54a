"""State dicts of PyTorch (.pth, .pt, .safetensors) as NumPy arrays, without PyTorch.

A `.pth` file is a pickle, which may run any code when it is loaded. The unpickler here knows
tensors, storages and ordered dictionaries; anything else ends with an error.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a file.

    Args:
      path: A safetensors file, or what `torch.save` wrote (before or since PyTorch 1.6): a state
        dict, or a checkpoint with one in `state_dict`, `model_state_dict` or `model`.
    Returns:
      Arrays by name, without the prefix `module.` of `DataParallel`.
    Raises:
      FileNotFoundError: There is no such file.
      ValueError: It is no such file, or holds something other than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    try:
        found = _load(path)
    except (
        SafetensorError,
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        IndexError,
        struct.error,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        raise ValueError(
            f"{path}: expected tensors of PyTorch (.safetensors, .pth), found {error}"
        ) from error
    for name in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping):
        raise ValueError(f"{path}: expected a state dict, found {type(found).__name__}")
    strangers = [str(name) for name, value in found.items() if not isinstance(value, np.ndarray)]
    if strangers:
        raise ValueError(f"{path}: expected tensors alone, found others in {', '.join(strangers)}")
    return {name.removeprefix("module."): value for name, value in found.items()}


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _load_zip(archive)
    with open(path, "rb") as file:
        return _load_legacy(file)


def _load_zip(archive: zipfile.ZipFile) -> Any:
    """The format since 1.6: `<name>/data.pkl` and one file a storage, `<name>/data/<key>`."""
    (pickled,) = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
    root = pickled.split("/")[0]
    if f"{root}/byteorder" in archive.namelist():
        order = archive.read(f"{root}/byteorder")
        if order != b"little":
            raise pickle.UnpicklingError(f"byte order {order!r}")

    def storage(key: str, dtype: np.dtype, length: int) -> np.ndarray:
        return np.frombuffer(archive.read(f"{root}/data/{key}"), dtype, length)

    return _TensorUnpickler(io.BytesIO(archive.read(pickled)), storage).load()


def _load_legacy(file: io.BufferedIOBase) -> Any:
    """The format before 1.6: five pickles in a row, then the storages in the order of the last."""
    plain = [_TensorUnpickler(file, None).load() for _ in range(3)]
    if plain[0] != _LEGACY_MAGIC:
        raise pickle.UnpicklingError("a pickle that torch.save did not write")
    if not plain[2].get("little_endian", True):
        raise pickle.UnpicklingError("big-endian numbers")
    # The tensors come before their numbers: they are views of arrays that are filled afterwards.
    storages: dict[str, np.ndarray] = {}

    def storage(key: str, dtype: np.dtype, length: int) -> np.ndarray:
        if key not in storages:
            storages[key] = np.empty(length, dtype)
        return storages[key]

    tree = _TensorUnpickler(file, storage).load()
    for key in _TensorUnpickler(file, None).load():
        array = storages[key]
        (length,) = struct.unpack("<q", file.read(8))
        if length != array.size:
            raise pickle.UnpicklingError(f"storage {key} of {length} numbers, not {array.size}")
        data = file.read(array.nbytes)
        if len(data) != array.nbytes:
            raise EOFError("a file that is cut short")
        array[...] = np.frombuffer(data, array.dtype)
    return tree


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles dictionaries of tensors and nothing that could run code."""

    def __init__(self, file: io.BufferedIOBase, storage: Any) -> None:
        """Reads from `file`; `storage(key, dtype, length)` gives the numbers of a storage."""
        super().__init__(file, encoding="utf-8")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """The few things that a state dict is made of."""
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        raise pickle.UnpicklingError(f"{module}.{name}, which is not loaded")

    def persistent_load(self, pid: Any) -> np.ndarray:
        """A storage: ("storage", type, key, device, length), in old files followed by a view."""
        if self._storage is None or pid[0] != "storage" or (len(pid) > 5 and pid[5] is not None):
            raise pickle.UnpicklingError(f"an unknown reference {pid!r}")
        return self._storage(pid[2], pid[1], pid[4])


def _rebuild_tensor(
    storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> np.ndarray:
    """A view of a storage, checked to stay inside of it."""
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if offset < 0 or min(strides, default=0) < 0 or (0 not in shape and last >= storage.size):
        raise pickle.UnpicklingError("a tensor that reaches beyond its storage")
    steps = tuple(step * storage.itemsize for step in strides)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)


def _rebuild_parameter(data: np.ndarray, *_: Any) -> np.ndarray:
    return data
