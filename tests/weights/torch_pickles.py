"""Writes files as `torch.save` does, without PyTorch: for tests of what reads them."""

import io
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


class Tensor:
    """A float32 tensor to be."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = np.ascontiguousarray(values, np.float32)


def foreign(name: str) -> type:
    """A class that pickles under a name such as `chemprop.nn.agg.MeanAggregation`."""
    module, _, short = name.rpartition(".")
    return type(short, (), {"__module__": module})


class _Global:
    """Pickles as a global of that name."""

    def __init__(self, name: str) -> None:
        self.module, _, self.name = name.rpartition(".")


class _Pickler(pickle._Pickler):  # the one in Python, whose way of saving can be changed
    def __init__(self, file: io.BytesIO, storages: list[np.ndarray]) -> None:
        super().__init__(file, protocol=2)
        self.storages = storages

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, np.ndarray) and any(obj is s for s in self.storages):
            key = next(i for i, s in enumerate(self.storages) if s is obj)
            return ("storage", _Global("torch.FloatStorage"), str(key), "cpu", obj.size)
        return None

    def save(self, obj: Any, save_persistent_id: bool = True) -> Any:
        if isinstance(obj, _Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())  # type: ignore[attr-defined]
            return None
        if isinstance(obj, type) and obj.__module__.split(".")[0] not in sys.stdlib_module_names:
            return self.save(_Global(f"{obj.__module__}.{obj.__name__}"))
        if isinstance(obj, Tensor):
            storage = obj.values.reshape(-1)
            self.storages.append(storage)
            shape = obj.values.shape
            strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
            self.save(_Global("torch._utils._rebuild_tensor_v2"))
            self.save((storage, 0, shape, strides, False, {}))
            return self.write(pickle.REDUCE)  # type: ignore[attr-defined]
        return super().save(obj, save_persistent_id)  # type: ignore[misc]


def save(path: Path, tree: Any) -> Path:
    """Writes a checkpoint in the format since PyTorch 1.6."""
    storages: list[np.ndarray] = []
    buffer = io.BytesIO()
    _Pickler(buffer, storages).dump(tree)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        for i, storage in enumerate(storages):
            archive.writestr(f"archive/data/{i}", storage.tobytes())
    return path


def namespace(**values: Any) -> types.SimpleNamespace:
    """Attributes of an object."""
    return types.SimpleNamespace(**values)
