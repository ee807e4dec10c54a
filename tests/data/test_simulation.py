"""Simulated fields: deterministic, truly labelled, with touching nuclei and noise."""

import time
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from cellml.data.simulation import simulate_field
from cellml.data.simulation_shapes import Nucleus, draw_labels, footprint, smooth_noise

CHANNELS = {"fluorescence": 1, "tissue": 3}


def _touching_pairs(labels):
    pairs = set()
    for one, other in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        mask = (one != other) & (one > 0) & (other > 0)
        pairs |= set(map(tuple, np.sort(np.stack([one[mask], other[mask]], 1), 1).tolist()))
    return pairs


def _disc(y, x, radius, kind="disc"):
    return Nucleus(kind, float(y), float(x), float(radius), float(radius), 0.0, np.zeros((0, 2)))


@pytest.mark.parametrize("modality", CHANNELS)
@pytest.mark.parametrize("bits", [8, 16])
def test_shapes_types_and_labels(modality, bits):
    image, labels = simulate_field(
        np.random.default_rng(3), modality=modality, bits=bits, shape=(96, 130), diameter_px=14.0
    )
    assert image.shape == (96, 130, CHANNELS[modality])
    assert image.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert image.max() > (40 if bits == 8 else 256 * 40)
    np.testing.assert_array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert labels.max() > 3


@pytest.mark.parametrize("modality", CHANNELS)
def test_same_seed_same_field(modality):
    fields = [
        simulate_field(np.random.default_rng(seed), modality=modality, shape=(64, 80))
        for seed in (5, 5, 6)
    ]
    np.testing.assert_array_equal(fields[0][0], fields[1][0])
    np.testing.assert_array_equal(fields[0][1], fields[1][1])
    assert (fields[0][0] != fields[2][0]).any()


@pytest.mark.parametrize("modality", CHANNELS)
def test_nuclei_touch_when_asked_to(modality):
    options: dict[str, Any] = {"modality": modality, "n_nuclei": 40, "diameter_px": 16.0}
    counts = [
        sum(
            len(
                _touching_pairs(
                    simulate_field(np.random.default_rng(seed), touching=share, **options)[1]
                )
            )
            for seed in range(3)
        )
        for share in (0.0, 0.9)
    ]
    assert counts[1] > 20
    assert counts[1] > 2 * counts[0]


def test_nuclei_differ_from_their_surroundings():
    """Labels lie where the stain is: bright in fluorescence, blue and dark in tissue."""
    for modality, sign in (("fluorescence", 1), ("tissue", -1)):
        image, labels = simulate_field(
            np.random.default_rng(2), modality=modality, n_nuclei=25, diameter_px=20.0
        )
        red = image[..., 0].astype(float) * sign
        ring = ndimage.binary_dilation(labels > 0, iterations=5) & (labels == 0)
        assert np.median(red[labels > 0]) > np.percentile(red[ring], 75)


def test_diameter_is_what_was_asked_for():
    _, labels = simulate_field(
        np.random.default_rng(0), n_nuclei=60, diameter_px=20.0, touching=0.0, shape=(400, 400)
    )
    diameters = 2 * np.sqrt(np.bincount(labels.ravel())[1:] / np.pi)
    assert 17 < np.median(diameters) < 22


def test_fewer_photons_more_noise():
    noise = []
    for photons in (50.0, 5000.0):
        image, labels = simulate_field(
            np.random.default_rng(1), photons=photons, n_nuclei=12, diameter_px=30.0, blur_px=2.0
        )
        inside = ndimage.binary_erosion(labels > 0, iterations=3)
        values = image[..., 0].astype(float)
        high = (values - ndimage.gaussian_filter(values, 2))[inside]
        noise.append(high.std() / values[inside].mean())
    assert noise[0] > 3 * noise[1]


def test_later_nucleus_wins_and_a_hidden_one_gets_no_label():
    nuclei = [_disc(20, 20, 8), _disc(20, 26, 8), _disc(50, 50, 3), _disc(50, 50, 9)]
    labels = draw_labels(nuclei, (64, 70), min_area_px=4, paint=lambda nucleus, place: None)
    assert labels[20, 24] == 2  # inside both
    assert labels[20, 14] == 1
    assert labels[50, 50] == 3  # the small one is covered
    assert labels.max() == 3


def test_a_nucleus_cut_in_two_keeps_its_larger_part():
    bar = Nucleus("bar", 30.0, 30.0, 25.0, 4.0, 0.0, np.zeros((0, 2)))
    labels = draw_labels(
        [bar, _disc(30, 36, 7)], (60, 60), min_area_px=4, paint=lambda nucleus, place: None
    )
    assert ndimage.label(labels == 1)[1] == 1
    assert labels[30, 10] == 1
    assert labels[30, 50] == 0


def test_footprint_of_a_tilted_ellipse():
    """The major axis at 45 degrees, counter-clockwise: towards smaller rows, larger columns."""
    nucleus = Nucleus("e", 32.0, 30.0, 20.0, 5.0, np.pi / 4, np.zeros((0, 2)))
    place = footprint(nucleus, (64, 64))
    inside = np.zeros((64, 64), bool)
    assert place is not None
    inside[place.window] = place.rho < 1
    assert inside[32 - 12, 30 + 12]
    assert not inside[32 + 12, 30 + 12]
    assert abs(inside.sum() - np.pi * 20 * 5) < 12
    assert footprint(_disc(-50, 10, 5), (64, 64)) is None


@pytest.mark.parametrize("sigma", [0.8, 3.0, 12.0, (2.0, 9.0)])
def test_noise_has_unit_variance_and_its_length(sigma):
    noise = smooth_noise(np.random.default_rng(0), (150, 170), sigma)
    assert noise.shape == (150, 170)
    assert abs(noise.std() - 1) < 1e-6
    sigma_y, sigma_x = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    if sigma_y != sigma_x:
        assert np.diff(noise, axis=0).std() > 2 * np.diff(noise, axis=1).std()


def test_empty_field():
    image, labels = simulate_field(np.random.default_rng(0), n_nuclei=0, shape=(32, 32))
    assert labels.max() == 0
    assert image.std() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "xray"}, "unknown modality 'xray'"),
        ({"bits": 12}, "8 or 16"),
        ({"shape": (8, 64)}, "at least 16 x 16"),
        ({"diameter_px": 1.0}, "diameter_px"),
        ({"n_nuclei": -1}, "n_nuclei"),
        ({"touching": 1.5}, "touching"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        simulate_field(np.random.default_rng(0), **options)


def test_speed():
    """0.2 s of processor time a field of 256 x 256; the best of three, for busy machines."""
    for modality in CHANNELS:
        times = []
        for seed in range(3):
            start = time.process_time()
            simulate_field(np.random.default_rng(seed), modality=modality)
            times.append(time.process_time() - start)
        assert min(times) < 0.4, modality
