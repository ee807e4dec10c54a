"""Annotations as pixels: label images, stacks of layers, binary masks, OME-TIFF labels.

Pixels hold no vertices: outlines come back along the borders of pixels. Label images and binary
masks do not know overlaps or classes; layers keep both.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from jaxtyping import Bool, Integer

from cellml.annotate.import_records import Found
from cellml.annotate.objects import AnnotatedObject
from cellml.annotate.outlines import labels_to_objects, object_window, objects_to_labels, trace_mask
from cellml.data.image_formats import TIFF_MAGIC
from cellml.data.images import read_image, read_labels
from cellml.data.writers import atomic, write_labels
from cellml.errors import UserError

LAYER_BYTES_MAX = 2**31
"""Above this size one layer an object is too much: objects that do not overlap share layers."""

BINARY_NAMES = ("_semantic", "_binary")
BINARY_FOLDER = "binary_masks"


def write_label_tiff(
    path: Path, objects: Sequence[AnnotatedObject], shape: tuple[int, int]
) -> None:
    """Writes a label image: 16 bits, 32 bits where there are more than 65,535 objects.

    Args:
      path: A TIFF file.
      objects: Object i of the list gets the label i + 1; the smaller of two lies on top.
      shape: Height and width of the image.
    """
    write_labels(path, objects_to_labels(objects, shape))


def write_binary(path: Path, mask: Bool[np.ndarray, "h w"]) -> None:
    """Writes a mask as ImageJ does: 8 bits, 0 and 255."""
    pixels = mask.astype(np.uint8) * np.uint8(255)
    with atomic(path) as temporary:
        tifffile.imwrite(temporary, pixels, **_options("binary mask"))


def write_ome_labels(
    path: Path, objects: Sequence[AnnotatedObject], shape: tuple[int, int], name: str
) -> None:
    """Writes a label image as OME-TIFF with axes YX and the channel `labels`.

    Args:
      path: An `.ome.tiff` file.
      objects: As in `write_label_tiff`.
      shape: Height and width of the image.
      name: Of the image; the file's UUID follows from it. The pixel size is not known and left out.
    """
    labels = objects_to_labels(objects, shape)
    metadata = {
        "axes": "YX",
        "Name": name,
        "Channel": {"Name": "labels"},
        "UUID": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'cellml:labels:{name}')}",
    }
    options = _options(None) | {"metadata": metadata, "ome": True}
    with atomic(path) as temporary:
        tifffile.imwrite(temporary, labels.astype(_label_type(len(objects))), **options)


def write_layers(path: Path, objects: Sequence[AnnotatedObject], shape: tuple[int, int]) -> None:
    """Writes a stack in which no object hides another.

    Args:
      path: A TIFF file. Its pixels are the objects' numbers, its description names their classes.
      objects: Object i of the list is layer i + 1, as AnnotatorJ's exporter has it, unless that
        makes more than 2 GiB: then layers are shared by objects that do not overlap.
      shape: Height and width of the image.
    """
    kind = _label_type(len(objects))
    pixels = max(1, shape[0] * shape[1])
    layers = [[place] for place in range(len(objects))] or [[]]
    if len(layers) * pixels * np.dtype(kind).itemsize > LAYER_BYTES_MAX:
        layers = _shared_layers(objects, shape)
    text = {"cellml": "layers", "classes": [item.class_name for item in objects]}

    def drawn() -> Iterator[np.ndarray]:
        for places in layers:
            layer = np.zeros(shape, kind)
            for place in places:
                window = object_window(objects[place], shape)
                if window is not None:
                    layer[window[0]][window[1]] = place + 1
            yield layer

    options = _options(json.dumps(text))  # JSON is ASCII, as TIFF wants it
    with atomic(path) as temporary:
        tifffile.imwrite(temporary, drawn(), shape=(len(layers), *shape), dtype=kind, **options)


def read_mask_file(path: Path, shape: tuple[int, int]) -> tuple[str, list[Found]]:
    """Reads a label image, a stack of layers or a binary mask, whichever it is.

    A binary mask has one value besides 0, and either that is 255 or its name or folder says so; it
    becomes a painted area. Of a stack each value of each layer is an object.

    Args:
      path: PNG or TIFF.
      shape: Height and width of the annotated image.

    Returns:
      The format and records.

    Raises:
      UserError: Unreadable, of another size, or not whole numbers in one channel.
    """
    layers, classes = _layer_classes(path)
    file = read_image(path)
    channels = _channels(path)
    if layers or len(file.stems) > 1 or channels > 1:
        return "layered", list(_read_layers(path, shape, classes, channels))
    labels = read_labels(path)
    _check_shape(path, labels.shape, shape)
    if _is_binary(path, labels):
        polygons = trace_mask(labels > 0)
        return "binary", [Found("semantic", None, polygons)] if polygons else []
    with path.open("rb") as opened:
        tiff = opened.read(4).startswith(TIFF_MAGIC)
    form = "ome_tiff" if tiff and _is_ome(path) else "labels"
    return form, [Found("instance", None, polygons) for _, polygons in _outlined(labels)]


def _read_layers(
    path: Path, shape: tuple[int, int], classes: Sequence[str], channels: int
) -> Iterator[Found]:
    file = read_image(path)
    for number in range(len(file.stems) * channels):
        page, channel = divmod(number, channels)
        pixels = file.page(page, channel=channel + 1)
        where = Path(f"{path}, layer {number + 1}")
        layer = np.asarray(pixels[..., 0])
        _check_shape(where, layer.shape, shape)
        if layer.dtype.kind not in "bui" or layer.min(initial=0) < 0:
            raise UserError(f"{where}: {layer.dtype} pixels, whole numbers from 0 expected")
        for value, polygons in _outlined(layer.astype(np.int64)):
            known = 0 < value <= len(classes)
            yield Found("instance", classes[value - 1] if known else None, polygons)


def _outlined(labels: Integer[np.ndarray, "h w"]) -> Iterator[tuple[int, Any]]:
    """Yields the values of a label image with their outlines, ascending."""
    objects = labels_to_objects(labels, "object", "imported", 1)
    values = np.unique(labels[labels > 0]).tolist()
    for value, item in zip(values, objects, strict=True):
        yield value, item.polygons


def _shared_layers(objects: Sequence[AnnotatedObject], shape: tuple[int, int]) -> list[list[int]]:
    """Puts every object into the first layer that has room for it."""
    layers: list[list[int]] = [[]]
    taken = [np.zeros(shape, bool)]
    for place, item in enumerate(objects):
        window = object_window(item, shape)
        if window is None:
            continue
        box, mask = window
        room = (i for i, full in enumerate(taken) if not (full[box] & mask).any())
        layer = next(room, len(layers))
        if layer == len(layers):
            layers.append([])
            taken.append(np.zeros(shape, bool))
        layers[layer].append(place)
        taken[layer][box] |= mask
    return layers


def _layer_classes(path: Path) -> tuple[bool, list[str]]:
    """Whether `write_layers` wrote this file, and the classes that its description names."""
    text = _description(path)
    try:
        record = json.loads(text)
    except ValueError:
        return False, []
    if not isinstance(record, dict) or record.get("cellml") != "layers":
        return False, []
    classes = record.get("classes")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        return True, []
    return True, classes


def _channels(path: Path) -> int:
    """Channels that are pages of their own: ImageJ may call the layers of a stack so."""
    with path.open("rb") as file:
        if not file.read(4).startswith(TIFF_MAGIC):
            return 1
    try:
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            return dict(zip(series.axes, series.shape, strict=True)).get("C", 1)
    except Exception:  # damaged: the reader of the pixels says how
        return 1


def _description(path: Path) -> str:
    with path.open("rb") as file:
        if not file.read(4).startswith(TIFF_MAGIC):
            return ""
    try:
        with tifffile.TiffFile(path) as tiff:
            return tiff.pages.first.description
    except Exception:  # damaged: the reader of the pixels says how
        return ""


def _is_ome(path: Path) -> bool:
    text = _description(path)
    return "<OME" in text[:2000]


def _is_binary(path: Path, labels: Integer[np.ndarray, "h w"]) -> bool:
    highest = int(labels.max(initial=0))
    if highest == 0 or ((labels != 0) & (labels != highest)).any():
        return False
    named = any(mark in path.stem.lower() for mark in BINARY_NAMES)
    return highest == 255 or named or path.parent.name == BINARY_FOLDER


def _check_shape(path: Path, found: tuple[int, ...], expected: tuple[int, int]) -> None:
    if tuple(found) != tuple(expected):
        raise UserError(
            f"{path}: {found[0]} x {found[1]} px found, "
            f"{expected[0]} x {expected[1]} px expected, as the image has"
        )


def _label_type(count: int) -> type[np.unsignedinteger]:
    return np.uint16 if count <= np.iinfo(np.uint16).max else np.uint32


def _options(description: str | None) -> dict[str, Any]:
    return {
        "photometric": "minisblack",
        "compression": "zlib",
        "metadata": None,
        "description": description,
        "software": "cellml",
    }
