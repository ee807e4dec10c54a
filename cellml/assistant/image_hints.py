"""What the pixels of an image say about its microscope and its nuclei; a hint, not a measurement.

The kind of image follows from where the background lies between the darkest and the brightest
pixels, and from colour; nuclei are found by Otsu's threshold. How often that is right on
DSB2018 is written in docs/choose.md and held by a test; DIC has been tried on a simulated image
alone and phase contrast on none, and their confidence says so.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Float, Int, Shaped
from skimage.measure import regionprops

from cellml.data.images import read_image
from cellml.tasks.otsu import segment_otsu

CROP_PX = 1024
"""Nuclei are looked for in at most this central square."""

COLOUR_MIN = 0.03
"""Mean difference of the channels over the range of intensities; less is grey."""

BACKGROUND_DARK, BACKGROUND_BRIGHT = 0.35, 0.65
"""Position of the background between the darkest and the brightest pixels."""

OUTLYING = 3.0
"""So many times the range of nearly all pixels, and the few others are the nuclei."""

STACK_PAGES = 5
"""As many pages of one file are taken for a stack."""

AREA_MIN_PX = 20
ELONGATED_RATIO = 1.8

KINDS = {
    "fluorescence": (
        "culture-fluo-widefield",
        "culture-fluo-confocal",
        "tissue-fluo-widefield",
        "tissue-fluo-confocal",
        "tissue-light-sheet",
    ),
    "stained bright-field": ("tissue-brightfield-stained", "culture-brightfield-stained"),
    "grey bright-field": (
        "culture-brightfield",
        "culture-brightfield-stained",
        "tissue-brightfield-stained",
    ),
    "phase contrast or DIC": ("culture-phase-contrast", "culture-dic", "tissue-dic"),
}
"""Kinds of images that can be told apart, and the nodes of the tree that each may be."""


@dataclass(frozen=True)
class NucleusHints:
    """Of the nuclei that a threshold finds.

    Attributes:
      n_nuclei: How many, in the part looked at.
      diameter_px: Median diameter of a circle of the same area.
      contrast: Nuclei above background, in standard deviations of the background's noise.
      coverage: Share of the pixels.
      touching_share: Share of the nuclei that touch another one.
      elongated_share: Share that is at least 1.8 times as long as wide.
    """

    n_nuclei: int
    diameter_px: float
    contrast: float
    coverage: float
    touching_share: float
    elongated_share: float


@dataclass(frozen=True)
class ImageHints:
    """What an image looks like.

    Attributes:
      name: Of the file.
      shape: Height and width in pixels.
      pages: Images in the file.
      kind: Key of `KINDS`, or None where the image is flat.
      confidence: 'likely', 'possible' or 'a guess'.
      modalities: Nodes of the tree to filter by.
      dimension: '3d' where the file has many pages, otherwise '2d'.
      nuclei: None where nothing was found, or where a threshold cannot find them.
    """

    name: str
    shape: tuple[int, int]
    pages: int
    kind: str | None
    confidence: str
    modalities: tuple[str, ...]
    dimension: str
    nuclei: NucleusHints | None

    def sentences(self) -> tuple[str, ...]:
        """The hints in words, for the terminal and the page."""
        size = f"{self.shape[1]} x {self.shape[0]} px"
        if self.kind is None:
            return (f"{self.name} ({size}) is flat: nothing to see.",)
        words = [f"{self.name} ({size}): {self.kind}, {self.confidence}."]
        if self.pages >= STACK_PAGES:
            words.append(f"{self.pages} pages: perhaps a 3D stack, perhaps a series in time.")
        if self.nuclei is None:
            return (*words, "The size of nuclei cannot be read off such an image.")
        found = self.nuclei
        contrast = _word(found.contrast, 4.0, 12.0, ("low", "moderate", "high"))
        density = _word(found.coverage, 0.05, 0.25, ("sparse", "of medium density", "dense"))
        words.append(
            f"Nuclei are about {found.diameter_px:.0f} px wide ({found.n_nuclei} found by a "
            f"threshold); contrast {contrast}, {density}."
        )
        if found.touching_share >= 0.3:
            words.append(f"About {found.touching_share:.0%} seem to touch or overlap others.")
        if found.elongated_share >= 0.4 and found.n_nuclei >= 10:
            words.append(f"About {found.elongated_share:.0%} seem elongated.")
        if not 8 <= found.diameter_px <= 80:
            words.append("Models trained at 8 to 80 px need the image rescaled.")
        return tuple(words)


def read_hints(path: Path, *, channel: int | None = None) -> ImageHints:
    """Reads an image and looks at it; the middle page of several.

    Args:
      path: PNG, JPEG or TIFF.
      channel: Channel to look at, from 1; needed unless there are 1 or 3.
    Returns:
      The hints.
    Raises:
      UserError: The file cannot be read, or needs a choice of channel.
    """
    file = read_image(path)
    pages = len(file.stems)
    return image_hints(
        np.asarray(file.page(pages // 2, channel=channel)), name=path.name, pages=pages
    )


def image_hints(
    image: Shaped[np.ndarray, "h w c"], *, name: str = "image", pages: int = 1
) -> ImageHints:
    """Looks at pixels.

    Args:
      image: 1 or 3 channels, any real dtype, finite.
      name: For the sentences.
      pages: Images in the file.
    Returns:
      The hints.
    """
    height, width = (int(size) for size in image.shape[:2])
    image = _centre(image)
    dimension = "3d" if pages >= STACK_PAGES else "2d"
    kind, confidence = image_kind(image)
    return ImageHints(
        name,
        (height, width),
        pages,
        kind,
        confidence,
        KINDS[kind] if kind else (),
        dimension,
        _nuclei(image, kind),
    )


def image_kind(image: Shaped[np.ndarray, "h w c"]) -> tuple[str | None, str]:
    """Which of `KINDS` an image looks like, and how sure that is.

    Args:
      image: 1 or 3 channels, any real dtype, finite.
    Returns:
      The kind, None for a flat image, and a word of confidence.
    """
    grey = image.astype(np.float64).mean(axis=-1)
    low, high = _range(grey)
    if not high > low:
        return None, "a guess"
    position = np.clip((grey - low) / (high - low), 0, 1)
    background, median = _background(position), float(np.median(position))
    spread = image.max(axis=-1).astype(np.float64) - image.min(axis=-1)
    colour = float(spread.mean() / max(high - min(low, 0.0), 1e-12))
    if background < BACKGROUND_DARK and median < 0.5:
        return "fluorescence", "likely" if median < BACKGROUND_DARK else "possible"
    if colour > COLOUR_MIN:
        return "stained bright-field", "likely" if median > 0.5 else "possible"
    if background > BACKGROUND_BRIGHT:
        return "grey bright-field", "likely" if background > 0.8 else "possible"
    return "phase contrast or DIC", "a guess"


def _range(grey: Float[np.ndarray, "h w"]) -> tuple[float, float]:
    """Darkest and brightest intensities, without a few outliers but with a lone nucleus."""
    smooth = ndi.gaussian_filter(grey, 1.0)
    low, high = (float(value) for value in np.percentile(smooth, (0.5, 99.5)))
    bottom, top = float(smooth.min()), float(smooth.max())
    if top - high > OUTLYING * (high - low):
        return low, top
    if low - bottom > OUTLYING * (high - low):
        return bottom, high
    return low, high


def _background(position: Float[np.ndarray, "h w"]) -> float:
    """The most frequent value within [0, 1], smoothed."""
    counts, _ = np.histogram(position, bins=64, range=(0, 1))
    return float((np.convolve(counts, np.ones(5), "same").argmax() + 0.5) / 64)


def _centre(image: Shaped[np.ndarray, "h w c"]) -> Shaped[np.ndarray, "h2 w2 c"]:
    """The central square of large images."""
    y, x = (max(0, (size - CROP_PX) // 2) for size in image.shape[:2])
    return image[y : y + CROP_PX, x : x + CROP_PX]


def _nuclei(image: Shaped[np.ndarray, "h w c"], kind: str | None) -> NucleusHints | None:
    """Nuclei by Otsu's threshold; none for images in which they are neither dark nor bright."""
    if kind is None or kind == "phase contrast or DIC":
        return None
    pixels = image.astype(np.float32)
    if kind == "stained bright-field" and image.shape[-1] == 3:
        # Colour separation is defined for 8 bits.
        signal = np.clip(pixels * (255 / max(float(pixels.max()), 1e-12)), 0, 255).astype(np.uint8)
        brightness = -pixels.mean(axis=-1)
    else:
        brightness = pixels.max(axis=-1) if kind == "fluorescence" else -pixels.mean(axis=-1)
        signal = brightness[..., None]
    labels = segment_otsu(signal, area_min_px=AREA_MIN_PX)
    return _measure(labels, brightness) if labels.max() else None


def _measure(labels: Int[np.ndarray, "h w"], brightness: Float[np.ndarray, "h w"]) -> NucleusHints:
    regions = regionprops(labels)
    height, width = labels.shape
    inside = [
        r
        for r in regions
        if r.bbox[0] > 0 and r.bbox[1] > 0 and r.bbox[2] < height and r.bbox[3] < width
    ] or regions
    mask = labels > 0
    outside = brightness[~ndi.binary_dilation(mask, iterations=3)]
    outside = outside if outside.size > 100 else brightness[~mask]
    level = float(np.median(outside)) if outside.size else float(brightness.min())
    noise = 1.4826 * float(np.median(np.abs(outside - level))) if outside.size else 0.0
    noise = max(noise, float(np.ptp(brightness)) / 1024)  # 8-bit backgrounds may be all equal
    pieces, _ = ndi.label(mask, structure=np.ones((3, 3)))
    piece_of = np.array([pieces[tuple(r.coords[0])] for r in regions])
    alone = np.bincount(piece_of)[piece_of] == 1
    ratio = [r.axis_major_length / max(r.axis_minor_length, 1e-6) for r in inside]
    return NucleusHints(
        n_nuclei=len(regions),
        diameter_px=float(np.median([r.equivalent_diameter_area for r in inside])),
        contrast=(float(np.median(brightness[mask])) - level) / noise,
        coverage=float(mask.mean()),
        touching_share=float(1 - alone.mean()),
        elongated_share=float(np.mean(np.array(ratio) >= ELONGATED_RATIO)),
    )


def _word(value: float, low: float, high: float, words: tuple[str, str, str]) -> str:
    return words[0] if value < low else words[1] if value < high else words[2]
