"""Exports annotations, with the folders and file names of AnnotatorJ and its exporter.

    roi_zip/<class>/<image>_ROIs.zip        ImageJ, outlines
    roi_zip/<class>/<image>_bboxes.zip      ImageJ, boxes
    roi_zip/<class>/<image>_semantic.tiff   painted area, 0 and 255
    labelled_masks/<image>.tiff             labels
    layered_masks/<image>.tiff              stack
    binary_masks/<image>.tiff               outlines and painted areas, 0 and 255
    bounding_box_coordinates/<image>.csv
    outlined_images/<image>.png
    yolo/classes.txt, yolo/labels/<image>.txt
    coco/annotations.json                   all images
    geojson/<image>.geojson
    dsb_csv/annotations.csv                 all images
    ome_tiff/<image>.ome.tiff

Masks, layers and run lengths of the DSB hold outlined objects (instances), boxes and YOLO those and
boxes, all else holds everything. Files are whole or not there, and equal to the byte when repeated.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from cellml.annotate import format_coco, format_geojson, format_masks, format_roi, format_tables
from cellml.annotate.format_pictures import outlined_picture
from cellml.annotate.objects import AnnotatedObject
from cellml.annotate.outlines import covered
from cellml.data.overlay import label_colours
from cellml.data.writers import write_png
from cellml.errors import UsageError

FOLDERS = {
    "roi_zip": "roi_zip",
    "labels": "labelled_masks",
    "layered": "layered_masks",
    "binary": format_masks.BINARY_FOLDER,
    "boxes_csv": "bounding_box_coordinates",
    "yolo": "yolo",
    "coco": "coco",
    "geojson": "geojson",
    "dsb_csv": "dsb_csv",
    "ome_tiff": "ome_tiff",
    "outlined": "outlined_images",
}
FORMATS = tuple(FOLDERS)
FORBIDDEN = '/\\:*?"<>|'

Objects = Sequence[AnnotatedObject]


class AnnotatedImage(NamedTuple):
    """One image to export.

    Attributes:
      name: File name of the image.
      objects: What was annotated.
      pixels: The image; only its shape is looked at unless the format is `outlined`.
    """

    name: str
    objects: Objects
    pixels: Shaped[np.ndarray, "h w c"]


class _Job(NamedTuple):
    """One image on its way into the files of one format."""

    name: str
    stem: str
    objects: Objects
    pixels: np.ndarray
    palette: dict[str, str]
    folder: Path

    @property
    def shape(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    def of(self, *kinds: str) -> list[AnnotatedObject]:
        return [item for item in self.objects if item.kind in kinds]


def export_image(
    objects: Objects,
    image: Shaped[np.ndarray, "h w c"],
    name: str,
    out: Path,
    formats: Sequence[str] | None = None,
    *,
    classes: Mapping[str, str] | None = None,
) -> list[Path]:
    """Exports the annotation of one image; files for all images then hold this one only.

    Args:
      objects: What was annotated.
      image: The image, as in `AnnotatedImage`.
      name: Its file name.
      out: Folder that the formats' folders go into.
      formats: Names out of `FORMATS`; None for all.
      classes: As in `export_folder`.

    Returns:
      The files written.

    Raises:
      UsageError: An unknown format.
      UserError: A file cannot be written.
    """
    return export_folder([AnnotatedImage(name, objects, image)], out, formats, classes=classes)


def export_folder(
    images: Iterable[AnnotatedImage],
    out: Path,
    formats: Sequence[str] | None = None,
    *,
    classes: Mapping[str, str] | None = None,
) -> list[Path]:
    """Exports the annotations of many images, one at a time in memory.

    Args:
      images: The images; an iterator does. Of two whose names differ in the ending only, the second
        keeps its ending in the names of its files.
      out: Folder that the formats' folders go into.
      formats: Names out of `FORMATS`; None for all.
      classes: Class to colour `#rrggbb`, in the order of their numbers; classes of objects that are
        not among them follow.

    Returns:
      The files written, in the order of the images, then of the formats.

    Raises:
      UsageError: An unknown format.
      UserError: A file cannot be written.
    """
    chosen = check_formats(formats)
    palette = dict(classes or {})
    order = list(palette)  # grows with the palette; files for all images number classes by it
    written: list[Path] = []
    stems: set[str] = set()
    with contextlib.ExitStack() as stack:
        shared = {name: out / FOLDERS[name] / file for name, file in _SHARED.items()}
        adders = {}
        if "coco" in chosen:
            adders["coco"] = stack.enter_context(format_coco.coco_writer(shared["coco"], order))
        if "dsb_csv" in chosen:
            adders["dsb_csv"] = stack.enter_context(format_tables.kaggle_writer(shared["dsb_csv"]))
        for name, objects, pixels in images:
            _add_classes(objects, palette, order)
            stem = format_tables.without_ending(name)
            stem = Path(name).name if stem in stems else stem
            stems.add(stem)
            for form in chosen:
                job = _Job(name, stem, objects, pixels, palette, out / FOLDERS[form])
                if form == "coco":
                    adders[form](name, objects, job.shape)
                elif form == "dsb_csv":
                    adders[form](stem, job.of("instance"), job.shape)
                else:
                    written += _WRITERS[form](job)
        if "yolo" in chosen:
            written.append(out / FOLDERS["yolo"] / "classes.txt")
            format_tables.write_yolo_classes(written[-1], order)
    return written + [path for name, path in shared.items() if name in adders]


def check_formats(formats: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the formats asked for, each once, all for None; UsageError if one is unknown."""
    chosen = tuple(dict.fromkeys(FORMATS if formats is None else formats))
    for form in chosen:
        if form not in FORMATS:
            raise UsageError(f"format {form!r} is not known; there are {', '.join(FORMATS)}")
    return chosen


def class_folder(name: str) -> str:
    """Returns the name of a class as a folder that every system can have."""
    cleaned = "".join("_" if c in FORBIDDEN or ord(c) < 32 else c for c in name).strip(" .")
    return cleaned or "_"


def _add_classes(objects: Objects, palette: dict[str, str], order: list[str]) -> None:
    for item in objects:
        if item.class_name not in palette:
            rgb = label_colours(len(palette) + 1)[-1]
            palette[item.class_name] = "#" + "".join(f"{round(v * 255):02x}" for v in rgb.tolist())
            order.append(item.class_name)


def _write_roi_zip(job: _Job) -> list[Path]:
    groups: dict[str, list[str]] = {}
    for name in job.palette:  # two names may share a folder; their objects then share its files
        groups.setdefault(class_folder(name), []).append(name)
    written = []
    for folder, names in groups.items():
        for kind, ending in (("instance", "_ROIs.zip"), ("box", "_bboxes.zip")):
            objects = [item for item in job.of(kind) if item.class_name in names]
            if objects:
                written.append(job.folder / folder / (job.stem + ending))
                format_roi.write_roi_zip(written[-1], objects, list(job.palette))
        painted = [item for item in job.of("semantic") if item.class_name in names]
        if painted:
            written.append(job.folder / folder / f"{job.stem}_semantic.tiff")
            format_masks.write_binary(written[-1], covered(painted, job.shape))
    return written


def _write_labels(job: _Job) -> list[Path]:
    path = job.folder / f"{job.stem}.tiff"
    format_masks.write_label_tiff(path, job.of("instance"), job.shape)
    return [path]


def _write_layered(job: _Job) -> list[Path]:
    path = job.folder / f"{job.stem}.tiff"
    format_masks.write_layers(path, job.of("instance"), job.shape)
    return [path]


def _write_binary(job: _Job) -> list[Path]:
    path = job.folder / f"{job.stem}.tiff"
    format_masks.write_binary(path, covered(job.of("instance", "semantic"), job.shape))
    return [path]


def _write_boxes(job: _Job) -> list[Path]:
    path = job.folder / f"{job.stem}.csv"
    format_tables.write_boxes(path, job.of("instance", "box"))
    return [path]


def _write_yolo(job: _Job) -> list[Path]:
    path = job.folder / "labels" / f"{job.stem}.txt"
    objects = job.of("instance", "box")
    format_tables.write_yolo(path, objects, job.shape, list(job.palette))
    return [path]


def _write_geojson(job: _Job) -> list[Path]:
    path = job.folder / f"{job.stem}.geojson"
    format_geojson.write_geojson(path, job.objects, job.name, job.palette)
    return [path]


def _write_ome(job: _Job) -> list[Path]:
    path = job.folder / f"{job.stem}.ome.tiff"
    format_masks.write_ome_labels(path, job.of("instance"), job.shape, job.name)
    return [path]


def _write_outlined(job: _Job) -> list[Path]:
    path = job.folder / f"{job.stem}.png"
    write_png(path, outlined_picture(job.pixels, job.objects, job.palette))
    return [path]


_SHARED = {"coco": "annotations.json", "dsb_csv": "annotations.csv"}
_WRITERS: dict[str, Callable[[_Job], list[Path]]] = {
    "roi_zip": _write_roi_zip,
    "labels": _write_labels,
    "layered": _write_layered,
    "binary": _write_binary,
    "boxes_csv": _write_boxes,
    "yolo": _write_yolo,
    "geojson": _write_geojson,
    "ome_tiff": _write_ome,
    "outlined": _write_outlined,
}
