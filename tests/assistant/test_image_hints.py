import csv
from collections import Counter

import numpy as np
import pytest
import scipy.ndimage as ndi
import tifffile
from PIL import Image

from cellml.assistant.image_hints import KINDS, image_hints, image_kind, read_hints
from cellml.data.simulation import simulate_field
from cellml.errors import UserError

OF_DSB2018 = {
    "fluorescence": "fluorescence",
    "tissue_light": "stained bright-field",
    "tissue_dark": "stained bright-field",
    "brightfield_gray": "grey bright-field",
}


def field(seed: int, modality: str = "fluorescence", **options) -> tuple[np.ndarray, np.ndarray]:
    options = {"shape": (192, 160), "diameter_px": 20.0, **options}
    return simulate_field(np.random.default_rng(seed), modality=modality, **options)


def as_dic(labels: np.ndarray) -> np.ndarray:
    """Relief: the slope of the thickness along one direction, on grey."""
    thickness = ndi.gaussian_filter((labels > 0).astype(float), 2.0)
    noise = np.random.default_rng(1).normal(0, 2.0, labels.shape)
    relief = 128 + 300 * ndi.sobel(thickness, axis=0) / 8 + 150 * ndi.sobel(thickness, axis=1) / 8
    return np.clip(relief + noise, 0, 255).astype(np.uint8)[..., None]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bits", [8, 16])
def test_simulated_fluorescence_is_recognised(seed, bits):
    image, _ = field(seed, bits=bits)
    assert image_kind(image) == ("fluorescence", "likely")


@pytest.mark.parametrize("seed", range(4))
def test_simulated_tissue_is_recognised(seed):
    image, _ = field(seed, "tissue")
    assert image_kind(image)[0] == "stained bright-field"


def test_dark_on_light_grey_is_bright_field_and_relief_is_a_guess():
    image, labels = field(5)
    assert image_kind(255 - image)[0] == "grey bright-field"
    hints = image_hints(as_dic(labels))
    assert (hints.kind, hints.confidence) == ("phase contrast or DIC", "a guess")
    assert hints.nuclei is None
    assert "cannot be read" in " ".join(hints.sentences())


@pytest.mark.parametrize("diameter_px", [14.0, 30.0])
def test_diameter_of_simulated_nuclei(diameter_px):
    image, labels = field(
        2, shape=(256, 256), diameter_px=diameter_px, n_nuclei=30, touching=0.0, photons=2000.0
    )
    area = np.bincount(labels.ravel())[1:]
    true = float(np.median(np.sqrt(4 / np.pi * area[area > 0])))
    nuclei = image_hints(image).nuclei
    assert nuclei is not None
    assert nuclei.diameter_px == pytest.approx(true, rel=0.15)
    assert nuclei.coverage == pytest.approx(float((labels > 0).mean()), rel=0.35)


def test_disks_worked_out_by_hand():
    y, x = np.mgrid[:128, :128]
    image = np.full((128, 128, 1), 10, np.uint8)
    for row, column in ((30, 30), (30, 90), (90, 30), (90, 90)):
        image[(y - row) ** 2 + (x - column) ** 2 <= 10**2] = 210
    hints = image_hints(image)
    assert hints.nuclei is not None
    assert hints.nuclei.n_nuclei == 4
    assert hints.nuclei.diameter_px == pytest.approx(20, abs=1.0)
    assert hints.nuclei.touching_share == 0
    assert hints.nuclei.elongated_share == 0
    assert hints.nuclei.contrast > 12  # noise-free
    assert "about 20 px wide (4 found by a threshold); contrast high" in hints.sentences()[1]


def test_brightness_scale_does_not_matter():
    image, _ = field(3, bits=8)
    wide = image.astype(np.uint16) * 37 + 500
    first, second = image_hints(image), image_hints(wide)
    assert (first.kind, first.confidence) == (second.kind, second.confidence)
    assert first.nuclei is not None
    assert second.nuclei is not None
    assert first.nuclei.diameter_px == pytest.approx(second.nuclei.diameter_px, rel=0.02)


def test_of_a_large_image_the_centre_is_looked_at():
    image = np.full((1100, 1300, 1), 5, np.uint8)
    image[540:560, 640:660] = 200
    image[0:30, 0:300] = 200  # outside the part looked at
    hints = image_hints(image)
    assert hints.shape == (1100, 1300)
    assert hints.nuclei is not None
    assert hints.nuclei.n_nuclei == 1
    assert hints.nuclei.diameter_px == pytest.approx(20 * np.sqrt(4 / np.pi), rel=0.1)


def test_false_colour_is_fluorescence():
    image, _ = field(4)
    blue = np.concatenate([np.zeros_like(image), np.zeros_like(image), image], axis=-1)
    assert image_kind(blue)[0] == "fluorescence"
    assert image_hints(blue).nuclei is not None


def test_a_flat_image_says_nothing():
    hints = image_hints(np.full((32, 32, 1), 7, np.uint8))
    assert hints.kind is None
    assert hints.modalities == ()
    assert hints.nuclei is None
    assert "flat" in hints.sentences()[0]


def test_every_kind_names_nodes_of_the_tree(catalogue):
    known = {node.id for node in catalogue.modalities}
    for nodes in KINDS.values():
        assert set(nodes) <= known


def test_a_file_with_many_pages_may_be_a_stack(tmp_path):
    image, _ = field(6, shape=(64, 64))
    tifffile.imwrite(tmp_path / "z.tif", np.stack([image[..., 0]] * 6), photometric="minisblack")
    hints = read_hints(tmp_path / "z.tif")
    assert (hints.pages, hints.dimension) == (6, "3d")
    assert any("3D stack" in sentence for sentence in hints.sentences())
    Image.fromarray(image[..., 0]).save(tmp_path / "one.png")
    assert read_hints(tmp_path / "one.png").dimension == "2d"


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.png").write_text("no")
    with pytest.raises(UserError, match=r"a\.png"):
        read_hints(tmp_path / "a.png")


def test_kind_and_diameter_on_dsb2018(shared_data):
    """A part of the images; docs/choose.md has the figures of all of them."""
    folder = shared_data / "segmentation" / "dsb2018_train"
    if not folder.is_dir():
        pytest.skip(f"no dsb2018_train in {shared_data}")
    with open(folder / "index.csv", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if (folder / "images" / f"{r['id']}.png").exists()]
    rows = [r for r in rows if r["modality"] != "fluorescence"][::6] + rows[::12]
    right: Counter[str] = Counter()
    ratios = []
    for row in rows:
        image = np.asarray(Image.open(folder / "images" / f"{row['id']}.png"))
        image = image[..., None] if image.ndim == 2 else image
        hints = image_hints(image[:512, :512])
        right[str(hints.kind == OF_DSB2018[row["modality"]])] += 1
        if row["modality"] == "fluorescence" and hints.nuclei is not None:
            labels = np.asarray(Image.open(folder / "labels" / f"{row['id']}.png"))[:512, :512]
            area = np.bincount(labels.ravel())[1:]
            true = np.median(np.sqrt(4 / np.pi * area[area > 0]))
            ratios.append(hints.nuclei.diameter_px / true)
    assert right["True"] >= 0.97 * len(rows), right
    assert np.median(ratios) == pytest.approx(1.0, abs=0.06)
    assert np.mean(np.abs(np.log(ratios)) < np.log(1.25)) > 0.8


def test_kind_on_images_that_no_threshold_was_chosen_on(shared_data):
    checked = 0
    for pattern, expected in (
        ("segmentation/monuseg_train/images/*", "stained bright-field"),
        ("images/bbbc013/**/*.png", "fluorescence"),
    ):
        for path in sorted(shared_data.glob(pattern))[:12:3]:
            hints = image_kind(np.asarray(read_hints_pixels(path)))
            assert hints[0] == expected, path.name
            checked += 1
    if not checked:
        pytest.skip(f"neither MoNuSeg nor BBBC013 in {shared_data}")


def read_hints_pixels(path) -> np.ndarray:
    pixels = np.asarray(Image.open(path))[:512, :512]
    return pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
