"""Checkpoints of PyTorch that hold more than tensors, read without running anything of theirs.

Programs save their settings as pickled objects of their own classes. Here every class and function
that is not part of a tensor becomes an `Inert` record of what was to be called: nothing is
imported, nothing runs.
"""

import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from cellml.weights.torch_files import _TensorUnpickler

BUILTINS = ("builtins", "__builtin__")  # the latter in pickles that Python 2 could read


class Inert:
    """What stands for an object of a foreign class.

    Attributes:
      name: Module and name of the class or function, such as `argparse.Namespace`.
      arguments: What it was called with; empty for the class itself.
      state: What was to be restored: attributes, as far as they come as a dictionary.
      items: Entries of those that are dictionaries.
      values: Members of those that are lists.
    """

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        """Takes note of the name and the arguments."""
        self.name, self.arguments = name, arguments
        self.state: dict[Any, Any] = {}
        self.items: dict[Any, Any] = {}
        self.values: list[Any] = []

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute or entry."""
        return self.state.get(name, self.items.get(name, default))

    def __call__(self, *arguments: Any) -> "Inert":
        """What a call gives: the same name with other arguments."""
        return Inert(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        both = state if isinstance(state, tuple) else (state,)
        for part in both:
            if isinstance(part, dict):
                self.state.update(part)

    def __setitem__(self, name: Any, value: Any) -> None:
        self.items[name] = value

    def append(self, value: Any) -> None:
        """A member of a list."""
        self.values.append(value)

    def extend(self, values: Any) -> None:
        """Members of a list."""
        self.values.extend(values)

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{self.name}>"


def read_torch_objects(path: str | Path) -> Any:
    """Reads a checkpoint: containers, numbers, texts, arrays and `Inert` objects.

    Args:
      path: What `torch.save` of PyTorch 1.6 or later wrote.

    Returns:
      The checkpoint; tensors are arrays, and so is what `np.asarray` makes of NumPy's own.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: It is no such file, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            begun = file.read(4) == b"PK\x03\x04"
        if begun:
            raise ValueError(
                f"{path}: damaged: the end of the checkpoint (a zip archive) is missing, as of a "
                "copy that was cut short"
            )
        raise ValueError(
            f"{path}: expected a checkpoint of PyTorch 1.6 or later (a zip archive); one of an "
            "older version is converted by torch.save(torch.load(...))"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return _load(archive)
    except (
        zipfile.BadZipFile,
        pickle.UnpicklingError,
        EOFError,
        KeyError,
        IndexError,
        struct.error,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ValueError(f"{path}: expected a checkpoint of PyTorch, found {error}") from error


def _load(archive: zipfile.ZipFile) -> Any:
    (pickled,) = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
    root = pickled.split("/")[0]
    if f"{root}/byteorder" in archive.namelist() and archive.read(f"{root}/byteorder") != b"little":
        raise pickle.UnpicklingError("numbers of another byte order")

    def storage(key: str, dtype: np.dtype, length: int) -> np.ndarray:
        return np.frombuffer(archive.read(f"{root}/data/{key}"), dtype, length)

    return _ObjectUnpickler(io.BytesIO(archive.read(pickled)), storage).load()


class _ObjectUnpickler(_TensorUnpickler):
    """Unpickles tensors and arrays; all else becomes inert."""

    def find_class(self, module: str, name: str) -> Any:
        """A function of ours for every global of the pickle."""
        try:
            return super().find_class(module, name)
        except pickle.UnpicklingError:
            known = {
                ("numpy", "dtype"): _Dtype,
                ("numpy.core.multiarray", "_reconstruct"): _Array,
                ("numpy._core.multiarray", "_reconstruct"): _Array,
                ("numpy.core.multiarray", "scalar"): _scalar,
                ("numpy._core.multiarray", "scalar"): _scalar,
                ("_codecs", "encode"): _encoded,
            } | {(built, kind): _members for built in BUILTINS for kind in ("set", "frozenset")}
            return known.get((module, name)) or _inert_class(f"{module}.{name}")


def _inert_class(name: str) -> Any:
    """A class of its own for each name, since pickle calls `__new__` of what it finds."""

    class Foreign(Inert):
        def __new__(cls, *arguments: Any, **options: Any) -> "Foreign":
            made = super().__new__(cls)
            Inert.__init__(made, name, (*arguments, *options.values()))
            return made

        def __init__(self, *arguments: Any, **options: Any) -> None:
            del arguments, options  # noted in __new__, which alone is always called

    Foreign.__qualname__ = Foreign.__name__ = name
    return Foreign


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    """Bytes as pickles of protocol 2 hold them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _members(values: Any = ()) -> list[Any]:
    return list(values)


class _Dtype:
    """A NumPy dtype of plain numbers."""

    def __init__(self, text: str, *_: Any) -> None:
        self.text, self.order = text, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def dtype(self) -> np.dtype:
        if self.text[:1] not in "fiub" or not self.text[1:].isdigit():
            raise pickle.UnpicklingError(f"an array of {self.text!r}, numbers expected")
        plain = np.dtype(self.text)
        return plain.newbyteorder(">") if self.order == ">" else plain


class _Array:
    """A NumPy array of numbers, for `np.asarray`."""

    def __init__(self, *_: Any) -> None:
        self.values = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_column, data = state
        numbers = np.frombuffer(data, dtype.dtype())
        self.values = numbers.reshape(shape, order="F" if by_column else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        del copy
        return np.asarray(self.values, dtype)


def _scalar(dtype: _Dtype, data: bytes) -> np.ndarray:
    return np.frombuffer(data, dtype.dtype(), 1)[0]
