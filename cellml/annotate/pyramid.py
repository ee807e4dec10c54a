"""Tiles of an image at any zoom: level k is 2^k times smaller, level 0 are the pixels themselves.

Browsers draw 8 and 16 bits. Pixels of another type are served as uint16: whole numbers within
0 ... 65,535 as they are, everything else stretched from its minimum to its maximum.
"""

import numpy as np
from jaxtyping import Integer, Shaped

TILE_PX = 512
STRIP_ROWS = 512
SAMPLE_PX = 2**21
"""Contrast limits of a larger image come from about that many of its pixels."""
DISPLAY_PERCENTILES = (0.1, 99.9)
UINT16_MAX = 65535


class NotFinite(Exception):
    """Pixels are NaN or infinite; the message says how many."""


class Pyramid:
    """An image ready for the page.

    Attributes:
      pixels: As the file has them; may be a memory map.
      height, width, channels: Its shape.
      dtype: As served, uint8 or uint16.
      offset, step: The value of a pixel is `offset + step * served`.
      ranges: Low and high of every channel to begin with, as served: percentiles .1 and 99.9.
      maximum: Largest value of every channel, as served.
      levels: Number of levels; the last fits into one tile.
    """

    def __init__(self, pixels: Shaped[np.ndarray, "h w c"]) -> None:
        """Reads all pixels once and keeps the smaller levels: a third of the image.

        Args:
          pixels: Booleans, integers or floats.

        Raises:
          NotFinite: Some are NaN or infinite.
        """
        self.pixels = pixels
        self.height, self.width, self.channels = pixels.shape
        self.dtype, self.offset, self.step = _mapping(pixels)
        self.maximum = [0] * self.channels
        self._small: list[np.ndarray] = []
        whole = max(self.height, self.width)
        while whole > TILE_PX:
            whole = (whole + 1) // 2
            shape = (-(-self.height // 2 ** (len(self._small) + 1)),)
            shape += (-(-self.width // 2 ** (len(self._small) + 1)),)
            self._small.append(np.empty((self.channels, *shape), self.dtype))
        self.levels = len(self._small) + 1
        self._build()
        self.ranges = self._ranges()

    @property
    def nbytes(self) -> int:
        """Memory held; a memory map counts for nothing."""
        mapped = isinstance(_base(self.pixels), np.memmap)
        return sum(level.nbytes for level in self._small) + (0 if mapped else self.pixels.nbytes)

    def tile(self, level: int, row: int, column: int) -> Integer[np.ndarray, "c th tw"]:
        """Returns one tile; those at the right and lower border are smaller.

        Args:
          level: From 0.
          row: From 0, in tiles of this level.
          column: Likewise.

        Returns:
          Planar pixels, little-endian.

        Raises:
          IndexError: There is no such tile.
        """
        if not 0 <= level < self.levels or row < 0 or column < 0:
            raise IndexError(f"no tile {level}/{row}/{column}")
        rows = slice(row * TILE_PX, (row + 1) * TILE_PX)
        columns = slice(column * TILE_PX, (column + 1) * TILE_PX)
        if level:
            found = self._small[level - 1][:, rows, columns]
        else:
            found = self._served(self.pixels[rows, columns])
        if 0 in found.shape:
            raise IndexError(f"no tile {level}/{row}/{column}")
        return np.ascontiguousarray(found, self.dtype.newbyteorder("<"))

    def _served(self, pixels: Shaped[np.ndarray, "h w c"]) -> Integer[np.ndarray, "c h w"]:
        """Turns pixels of the file into planar ones as served."""
        planar = np.moveaxis(pixels, -1, 0)
        if pixels.dtype == bool:
            return planar.astype(np.uint8) * np.uint8(255)
        if self.offset == 0 and self.step == 1:
            return np.ascontiguousarray(planar.astype(self.dtype, copy=False))
        scaled = (planar.astype(np.float64) - self.offset) / self.step
        return np.clip(np.rint(scaled), 0, UINT16_MAX).astype(self.dtype)

    def _build(self) -> None:
        for start in range(0, self.height, STRIP_ROWS):
            strip = self._served(self.pixels[start : start + STRIP_ROWS])
            highest = strip.max(axis=(1, 2)).tolist()
            self.maximum = [max(pair) for pair in zip(self.maximum, highest, strict=True)]
            for number, level in enumerate(self._small):  # strips hold whole pixels of 9 levels
                if number >= 9:
                    break
                strip = _halved(strip)
                first = start >> (number + 1)
                level[:, first : first + strip.shape[1]] = strip
        for number in range(9, len(self._small)):
            self._small[number][...] = _halved(self._small[number - 1])

    def _ranges(self) -> list[list[int]]:
        step = max(1, int(np.ceil(np.sqrt(self.height * self.width / SAMPLE_PX))))
        sample = self._served(self.pixels[::step, ::step])
        found = []
        for plane in sample:
            low, high = np.percentile(plane, DISPLAY_PERCENTILES, method="nearest").tolist()
            found.append([int(low), int(high) if high > low else int(low) + 1])
        return found


def _mapping(pixels: Shaped[np.ndarray, "h w c"]) -> tuple[np.dtype, float, float]:
    """How pixels are served: type, offset and step."""
    if pixels.dtype in (np.dtype(bool), np.dtype(np.uint8)):
        return np.dtype(np.uint8), 0.0, 1.0
    if pixels.dtype == np.uint16:
        return np.dtype(np.uint16), 0.0, 1.0
    low, high, whole, bad = np.inf, -np.inf, True, 0
    for start in range(0, len(pixels), STRIP_ROWS):
        strip = np.asarray(pixels[start : start + STRIP_ROWS])
        if strip.dtype.kind == "f":
            bad += int((~np.isfinite(strip).all(axis=-1)).sum())
            whole = whole and not bad and bool((strip == np.rint(strip)).all())
        low, high = min(low, float(strip.min())), max(high, float(strip.max()))
    if bad:
        total = pixels.shape[0] * pixels.shape[1]
        raise NotFinite(f"{bad} of {total} pixels are NaN or infinite; finite expected")
    if whole and low >= 0 and high <= UINT16_MAX and high > 1:
        return np.dtype(np.uint16), 0.0, 1.0
    return np.dtype(np.uint16), low, (high / UINT16_MAX - low / UINT16_MAX) or 1.0


def _halved(planes: Integer[np.ndarray, "c h w"]) -> Integer[np.ndarray, "c hh hw"]:
    """Means of 2 x 2 pixels, rounded; an odd last row or column counts twice."""
    if planes.shape[1] % 2:
        planes = np.concatenate([planes, planes[:, -1:]], axis=1)
    if planes.shape[2] % 2:
        planes = np.concatenate([planes, planes[:, :, -1:]], axis=2)
    wide = np.uint16 if planes.dtype == np.uint8 else np.uint32
    total = np.add(planes[:, ::2], planes[:, 1::2], dtype=wide)
    total = total[:, :, ::2] + total[:, :, 1::2] + wide(2)
    return (total >> wide(2)).astype(planes.dtype)


def _base(array: np.ndarray) -> np.ndarray:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
