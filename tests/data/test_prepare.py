"""Illumination correction and compression: scikit-image and hand values, resume, many plates."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import tifffile
from PIL import Image

from cellml.data import prepare as module
from cellml.data.illumination import begin_statistics, correct, illumination_function
from cellml.data.painting_project import open_project
from cellml.data.prepare import prepare, prepared_project
from cellml.errors import UserError
from tests.data.painting import FIELDS, SHAPE, config, field_image, write_project

PLATE = [row for row, field in enumerate(FIELDS) if field[0] == "007"]


def outputs(root: Path) -> dict[str, bytes]:
    files = (path for path in sorted((root / "outputs").rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def reference_function(mean, shape, size):
    """Written with scikit-image, step by step as DeepProfiler describes it."""
    disk = skimage.morphology.disk(size / 2)
    smooth = skimage.filters.median(mean.astype(np.uint16), disk)
    options = {"mode": "reflect", "anti_aliasing": True, "preserve_range": True}
    smooth = skimage.transform.resize(smooth, shape, **options)
    minimum = np.percentile(smooth, 2)
    return np.maximum(smooth, minimum) / minimum


def test_statistics_of_a_plate():
    images = [field_image(row) for row in range(4)]
    statistics = begin_statistics(images[0], down_scale_factor=4.0)
    for image in images:
        statistics.add(image)
    pixels = np.stack(images)
    for c in range(2):
        values, counts = np.unique(pixels[..., c], return_counts=True)
        np.testing.assert_array_equal(np.flatnonzero(statistics.histogram[c]), values)
        assert statistics.histogram[c][values].tolist() == counts.tolist()
        ordered = np.sort(pixels[..., c].ravel())
        assert statistics.brightest()[c] == ordered[int(0.9999 * ordered.size)]
    assert statistics.thumbnails.shape == (10, 13, 2)
    np.testing.assert_allclose(
        statistics.thumbnails.mean((0, 1)) / 4, pixels.mean((0, 1, 2)), rtol=0.01
    )


def test_the_function_equals_scikit_images():
    mean = field_image(0)[..., 0].astype(np.float64)[:10, :13]
    found = illumination_function(mean, SHAPE, median_filter_size=6)
    np.testing.assert_allclose(found, reference_function(mean, SHAPE, 6), rtol=1e-12)
    assert found.min() == 1
    assert found.max() > 1.02
    dark = illumination_function(np.zeros((5, 6)), (20, 24), median_filter_size=4)
    assert (dark == 1).all()


def test_an_uneven_illumination_is_taken_out():
    light = 1 + np.mgrid[:120, :160][1] / 160
    image = (1000 * light)[..., None].astype(np.uint16)
    statistics = begin_statistics(image, down_scale_factor=4.0)
    statistics.add(image)
    found = illumination_function(statistics.thumbnails[..., 0], (120, 160), median_filter_size=6)
    even = image[..., 0] / found
    inner = even[10:-10, 10:-10]
    assert image[..., 0].std() / image.mean() > 0.15
    assert inner.std() / inner.mean() < 0.01


def test_correction_by_hand():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 5000, (40, 50)).astype(np.uint16)
    illumination = 1 + rng.random((40, 50))
    even = image / illumination
    low, high = np.percentile(even, [0.05, 99.95])
    for brightest in (10**6, 2000):
        top = min(high, brightest)
        limits: Any = (low, top)
        stretched = skimage.exposure.rescale_intensity(even, in_range=limits)
        expected = skimage.util.img_as_ubyte(stretched)
        found = correct(image, illumination, brightest=float(brightest), shape=(40, 50))
        np.testing.assert_array_equal(found, expected)
    assert correct(image, illumination, brightest=1e6, shape=(20, 25)).shape == (20, 25)
    flat = np.full((4, 5), 9, np.uint16)
    assert not correct(flat, np.ones((4, 5)), brightest=1e6, shape=(4, 5)).any()


def test_a_project_is_prepared(tmp_path):
    project = open_project(write_project(tmp_path))
    ticks = []
    prepared = prepare(project, progress=lambda done, total: ticks.append((done, total)))
    assert ticks == [(i, 10) for i in range(1, 11)]
    assert prepared.image_path(0, "ER") == (
        tmp_path / "outputs" / "compressed" / "images" / "007" / "a1_s1_w2.png"
    )
    statistics = begin_statistics(field_image(0), down_scale_factor=4.0)
    for row in PLATE:
        statistics.add(field_image(row))
    for c in range(2):
        mean = statistics.thumbnails[..., c] / len(PLATE)
        function = reference_function(mean, SHAPE, 6)
        brightest = float(statistics.brightest()[c])
        expected = correct(field_image(2)[..., c], function, brightest=brightest, shape=SHAPE)
        found = prepared.image(2)[..., c].astype(int)
        assert np.abs(found - expected).max() <= 1  # a rounding error of the function
    assert prepared.image(0).dtype == np.uint8
    np.testing.assert_array_equal(prepared.locations(0), project.locations(0))
    reopened = open_project(tmp_path, prepared=True)
    np.testing.assert_array_equal(reopened.image(3), prepared.image(3))


def test_locations_and_outlines_follow_the_scale(tmp_path):
    sections = config()
    sections["prepare"]["compression"]["scaling_factor"] = 0.5
    project = open_project(write_project(tmp_path, outlines=True, **sections))
    prepared = prepare(project)
    assert prepared.image(0).shape == (20, 26, 2)
    expected = project.locations(0) * np.asarray([20 / 41, 26 / 53], np.float32)
    np.testing.assert_allclose(prepared.locations(0), expected, rtol=1e-6)
    labels, original = prepared.outlines(0), project.outlines(0)
    assert labels is not None
    assert labels.shape == (20, 26)
    assert labels[10, 12] == 7
    assert abs((labels == 7).mean() - (original == 7).mean()) < 0.03


def test_compression_may_be_off(tmp_path):
    sections = config()
    sections["prepare"]["compression"]["implement"] = False
    project = open_project(write_project(tmp_path, **sections))
    assert prepare(project) is project
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("killed_at", [0, 2, 4, 7])
def test_killed_and_resumed_is_the_same(tmp_path, monkeypatch, killed_at):
    prepare(open_project(write_project(tmp_path / "whole")))
    project = open_project(write_project(tmp_path / "resumed"))
    for row in range(len(project)):  # the fingerprint has the times of the files
        for channel in project.channels:
            source = project.image_path(row, channel)
            twin = tmp_path / "whole" / source.relative_to(tmp_path / "resumed")
            assert source.read_bytes() == twin.read_bytes()
    calls = []

    def killed(*args, original=module.write_grey):
        calls.append(args)
        if len(calls) > killed_at:
            raise KeyboardInterrupt
        original(*args)

    monkeypatch.setattr(module, "write_grey", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(project)
    with pytest.raises(UserError, match="`cellml profile prepare` makes it"):
        prepared_project(project)
    monkeypatch.undo()
    kept = {
        name: (tmp_path / "resumed" / name).stat().st_mtime_ns
        for name in outputs(tmp_path / "resumed")
    }
    prepare(project)
    for name, time in kept.items():
        assert (tmp_path / "resumed" / name).stat().st_mtime_ns == time
    whole, resumed = outputs(tmp_path / "whole"), outputs(tmp_path / "resumed")
    assert whole.keys() == resumed.keys()
    for name in whole:
        assert name.endswith(".npz") or whole[name] == resumed[name], name


def test_changed_settings_begin_again(tmp_path):
    project = open_project(write_project(tmp_path))
    before = prepare(project).image(0)
    sections = config()
    sections["prepare"]["illumination_correction"]["median_filter_size"] = 2
    (tmp_path / "inputs" / "config" / "config.json").write_text(json.dumps(sections))
    after = prepare(open_project(tmp_path)).image(0)
    assert (before != after).any()


def test_a_plate_of_which_an_image_changed_is_prepared_again_and_no_other(tmp_path, monkeypatch):
    root = write_project(tmp_path / "here")
    prepare(open_project(root))
    moved = root.rename(tmp_path / "there")
    written = []

    def counted(path, pixels, original=module.write_grey):
        written.append(path.parent.name)
        original(path, pixels)

    monkeypatch.setattr(module, "write_grey", counted)
    project = open_project(moved)
    prepare(project)
    assert written == []  # where a project lies does not matter
    tifffile.imwrite(project.image_path(PLATE[1], "ER"), field_image(9)[..., 1])
    prepare(project)
    assert written == ["007"] * (2 * len(PLATE))
    monkeypatch.undo()
    after = outputs(moved)
    for name in after:
        (moved / name).unlink()
    prepare(project)
    assert outputs(moved) == after


def test_two_processes_do_the_same(tmp_path):
    one = prepare(open_project(write_project(tmp_path / "one")))
    two = prepare(open_project(write_project(tmp_path / "two")), workers=2)
    for row in range(len(one)):
        np.testing.assert_array_equal(one.image(row), two.image(row))


def test_mistakes_are_named(tmp_path):
    project = open_project(write_project(tmp_path))
    images = tmp_path / "inputs" / "images" / "007"
    for channel in (1, 2):
        tifffile.imwrite(images / f"B03_s1_w{channel}.tif", np.zeros((41, 52), np.uint16))
    with pytest.raises(UserError, match=r"B03_s1_w1.tif: 41 x 52 px of uint16 found, 41 x 53 px"):
        prepare(project)
    for channel in (1, 2):
        tifffile.imwrite(images / f"a1_s1_w{channel}.tif", np.zeros(SHAPE, np.float32))
    with pytest.raises(UserError, match=r"a1_s1_w1.tif: pixels of type float32 found, uint8 or"):
        prepare(project)
    index = tmp_path / "inputs" / "metadata" / "index.csv"
    index.write_text(index.read_text().replace("007/a1_s2_w1.tif", "other/a1_s1_w1.tif"))
    with pytest.raises(UserError, match=r"would both become a1_s1_w1.png"):
        prepare(open_project(tmp_path))


def test_a_real_field_is_prepared(shared_data, tmp_path):
    folder = shared_data / "images" / "cellpainting_fields" / "bray_cloome_example"
    planes = [tifffile.imread(folder / f"{name}.tif") for name in ("DNA", "ER")]
    write_project(tmp_path)
    for i, (plate, well, site, _) in enumerate(FIELDS):  # moved, so that the mean is even
        for c, plane in enumerate(planes):
            path = tmp_path / "inputs" / "images" / plate / f"{well}_s{site}_w{c + 1}.tif"
            tifffile.imwrite(path, np.roll(plane, (150 * i, 200 * i), (0, 1)))
    project = open_project(tmp_path)
    prepared = prepare(project)
    image = prepared.image(0)
    assert image.shape == (520, 696, 2)
    assert image.min() == 0
    assert image.max() == 255
    with Image.open(prepared.image_path(0, "DNA")) as file:
        assert file.mode == "L"
    original = planes[0][::7, ::7].ravel().astype(float)
    assert np.corrcoef(original, image[::7, ::7, 0].ravel())[0, 1] > 0.8
