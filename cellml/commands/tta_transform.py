"""`cellml tta-transform`: writes transformed copies of images, for a segmenter run elsewhere."""

from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from jaxtyping import Shaped
from PIL import Image
from rich.console import Console

from cellml.commands.long_work import say
from cellml.commands.tta_folders import whole_folder
from cellml.data.images import ImageFile, find_images, read_image
from cellml.data.writers import atomic
from cellml.errors import UsageError
from cellml.tta import PRESETS

TIFF_SUFFIXES = (".tif", ".tiff")
PNG_TYPES = (np.dtype(bool), np.dtype(np.uint8), np.dtype(np.uint16))


def run(
    paths: Sequence[str], *, out: Path, tta: str, channel: int | None = None, console: Console
) -> int:
    """Writes `<out>/<transform>/<stem>.tif` or `.png` for every image and transform.

    Args:
      paths: Images, folders or patterns, see `cellml.data.images.find_images`. A stack gives one
        image a page, `<stem>_p000` and so on.
      out: A new or empty folder; it is there in whole afterwards, or not at all.
      tta: Preset of `cellml.tta`, not `"none"`.
      channel: Channel to keep, from 1, where there are other than 1 or 3.
      console: Where to print.

    Returns:
      Exit code 0.

    Raises:
      UsageError: No images, an unknown preset, or an `out` that holds something.
      UserError: An image cannot be read, or two pages would write the same files.
    """
    if tta not in PRESETS or tta == "none":
        raise UsageError(f"--tta {tta}: expected one of {', '.join(set(PRESETS) - {'none'})}")
    files = find_images(paths)
    transforms, taken = PRESETS[tta], {}
    notes: dict[str, int] = {}
    with whole_folder(out) as folder:
        for path in files:
            opened = read_image(path)
            for note in opened.notes:
                notes[note] = notes.get(note, 0) + 1
            for page, stem in enumerate(opened.stems):
                if taken.setdefault(stem, path) != path:
                    raise UsageError(f"{path}: its page {stem} has the name of {taken[stem]}")
                pixels = np.asarray(opened.page(page, channel=channel))
                for transform in transforms:
                    target = folder / transform.name / f"{stem}{_suffix(opened)}"
                    write_lossless(target, transform.apply(pixels))
    for note, count in sorted(notes.items()):
        say(console, f"note: {note} ({count} files)")
    names = ", ".join(t.name for t in transforms)
    say(
        console,
        f"{len(taken)} images, {len(transforms)} copies each ({names}) in {out}\n"
        "Segment every folder into one of the same name, then: cellml tta-merge DIR --out OUT",
    )
    return 0


def _suffix(opened: ImageFile) -> str:
    """TIFF stays TIFF; PNG and JPEG become PNG if their type fits."""
    tiff = opened.path.suffix.lower() in TIFF_SUFFIXES or opened.dtype not in PNG_TYPES
    return ".tif" if tiff else ".png"


def write_lossless(path: Path, pixels: Shaped[np.ndarray, "h w c"]) -> None:
    """Writes pixels as they are, atomically.

    Args:
      path: `.tif` for any type; `.png` for `PNG_TYPES`.
      pixels: 1 or 3 channels.

    Raises:
      ValueError: A type that PNG does not hold.
    """
    grey = pixels.shape[2] == 1
    stored = np.ascontiguousarray(pixels[..., 0] if grey else pixels)
    with atomic(path) as temporary:
        if path.suffix == ".tif":
            tifffile.imwrite(
                temporary,
                stored,
                photometric="minisblack" if grey else "rgb",
                compression="zlib" if stored.dtype != bool else None,
                metadata=None,
                software="cellml",
            )
        elif stored.dtype == bool:
            Image.fromarray(stored).save(temporary)
        elif stored.dtype in PNG_TYPES:
            temporary.write_bytes(imagecodecs.png_encode(stored))
        else:
            raise ValueError(f"{path}: pixels of type {stored.dtype} need TIFF")
