"""The images of a folder: listed at once, opened when they are looked at, forgotten when many are.

A TIFF with z, t or unnamed pages gives an image a page, `<stem>_p000.tif` and so on, as in
`cellml.data.images`. A file that cannot be read stays in the list with the reason.
"""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from cellml.annotate.pyramid import NotFinite, Pyramid
from cellml.data import image_formats
from cellml.data.images import EXTENSIONS, MIN_SIDE_PX, image_stem
from cellml.errors import UsageError, UserError

CACHE_BYTES = 2**30
FOREIGN = frozenset({".bmp", ".gif", ".heic", ".jp2", ".jxl", ".webp"}) | frozenset(
    {".czi", ".dcm", ".dm3", ".ims", ".lif", ".lsm", ".nd2", ".oib", ".oif", ".oir", ".stk", ".zvi"}
    | {".mrxs", ".ndpi", ".qptiff", ".scn", ".svs", ".vsi"}
)
"""Endings of pictures that are not read: listed with a reason rather than passed over."""

END_MARKS = {image_formats.PNG_MAGIC: b"IEND", image_formats.JPEG_MAGIC: b"\xff\xd9"}
"""By the first bytes of a file: what a whole one has near its end."""
TAIL_BYTES = 4096
NAME_BYTES_MAX = 230
"""File systems take 255, and journals and exports add their endings."""


@dataclass
class Entry:
    """One image of the list.

    Attributes:
      name: Unique in the folder; of its journal and its exports.
      path: The file.
      page: Within the file.
      error: Why it cannot be opened, as far as known.
      final: Whether there is no point in trying.
    """

    name: str
    path: Path
    page: int = 0
    error: str | None = None
    final: bool = False


@dataclass(frozen=True)
class OpenedImage:
    """An image that was read.

    Attributes:
      pyramid: Its pixels and tiles.
      channels: Names.
      notes: What was dropped or converted, for the user to read.
    """

    pyramid: Pyramid
    channels: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def pixels(self) -> Shaped[np.ndarray, "h w c"]:
        """As the file has them; may be a memory map."""
        return self.pyramid.pixels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pyramid.height, self.pyramid.width


@dataclass
class ImageFolder:
    """The images of a folder, and the latest ones opened.

    Attributes:
      folder: Where they are.
      entries: In natural order (2 before 10); does not change while the program runs.
      cache_bytes: Opened images are kept up to this; the latest always.
    """

    folder: Path
    entries: list[Entry]
    cache_bytes: int = CACHE_BYTES
    _opened: "OrderedDict[int, OpenedImage]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _opening: dict[int, threading.Lock] = field(default_factory=dict)

    @classmethod
    def scan(cls, folder: Path, *, cache_bytes: int = CACHE_BYTES) -> "ImageFolder":
        """Lists the images of a folder, subfolders and hidden files left out.

        Args:
          folder: To look in.
          cache_bytes: See the class.

        Returns:
          The list; files that are no good are in it with the reason.

        Raises:
          UsageError: No such folder, or nothing in it that looks like an image.
        """
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder; a folder of images expected")
        try:
            files = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
        except OSError as error:
            raise UsageError(f"{folder}: cannot be read ({error.strerror})") from error
        entries: list[Entry] = []
        for path in sorted(files, key=lambda path: natural_key(path.name)):
            entries.extend(_listed(path))
        if not entries:
            raise UsageError(
                f"{folder}: no images in this folder ({', '.join(EXTENSIONS)} looked for)"
            )
        _refuse_doubles(entries)
        return cls(folder, entries, cache_bytes)

    def open(self, index: int) -> OpenedImage:
        """Opens an image, or takes it from those opened lately.

        Args:
          index: In `entries`.

        Returns:
          The image.

        Raises:
          UserError: Damaged, too small or not finite; the entry keeps the reason.
        """
        entry = self.entries[index]
        with self._lock:
            opening = self._opening.setdefault(index, threading.Lock())
        with opening:  # two requests for one image read it once
            with self._lock:
                if index in self._opened:
                    self._opened.move_to_end(index)
                    return self._opened[index]
            try:
                image = _open(entry)
            except UserError as error:
                entry.error = str(error)
                raise
            entry.error = None
            with self._lock:
                self._opened[index] = image
                self._evict()
            return image

    @property
    def opened_bytes(self) -> int:
        """Memory that opened images hold."""
        return sum(image.pyramid.nbytes for image in self._opened.values())

    def _evict(self) -> None:
        while len(self._opened) > 1 and self.opened_bytes > self.cache_bytes:
            self._opened.popitem(last=False)


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorts `a2` before `a10`, whatever the case."""
    parts = re.findall(r"[0-9]+|[^0-9]+", Path(name).stem)
    key = [(0, int(p), "") if p.isdecimal() else (1, 0, p.casefold()) for p in parts]
    return key, name


def _listed(path: Path) -> list[Entry]:
    ending = path.suffix.lower()
    raw = os.fsencode(path.name)
    name = raw.decode("utf-8", errors="replace")
    if ending in EXTENSIONS and name != path.name:
        reason = f"{name}: the file's name is not Unicode (UTF-8); rename it"
        return [Entry(name, path, error=reason, final=True)]
    if ending in EXTENSIONS and len(raw) > NAME_BYTES_MAX:
        reason = (
            f"{name[:20]}…: a name of {len(raw)} bytes found, at most {NAME_BYTES_MAX} expected"
        )
        return [Entry(name, path, error=f"{reason}; rename the file", final=True)]
    if ending in FOREIGN:
        reason = f"{path.name}: files of type {ending} are not read; save it as TIFF or PNG"
        return [Entry(path.name, path, error=reason, final=True)]
    if ending not in EXTENSIONS:
        return []
    try:
        pages = _number_of_pages(path)
    except image_formats.DecodeError as error:
        return [Entry(path.name, path, error=f"{path.name}: {error}")]
    if pages == 1:
        return [Entry(path.name, path)]
    stem, digits = image_stem(path), max(3, len(str(pages - 1)))
    names = [f"{stem}_p{page:0{digits}d}{path.name[len(stem) :]}" for page in range(pages)]
    return [Entry(name, path, page) for page, name in enumerate(names)]


def _number_of_pages(path: Path) -> int:
    """Reads as little as possible: the pages of a TIFF, both ends of a PNG or JPEG."""
    try:
        with path.open("rb") as file:
            magic = file.read(8)
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            tail = file.read()
    except OSError as error:
        raise image_formats.DecodeError(f"cannot be read ({error.strerror})") from error
    for start, end in END_MARKS.items():
        if magic.startswith(start) and end in tail:
            return 1
    return image_formats.open_pages(path).count  # a PNG without its end is decoded: why is it so?


def _refuse_doubles(entries: list[Entry]) -> None:
    """A page's name may be a file's name as well: the page steps back."""
    files = {entry.path.name for entry in entries}
    for entry in entries:
        if entry.name != entry.path.name and entry.name in files:
            page = f"page {entry.page} of {entry.path.name}"
            entry.error = f"{page} has the name of another file, {entry.name}; rename one"
            entry.name, entry.final = f"{entry.path.name} page {entry.page}", True


def _open(entry: Entry) -> OpenedImage:
    if entry.final:
        raise UserError(entry.error or f"{entry.name}: cannot be opened")
    try:
        if not entry.path.is_file():
            raise image_formats.DecodeError("the file is gone")
        decoded = image_formats.open_pages(entry.path)
        kind = np.dtype(decoded.dtype)
        if kind.kind not in "buif" or kind.itemsize > 8:
            raise image_formats.DecodeError(f"pixels of type {kind}; integers or floats expected")
        pixels = decoded.load(entry.page)
        if min(pixels.shape[:2]) < MIN_SIDE_PX:
            raise image_formats.DecodeError(
                f"{pixels.shape[0]} x {pixels.shape[1]} px; "
                f"at least {MIN_SIDE_PX} x {MIN_SIDE_PX} expected"
            )
        return OpenedImage(Pyramid(pixels), _channel_names(pixels.shape[2]), decoded.notes)
    except (image_formats.DecodeError, NotFinite, IndexError) as error:
        raise UserError(f"{entry.name}: {error}") from error
    except MemoryError as error:
        raise UserError(f"{entry.name}: too large for this computer's memory") from error


def _channel_names(count: int) -> tuple[str, ...]:
    if count == 1:
        return ("grey",)
    if count == 3:
        return ("red", "green", "blue")
    return tuple(f"channel {number}" for number in range(1, count + 1))


ReadRegion = Callable[[int, int, int, int], np.ndarray]
"""(y0, x0, y1, x1) to raw pixels (h, w, c)."""


def region_reader(image: OpenedImage) -> ReadRegion:
    """Returns a function that cuts a half-open box out of an image."""
    return lambda y0, x0, y1, x1: np.asarray(image.pixels[y0:y1, x0:x1])
