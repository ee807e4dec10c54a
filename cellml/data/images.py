"""Finds and opens images: PNG, JPEG and TIFF become pages of (h, w, c) pixels.

Rules:
- One file gives one image, but for z, t or unnamed pages of a TIFF: each is an image of its own,
  named `<stem>_p000`, `<stem>_p001`, ... in file order. A channel axis (OME, ImageJ) and colour
  samples are channels. Only the first series of a TIFF is read (a pyramid's full resolution).
- 1 channel is grey and 3 are colour; an alpha channel is dropped with a note. Any other number
  needs a chosen channel, counted from 1.
- Palettes become RGB (ImageJ's lookup tables are for display and are ignored); CMYK becomes RGB;
  the EXIF orientation is ignored, so that labels lie on the stored pixels.
"""

import glob
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from cellml.data import image_formats
from cellml.errors import UsageError, UserError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
MIN_SIDE_PX = 8
OUTPUT_SUFFIXES = ("_labels.tif", "_uncertainty.tif", "_overlay.png")
"""What `cellml segment` writes, so that a folder that is input and output is not read twice."""


@dataclass(frozen=True)
class ImageFile:
    """An opened file; pixels are read page by page.

    Attributes:
      path: The file.
      stems: Name of every page, unique within the file.
      dtype: Of the pixels.
      pixel_size_um: From OME or ImageJ metadata, if given.
      notes: What was dropped or converted, for the user to read.
    """

    path: Path
    stems: tuple[str, ...]
    dtype: np.dtype
    pixel_size_um: float | None
    notes: tuple[str, ...]
    _load: Callable[[int], np.ndarray]

    def page(self, index: int, *, channel: int | None = None) -> Shaped[np.ndarray, "h w c"]:
        """Reads one page, as a memory map where the file allows it.

        Args:
          index: Page, from 0.
          channel: Channel to keep, from 1; needed unless there are 1 or 3.

        Returns:
          Pixels with 1 or 3 channels, all finite.

        Raises:
          UserError: Damaged, too small, not finite, or channels that need a choice.
        """
        try:
            pixels = self._load(index)
        except image_formats.DecodeError as error:
            raise UserError(f"{self.path}: {error}") from error
        height, width, channels = pixels.shape
        if min(height, width) < MIN_SIDE_PX:
            raise UserError(
                f"{self.path}: image is {height} x {width} px; "
                f"at least {MIN_SIDE_PX} x {MIN_SIDE_PX} expected"
            )
        if channel is not None:
            if not 1 <= channel <= channels:
                raise UserError(f"{self.path}: no channel {channel}, the image has {channels}")
            pixels = pixels[..., channel - 1 : channel]
        elif channels not in (1, 3):
            raise UserError(
                f"{self.path}: {channels} channels found, 1 (grey) or 3 (RGB) expected; "
                f"choose one with --channel 1 ... {channels}"
            )
        _check_finite(self.path, pixels)
        return pixels


def read_image(path: Path) -> ImageFile:
    """Opens a PNG, JPEG or TIFF file, recognised by its content.

    Args:
      path: File to open.

    Returns:
      The file with its pages; no handle stays open.

    Raises:
      UserError: Missing, empty, truncated, no image, or of an unsupported type; one line that
        names the file, what was found and what was expected.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        decoded = image_formats.open_pages(path)
    except image_formats.DecodeError as error:
        raise UserError(f"{path}: {error}") from error
    dtype = np.dtype(decoded.dtype)
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise UserError(f"{path}: pixels of type {dtype} found, integers or floats expected")
    stem = image_stem(path)
    stems = (stem,)
    if decoded.count > 1:
        digits = max(3, len(str(decoded.count - 1)))
        stems = tuple(f"{stem}_p{i:0{digits}d}" for i in range(decoded.count))
    return ImageFile(path, stems, dtype, decoded.pixel_size_um, decoded.notes, decoded.load)


def image_stem(path: Path) -> str:
    """Returns the file name without its extension; `.ome.tif` counts as one extension."""
    return path.stem[:-4] if path.stem.lower().endswith(".ome") else path.stem


def find_images(paths: Iterable[str | Path], *, out: Path | None = None) -> list[Path]:
    """Lists the images that files, folders and glob patterns stand for.

    Args:
      paths: Files, folders (their own images, sorted; hidden files and subfolders are left out)
        or patterns with `*`, `?` or `[...]`.
      out: Where results go; if it is one of the folders, earlier results there are left out.

    Returns:
      Files in the order given, each once.

    Raises:
      UsageError: A path that does not exist, a folder or a pattern without images, or two files
        that would write the same output because they share a stem.
    """
    found: dict[Path, Path] = {}
    for given in paths:
        path = Path(given).expanduser()
        if path.is_dir():
            files = _in_folder(path, out)
        elif path.exists():
            files = [path]
        elif glob.has_magic(str(given)):
            matches = sorted(glob.glob(str(path), recursive=True))
            files = [p for p in map(Path, matches) if _looks_like_image(p)]
            if not files:
                raise UsageError(f"{given}: no image matches ({', '.join(EXTENSIONS)})")
        else:
            raise UsageError(f"{given}: no such file or folder")
        for file in files:
            found.setdefault(file.resolve(), file)
    files = list(found.values())
    stems: dict[str, Path] = {}
    for file in files:
        other = stems.setdefault(image_stem(file), file)
        if other is not file:
            raise UsageError(
                f"{other} and {file} share the stem '{image_stem(file)}' and would write the same "
                "files; rename one or run them into different folders"
            )
    return files


def read_labels(path: Path) -> Int[np.ndarray, "h w"]:
    """Reads a label image.

    Args:
      path: PNG or TIFF with one channel and one page; integers, or floats with whole values.

    Returns:
      Labels, 0 is background.

    Raises:
      UserError: Unreadable, more than one page or channel, negative or fractional values.
    """
    file = read_image(path)
    if len(file.stems) > 1:
        raise UserError(f"{path}: {len(file.stems)} pages found, one label image expected")
    try:
        pixels = file._load(0)
    except image_formats.DecodeError as error:
        raise UserError(f"{path}: {error}") from error
    if pixels.shape[2] != 1:
        raise UserError(f"{path}: {pixels.shape[2]} channels found, a label image has one")
    labels = np.asarray(pixels[..., 0])
    _check_finite(path, pixels)
    if labels.dtype.kind == "f" and (labels != np.round(labels)).any():
        raise UserError(f"{path}: fractional values found, whole labels expected")
    if labels.dtype.kind in "if" and (labels < 0).any():
        raise UserError(f"{path}: negative values found, labels from 0 expected")
    return labels.astype(np.int64)


def _looks_like_image(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.is_file() and not hidden and path.suffix.lower() in EXTENSIONS


def _in_folder(folder: Path, out: Path | None) -> Sequence[Path]:
    files = sorted(p for p in folder.iterdir() if _looks_like_image(p))
    if out is not None and out.exists() and out.samefile(folder):
        files = [p for p in files if not p.name.endswith(OUTPUT_SUFFIXES)]
    if not files:
        raise UsageError(f"{folder}: no images in this folder ({', '.join(EXTENSIONS)} looked for)")
    return files


def _check_finite(path: Path, pixels: Shaped[np.ndarray, "h w c"]) -> None:
    if pixels.dtype.kind != "f":
        return
    rows = max(1, 2**22 // max(1, pixels[0].size))  # a few MB at a time, for memory maps
    bad = 0
    for row in range(0, len(pixels), rows):
        bad += int((~np.isfinite(pixels[row : row + rows]).all(axis=-1)).sum())
    if bad:
        total = pixels.shape[0] * pixels.shape[1]
        raise UserError(f"{path}: {bad} of {total} pixels are NaN or infinite; finite expected")
