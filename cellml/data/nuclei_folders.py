"""Reads folders of nucleus images with instance labels.

Two layouts are understood:

* Kaggle's (Data Science Bowl 2018): `<root>/[stage1_train/]<id>/images/<id>.png` and one binary
  PNG per nucleus in `<root>/[stage1_train/]<id>/masks/`;
* label images: `<root>/images/<id>.png`, `<root>/labels/<id>.png` (0 background, 8 or 16 bit) and,
  optionally, `<root>/index.csv` with the columns `id` and `modality`.

Hidden files (.DS_Store, ._*) and files that are no images are passed over. A file that cannot be
read is an error that names it.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import UInt8, UInt16

from cellml.errors import UserError

MODALITIES = ("fluorescence", "tissue", "brightfield")
SUFFIXES = (".png", ".tif", ".tiff")


class DataError(UserError):
    """A file or folder does not hold what it should; the message names it."""


class Case(NamedTuple):
    """One image on disk with its labels.

    Attributes:
      id: Name.
      image: File of the image.
      labels: One label image, or (Kaggle) one binary mask per nucleus.
      is_label_image: Whether `labels` is a single label image.
      modality: One of MODALITIES where the folder says it, else None.
    """

    id: str
    image: Path
    labels: tuple[Path, ...]
    is_label_image: bool
    modality: str | None


class Nuclei(NamedTuple):
    """One image in memory.

    Attributes:
      id: Name.
      image: (h, w, c) with c = 1 for a grey image, else 3. An alpha channel is dropped.
      labels: Instances numbered 1..n without a gap, 0 is background.
      modality: One of MODALITIES.
    """

    id: str
    image: UInt8[np.ndarray, "h w c"]
    labels: UInt16[np.ndarray, "h w"]
    modality: str


def list_cases(root: str | Path) -> list[Case]:
    """Lists what a folder holds, sorted by id.

    Raises:
      DataError: The folder has neither layout or holds no case; a case lacks its image or masks.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder")
    if (root / "images").is_dir() and (root / "labels").is_dir():
        cases = _list_label_images(root)
    else:
        cases = _list_kaggle(root / "stage1_train" if (root / "stage1_train").is_dir() else root)
    if not cases:
        raise DataError(
            f"{root}: holds neither <id>/images and <id>/masks (Kaggle's layout, also below "
            "stage1_train) nor images/ and labels/ with images"
        )
    return cases


def read_case(case: Case) -> Nuclei:
    """Reads one case.

    Raises:
      DataError: A file cannot be read, or a mask's shape differs from that of its image.
    """
    image = read_image(case.image)
    if case.is_label_image:
        labels = _read_label_image(case.labels[0], image.shape[:2])
    else:
        labels = merge_masks(case.labels, image.shape[:2])
    return Nuclei(case.id, image, labels, case.modality or modality_of(image))


def read_image(path: Path) -> UInt8[np.ndarray, "h w c"]:
    """Reads an 8-bit image as (h, w, 1) where R = G = B, else (h, w, 3).

    Raises:
      DataError: The file cannot be decoded or is not an 8-bit image.
    """
    pixels = _decode(path)
    if pixels.dtype != np.uint8:
        raise DataError(f"{path}: expected 8 bits a channel, found {pixels.dtype}")
    if pixels.ndim == 2:
        return pixels[..., None]
    # 2 channels are grey + alpha, 4 are RGB + alpha.
    pixels = pixels[..., : 1 if pixels.shape[-1] <= 2 else 3]
    is_grey = (pixels == pixels[..., :1]).all()
    return np.ascontiguousarray(pixels[..., :1] if is_grey else pixels)


def merge_masks(paths: tuple[Path, ...], shape: tuple[int, ...]) -> UInt16[np.ndarray, "h w"]:
    """Merges binary masks into one label image.

    Masks are numbered in the order of their file names. A pixel of several masks belongs to the
    smallest of them, so that no small nucleus vanishes below a large one (among equals to the
    first). A mask that has no pixel left gets no number.

    Raises:
      DataError: A mask cannot be decoded or its shape differs.
    """
    masks = []
    for path in paths:
        mask = _decode(path)
        mask = mask[..., : 1 if mask.shape[-1] <= 2 else 3].any(-1) if mask.ndim == 3 else mask > 0
        if mask.shape != shape:
            raise DataError(f"{path}: mask is {mask.shape}, its image is {shape} (height, width)")
        masks.append(mask)
    labels = np.zeros(shape, np.int64)
    for index in sorted(range(len(masks)), key=lambda i: (-int(masks[i].sum()), -i)):
        labels[masks[index]] = index + 1
    return _contiguous(labels, paths[0].parent if paths else Path())


def modality_of(image: UInt8[np.ndarray, "h w c"]) -> str:
    """Tells the modality by colour statistics.

    Coloured images (mean difference between the largest and the smallest channel of a pixel above
    4 grey levels) are stained tissue; of the grey ones, those with a median above half of the
    range are brightfield and the others fluorescence. Agrees with the curated index of all 566
    images of DSB2018 stage 1 that it was checked on.
    """
    if image.shape[-1] >= 3:
        spread = image[..., :3].max(-1).astype(np.float32) - image[..., :3].min(-1)
        if spread.mean() > 4:
            return "tissue"
    return "brightfield" if np.median(image[..., :3]) > 127 else "fluorescence"


def _list_label_images(root: Path) -> list[Case]:
    modalities = _read_index(root / "index.csv") if (root / "index.csv").is_file() else {}
    images, labels = _images_by_stem(root / "images"), _images_by_stem(root / "labels")
    cases = []
    for name, path in sorted(images.items()):
        if name not in labels:
            raise DataError(f"{path}: has no label image {root / 'labels' / name}.png")
        cases.append(Case(name, path, (labels[name],), True, modalities.get(name)))
    for name in sorted(labels.keys() - images.keys()):
        raise DataError(f"{labels[name]}: has no image {root / 'images' / name}.png")
    return cases


def _list_kaggle(root: Path) -> list[Case]:
    cases = []
    for folder in sorted(path for path in root.iterdir() if _is_visible(path) and path.is_dir()):
        if not ((folder / "images").is_dir() or (folder / "masks").is_dir()):
            continue
        images = _images_by_stem(folder / "images")
        masks = _images_by_stem(folder / "masks")
        if len(images) != 1:
            raise DataError(f"{folder / 'images'}: expected one image, found {len(images)}")
        if not masks:
            raise DataError(f"{folder / 'masks'}: no masks; is this a test case without truth?")
        (image,) = images.values()
        ordered = tuple(path for _, path in sorted(masks.items()))
        cases.append(Case(folder.name, image, ordered, False, None))
    return cases


def _images_by_stem(folder: Path) -> dict[str, Path]:
    """Maps stems to the visible image files of a folder; none if there is no such folder."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not _is_visible(path) or path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in found:
            raise DataError(f"{path}: {found[path.stem].name} has the same stem")
        found[path.stem] = path
    return found


def _is_visible(path: Path) -> bool:
    return not path.name.startswith((".", "__MACOSX"))


def _read_index(path: Path) -> dict[str, str]:
    """Reads id -> modality; 'tissue_light' and the like count by their first word."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        missing = {"id", "modality"} - set(rows.fieldnames or ())
        if missing:
            raise DataError(f"{path}: has no column {sorted(missing)[0]!r}")
        modalities = {}
        for number, row in enumerate(rows, 2):
            modality = (row["modality"] or "").split("_")[0]
            if modality not in MODALITIES:
                raise DataError(
                    f"{path}:{number}: modality {row['modality']!r} is none of {MODALITIES}"
                )
            modalities[row["id"]] = modality
    return modalities


def _decode(path: Path) -> np.ndarray:
    try:
        with PIL.Image.open(path) as file:
            if file.mode in ("P", "1", "CMYK"):
                return np.asarray(file.convert("RGB" if file.mode == "CMYK" else _depalette(file)))
            return np.asarray(file)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an image: {error}") from error


def _depalette(file: PIL.Image.Image) -> str:
    return "L" if file.mode == "1" else "RGB"


def _read_label_image(path: Path, shape: tuple[int, ...]) -> UInt16[np.ndarray, "h w"]:
    labels = _decode(path)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: expected one channel of integers, found {labels.dtype} "
                        f"{labels.shape}")  # fmt: skip
    if labels.shape != shape:
        raise DataError(f"{path}: labels are {labels.shape}, the image is {shape} (height, width)")
    if labels.min(initial=0) < 0:
        raise DataError(f"{path}: labels must not be negative, found {labels.min()}")
    return _contiguous(labels, path)


def _contiguous(labels: np.ndarray, source: Path) -> UInt16[np.ndarray, "h w"]:
    """Renumbers to 1..n in the order of the labels."""
    if labels.max(initial=0) >= 2**24:
        raise DataError(f"{source}: labels up to {labels.max()}; this is no label image")
    present = np.bincount(labels.ravel(), minlength=1) > 0
    present[0] = False
    numbers = np.cumsum(present)
    if numbers[-1] >= 2**16:
        raise DataError(f"{source}: {numbers[-1]} instances do not fit into 16 bits")
    return np.where(present, numbers, 0).astype(np.uint16)[labels]
