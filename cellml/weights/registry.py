"""Models that ship with cellml, by name, with the hash of their file."""

from importlib import resources
from pathlib import Path
from typing import NamedTuple

from cellml.weights.store import file_sha256


class ShippedModel(NamedTuple):
    """A file in `cellml/weights/pretrained`, its SHA-256, and one line on what it is."""

    file: str
    sha256: str
    summary: str


MODELS: dict[str, ShippedModel] = {
    "nuclei": ShippedModel(
        file="nuclei.safetensors",
        sha256="5ed216756e5d3b27e4c4bbe0e542fcf2a5b17fe02585a8e457c39a48fe425d8a",
        summary="U-Net for nuclei in fluorescence and stained tissue; trained on DSB2018 (CC0)",
    ),
}


def shipped_path(name: str) -> Path:
    """Path of a shipped model's file, after its hash was checked.

    Raises:
      ValueError: The name is unknown, or the file differs from the one that was released.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    model = MODELS[name]
    path = Path(str(resources.files("cellml.weights") / "pretrained" / model.file))
    found = file_sha256(path)
    if found != model.sha256:
        raise ValueError(
            f"{path}: expected SHA-256 {model.sha256}, found {found}; reinstall cellml"
        )
    return path


def resolve_model(name_or_path: str | Path) -> Path:
    """Path of a shipped model's file (hash checked), or the given path of a weights file.

    Raises:
      ValueError: A bare word that is no shipped model; the message lists the known ones.
    """
    path = Path(name_or_path)
    if str(name_or_path) in MODELS:
        return shipped_path(str(name_or_path))
    if not path.suffix and not path.exists():
        raise ValueError(
            f"unknown model {str(name_or_path)!r}; known: {', '.join(MODELS)}, or the path of a "
            ".safetensors file"
        )
    return path
