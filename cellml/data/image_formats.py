"""Decoders of PNG, JPEG and TIFF, the only place that knows Pillow, imagecodecs and tifffile."""

import contextlib
import logging
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
UM_PER_UNIT = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "micron": 1.0, "\\u00B5m": 1.0, "mm": 1e3}


class DecodeError(Exception):
    """A file cannot be decoded; the message says what was found and expected, without the path."""


class DecodedPages(NamedTuple):
    """An opened file: `load(i)` decodes page i of `count` to (h, w, c)."""

    count: int
    dtype: Any
    pixel_size_um: float | None
    notes: tuple[str, ...]
    load: Callable[[int], np.ndarray]


def open_pages(path: Path) -> DecodedPages:
    """Opens a file by its first bytes.

    Args:
      path: An existing file.

    Returns:
      Its pages.

    Raises:
      DecodeError: Empty, no PNG, JPEG or TIFF, or damaged.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(26)
    except OSError as error:
        raise DecodeError(f"cannot be read ({error.strerror})") from error
    if not magic:
        raise DecodeError("the file is empty (0 bytes)")
    if magic.startswith(TIFF_MAGIC):
        return _open_tiff(path)
    if magic.startswith(PNG_MAGIC):
        # Pillow reduces 16-bit colour to 8 bits, so the bit depth decides on the decoder
        deep = len(magic) == 26 and struct.unpack(">B", magic[24:25])[0] == 16
        pixels, notes = _decode_png16(path) if deep else _decode_pillow(path)
    elif magic.startswith(JPEG_MAGIC):
        pixels, notes = _decode_pillow(path)
    else:
        raise DecodeError(f"not an image: begins with {magic[:8]!r}; PNG, JPEG or TIFF expected")
    return DecodedPages(1, pixels.dtype, None, notes, lambda _: pixels)


def _decode_pillow(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # big images are normal
            try:
                with Image.open(path) as image:
                    image.load()
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError as error:
        raise DecodeError("damaged header; a whole PNG or JPEG expected") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise DecodeError(f"truncated or damaged ({error})") from error
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        notes.append("palette converted to RGB")
    elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "YCCK"):
        notes.append(f"{image.mode} converted to RGB")
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if image.mode in ("LA", "RGBA", "La", "RGBa", "PA"):
        pixels = pixels[..., :-1]
        notes.append("alpha channel dropped")
    return np.ascontiguousarray(pixels), tuple(notes)


def _decode_png16(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    try:
        pixels = imagecodecs.png_decode(path.read_bytes())
    except (RuntimeError, ValueError, OSError) as error:
        raise DecodeError(f"truncated or damaged ({error})") from error
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] in (2, 4):
        return np.ascontiguousarray(pixels[..., :-1]), ("alpha channel dropped",)
    return pixels, ()


class _Complaints(logging.Handler):
    """Keeps what tifffile logs instead of raising, such as pages that lie beyond the file's end."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "invalid page offset" in message or "failed to reshape" in message:
            self.found.append(message.split("> ")[-1])


@contextlib.contextmanager
def _tiff_errors() -> Iterator[None]:
    """Turns whatever tifffile raises or logs on damaged files into one line."""
    logger = logging.getLogger("tifffile")
    propagate, handler = logger.propagate, _Complaints()
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
        if handler.found:
            raise DecodeError(f"truncated or damaged TIFF ({handler.found[0]})")
    except DecodeError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged data
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DecodeError(f"truncated or damaged TIFF ({reason})") from error
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


class _TiffLayout(NamedTuple):
    """How the axes of a TIFF series map to pages and (h, w, c)."""

    shape: tuple[int, ...]
    page_axes: tuple[int, ...]
    channel_axis: int | None
    y: int
    x: int

    @property
    def count(self) -> int:
        return int(np.prod([self.shape[a] for a in self.page_axes], dtype=np.int64))

    def index(self, page: int) -> tuple[int | slice, ...]:
        """Index of one page in the array of the whole series."""
        place = np.unravel_index(page, [self.shape[a] for a in self.page_axes] or [1])
        chosen: list[int | slice] = [slice(None)] * len(self.shape)
        for axis, i in zip(self.page_axes, place, strict=False):
            chosen[axis] = int(i)
        return tuple(chosen)

    def channels_last(self, page: np.ndarray) -> np.ndarray:
        """Arranges what `index` gave as (h, w, c), as a view."""
        left = [a for a in range(len(self.shape)) if a not in self.page_axes]
        page = page.transpose(
            [left.index(a) for a in (self.y, self.x)]
            + [left.index(a) for a in (self.channel_axis,) if a is not None]
        )
        return page if self.channel_axis is not None else page[..., None]


def _layout(axes: str, shape: tuple[int, ...]) -> _TiffLayout:
    if "Y" not in axes or "X" not in axes:
        raise DecodeError(f"axes {axes or 'none'} found, an image with Y and X expected")
    if 0 in shape:
        raise DecodeError(f"no pixels (shape {shape})")
    channel = [i for i, a in enumerate(axes) if a in "CS" and shape[i] > 1]
    if len(channel) > 1:
        raise DecodeError(f"axes {axes} {shape}: both channels and colour samples found")
    if not channel:  # keep a trailing S or C of length 1 out of the pages
        channel = [i for i, a in enumerate(axes) if a in "CS"][:1]
    y, x = axes.index("Y"), axes.index("X")
    taken = {y, x, *channel}
    pages = tuple(i for i in range(len(shape)) if i not in taken)
    return _TiffLayout(shape, pages, channel[0] if channel else None, y, x)


def _open_tiff(path: Path) -> DecodedPages:
    notes: list[str] = []
    with _tiff_errors(), tifffile.TiffFile(path) as tif:
        if not tif.series:
            raise DecodeError("no pages")
        series = tif.series[0]
        layout = _layout(series.axes, tuple(series.shape))
        first: Any = series.keyframe
        if len(tif.series) > 1 and not tif.is_ome and not series.is_pyramidal:
            notes.append(f"only the first of {len(tif.series)} series is read")
        pixel_size_um = _pixel_size_um(tif)
        palette = None
        if first.photometric == tifffile.PHOTOMETRIC.PALETTE and not tif.is_imagej:
            palette = np.asarray(first.colormap) >> 8
            notes.append("palette converted to RGB")
        samples = layout.channel_axis is not None and series.axes[layout.channel_axis] == "S"
        alpha = (
            samples
            and layout.shape[layout.channel_axis or 0] in (2, 4)
            and (bool(first.extrasamples) or first.photometric == tifffile.PHOTOMETRIC.RGB)
        )
        if alpha:
            notes.append("alpha channel dropped")
        inverted = first.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        dtype = series.dtype
        if inverted and dtype is not None and dtype.kind not in "bu":
            inverted = False
        if inverted:
            notes.append("inverted, because the file says that zero is white")

    def load(page: int) -> np.ndarray:
        with _tiff_errors():
            pixels = layout.channels_last(_tiff_page(path, layout, page))
        if alpha:
            pixels = pixels[..., :-1]
        if palette is not None:
            pixels = palette.astype(np.uint8).T[pixels[..., 0]]
        if inverted:
            pixels = ~pixels
        return pixels

    return DecodedPages(layout.count, dtype, pixel_size_um, tuple(notes), load)


def _tiff_page(path: Path, layout: _TiffLayout, page: int) -> np.ndarray:
    index = layout.index(page)
    try:
        return tifffile.memmap(path, series=0, mode="r")[index]
    except ValueError:  # compressed or scattered: decode, but no more than needed
        pass
    with tifffile.TiffFile(path) as tif:
        series = tif.series[0]
        leading = layout.page_axes == tuple(range(len(layout.page_axes)))
        planes, rest = divmod(len(series.pages), layout.count)  # more than one with separate C
        if leading and not rest:
            mine = [series.pages[i] for i in range(page * planes, (page + 1) * planes)]
            if all(plane is not None for plane in mine):
                stack = [plane.asarray() for plane in mine if plane is not None]
                kept = [n for a, n in enumerate(layout.shape) if a not in layout.page_axes]
                return np.asarray(stack[0] if planes == 1 else np.stack(stack)).reshape(kept)
        return np.asarray(series.asarray())[index]


def _pixel_size_um(tif: tifffile.TiffFile) -> float | None:
    if tif.is_imagej and tif.imagej_metadata:
        unit = UM_PER_UNIT.get(str(tif.imagej_metadata.get("unit", "")).strip())
        tag = tif.pages.first.tags.get("XResolution")
        if unit and tag is not None and tag.value[0]:
            return unit * tag.value[1] / tag.value[0]
    if tif.is_ome and tif.ome_metadata:
        described: Any = tifffile.xml2dict(tif.ome_metadata)
        image = described.get("OME", {}).get("Image", {})
        pixels = (image[0] if isinstance(image, list) else image).get("Pixels", {})
        size = pixels.get("PhysicalSizeX")
        unit = UM_PER_UNIT.get(str(pixels.get("PhysicalSizeXUnit", "µm")))
        if isinstance(size, int | float) and size > 0 and unit:
            return float(size) * unit
    return None
