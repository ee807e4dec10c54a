"""Simulated nuclei with true instance labels, for tests, demos and first experiments.

Real data teach more: models trained on simulated fields alone are not expected to do well on real
ones.
"""

from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8, UInt16

from cellml.data.simulation_fluorescence import render_fluorescence
from cellml.data.simulation_histology import render_histology

MODALITIES = {"fluorescence": render_fluorescence, "tissue": render_histology}
"""What can be rendered. 'tissue' looks like H&E."""


def simulate_field(
    rng: np.random.Generator,
    *,
    modality: str = "fluorescence",
    shape: tuple[int, int] = (256, 256),
    n_nuclei: int | None = None,
    diameter_px: float | None = None,
    touching: float | None = None,
    blur_px: float | None = None,
    photons: float | None = None,
    bits: int = 8,
) -> tuple[
    UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"],
    Int32[np.ndarray, "h w"],
]:
    """Renders one field of nuclei.

    What is None is drawn at random, so that fields differ as experiments do. The result is a
    function of the arguments and of the state of `rng`, on every machine with the same NumPy and
    SciPy.

    Args:
      rng: Source of randomness, advanced.
      modality: 'fluorescence' (grey on black) or 'tissue' (H&E-like, RGB).
      shape: Height and width in pixels.
      n_nuclei: Nuclei asked for; crowded fields hold fewer. None draws 3 to 45 % of what fits.
      diameter_px: Mean diameter. None draws 12 to 40 (14 to 30 for tissue).
      touching: Share of nuclei that are put against another one; they overlap by up to 22 % of the
        sum of the radii, the later over the earlier. None draws 0.1 to 0.7.
      blur_px: Standard deviation of the point spread function.
      photons: Photons at full brightness; shot noise goes with their square root.
      bits: 8 or 16.

    Returns:
      Image (h, w, 1) or (h, w, 3), uint8 or uint16 over the full range, and labels (h, w), int32,
      1..n without a gap, 0 is background.

    Raises:
      ValueError: An unknown modality, or an option out of range.
    """
    if modality not in MODALITIES:
        raise ValueError(f"unknown modality {modality!r}; known are {sorted(MODALITIES)}")
    if bits not in (8, 16):
        raise ValueError(f"bits must be 8 or 16, got {bits}")
    if min(shape) < 16:
        raise ValueError(f"a field is at least 16 x 16 pixels, got {shape}")
    if touching is not None and not 0 <= touching <= 1:
        raise ValueError(f"touching must lie within [0, 1], got {touching}")
    if diameter_px is None:
        low, high = (12, 40) if modality == "fluorescence" else (14, 30)
        diameter_px = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    elif not diameter_px >= 4:
        raise ValueError(f"diameter_px must be at least 4, got {diameter_px}")
    if n_nuclei is None:
        coverage = rng.uniform(0.03, 0.45)
        n_nuclei = max(1, int(coverage * shape[0] * shape[1] / (np.pi / 4 * diameter_px**2)))
    elif n_nuclei < 0:
        raise ValueError(f"n_nuclei must not be negative, got {n_nuclei}")
    options: dict[str, Any] = {
        "n_nuclei": int(n_nuclei),
        "diameter_px": float(diameter_px),
        "touching": float(rng.uniform(0.1, 0.7)) if touching is None else touching,
        "blur_px": blur_px,
        "photons": photons,
    }
    signal, labels = MODALITIES[modality](rng, shape, **options)
    if signal.ndim == 2:
        signal = signal[..., None]
    dtype = np.uint8 if bits == 8 else np.uint16
    return np.round(signal * (2**bits - 1)).astype(dtype), labels
