"""Tiles and levels against the pixels themselves; lists of good and bad files."""

import os

import numpy as np
import pytest
import tifffile
from PIL import Image

from cellml.annotate.images import ImageFolder, natural_key, region_reader
from cellml.annotate.pyramid import NotFinite, Pyramid
from cellml.errors import UsageError, UserError


def joined(pyramid, level):
    """The whole level, put together from its tiles."""
    rows, row = [], 0
    while True:
        tiles = []
        while True:
            try:
                tiles.append(pyramid.tile(level, row, len(tiles)))
            except IndexError:
                break
        if not tiles:
            return np.concatenate(rows, axis=1)
        rows.append(np.concatenate(tiles, axis=2))
        row += 1


def halved(planes):
    """Means of 2 x 2, the slow way."""
    c, h, w = planes.shape
    found = np.empty((c, -(-h // 2), -(-w // 2)), np.int64)
    for y in range(found.shape[1]):
        for x in range(found.shape[2]):
            ys, xs = (
                [min(2 * y + i, h - 1) for i in (0, 1)],
                [min(2 * x + i, w - 1) for i in (0, 1)],
            )
            total = sum(planes[:, i, j].astype(np.int64) for i in ys for j in xs)
            found[:, y, x] = (total + 2) // 4
    return found


@pytest.mark.parametrize(
    ("shape", "dtype"), [((520, 71, 2), np.uint8), ((2051, 19, 1), np.uint16), ((9, 8, 3), bool)]
)
def test_tiles_are_the_pixels(shape, dtype):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2 if dtype is bool else np.iinfo(dtype).max, shape).astype(dtype)
    pyramid = Pyramid(pixels)
    served = np.moveaxis(pixels, -1, 0)
    served = served.astype(np.uint8) * 255 if dtype is bool else served
    assert np.array_equal(joined(pyramid, 0), served)
    for level in range(1, pyramid.levels):
        served = halved(served)
        assert np.array_equal(joined(pyramid, level), served)
    assert max(served.shape[1:]) <= 512
    assert pyramid.maximum == pixels.astype(np.int64).max((0, 1)).tolist() or dtype is bool
    with pytest.raises(IndexError):
        pyramid.tile(pyramid.levels, 0, 0)


def test_a_tile_is_little_endian_whatever_the_file():
    big = np.arange(1000, dtype=">u2").reshape(20, 50, 1)
    tile = Pyramid(big).tile(0, 0, 0)
    assert np.frombuffer(tile.tobytes(), "<u2")[:3].tolist() == [0, 1, 2]


def test_other_numbers_are_stretched_and_can_be_told():
    pixels = np.linspace(-2.0, 3.0, 800, dtype=np.float32).reshape(20, 40, 1)
    pyramid = Pyramid(pixels)
    assert pyramid.dtype == np.uint16
    values = pyramid.offset + pyramid.step * pyramid.tile(0, 0, 0)[0]
    np.testing.assert_allclose(values, pixels[..., 0], atol=5 / 65535)
    assert pyramid.maximum == [65535]
    counts = np.arange(800, dtype=np.int32).reshape(20, 40, 1)
    assert np.array_equal(Pyramid(counts).tile(0, 0, 0)[0], counts[..., 0]), "as they are"
    negative = Pyramid(counts.astype(np.int16) - np.int16(5))
    assert negative.offset == -5
    flat = Pyramid(np.full((9, 9, 1), -7.5))
    assert flat.tile(0, 0, 0).max() == 0
    assert flat.ranges == [[0, 1]]


def test_contrast_by_percentiles():
    pixels = np.repeat(np.arange(1001, dtype=np.uint16), 10).reshape(1001, 10, 1)
    (low, high), *_ = Pyramid(pixels).ranges
    assert (low, high) == (1, 999)


def test_nan_is_told():
    pixels = np.zeros((20, 30, 1), np.float32)
    pixels[3, 4:6] = np.nan
    with pytest.raises(NotFinite, match="2 of 600 pixels are NaN"):
        Pyramid(pixels)


def test_natural_order():
    names = ["b2.png", "B10.png", "a10.png", "a9.png", "a.png", "a09.png"]
    expected = ["a.png", "a09.png", "a9.png", "a10.png", "b2.png", "B10.png"]
    assert sorted(names, key=natural_key) == expected


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 255, (40, 50), np.uint8)
    Image.fromarray(grey).save(tmp_path / "im10.png")
    Image.fromarray(grey[:30]).save(tmp_path / "im9.jpg")
    rgba = np.stack([grey] * 4, axis=-1)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    stack = rng.integers(0, 60000, (3, 20, 30), np.uint16)
    tifffile.imwrite(tmp_path / "z.ome.tif", stack, metadata={"axes": "ZYX"})
    five = rng.integers(0, 60000, (5, 20, 30), np.uint16)
    tifffile.imwrite(tmp_path / "c5.tif", five, metadata={"axes": "CYX"}, imagej=False, ome=True)
    tifffile.imwrite(tmp_path / "nan.tif", np.full((20, 20), np.nan, np.float32))
    data = (tmp_path / "im10.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "tiny.png").write_bytes(b"")
    Image.fromarray(grey[:4]).save(tmp_path / "tiny.png")
    (tmp_path / "raw.czi").write_bytes(b"ZISRAWFILE")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(data)
    (tmp_path / "annotations").mkdir()
    return tmp_path


def test_the_list_and_its_bad_files(folder):
    images = ImageFolder.scan(folder)
    errors = {entry.name: entry.error or "" for entry in images.entries}
    assert list(errors) == [
        *("c5.tif", "cut.png", "empty.tif", "im9.jpg", "im10.png", "nan.tif", "raw.czi"),
        *("rgba.png", "text.png", "tiny.png", "z_p000.ome.tif", "z_p001.ome.tif", "z_p002.ome.tif"),
    ]
    assert "truncated" in errors["cut.png"]
    assert "empty (0 bytes)" in errors["empty.tif"]
    assert "not an image" in errors["text.png"]
    assert ".czi are not read; save it as TIFF" in errors["raw.czi"]
    assert sum(bool(error) for error in errors.values()) == 4


def test_opening_good_and_bad_files(folder):
    images = ImageFolder.scan(folder)
    places = {entry.name: index for index, entry in enumerate(images.entries)}
    five = images.open(places["c5.tif"])
    assert five.size == (20, 30)
    assert five.channels == ("channel 1", "channel 2", "channel 3", "channel 4", "channel 5")
    rgba = images.open(places["rgba.png"])
    assert rgba.channels == ("red", "green", "blue")
    assert rgba.notes == ("alpha channel dropped",)
    page = images.open(places["z_p002.ome.tif"])
    expected = tifffile.imread(folder / "z.ome.tif")[2]
    assert np.array_equal(page.pixels[..., 0], expected)
    assert np.array_equal(region_reader(page)(2, 3, 10, 20)[..., 0], expected[2:10, 3:20])
    for name, sentence in (
        ("nan.tif", "400 of 400 pixels are NaN"),
        ("tiny.png", "4 x 50 px; at least 8 x 8"),
        ("cut.png", "truncated"),
        ("raw.czi", ".czi are not read"),
    ):
        with pytest.raises(UserError, match=sentence):
            images.open(places[name])
        assert sentence in str(images.entries[places[name]].error)


def test_a_mended_file_can_be_opened(folder):
    images = ImageFolder.scan(folder)
    index = [entry.name for entry in images.entries].index("cut.png")
    (folder / "cut.png").write_bytes((folder / "im10.png").read_bytes())
    images.open(index)
    assert images.entries[index].error is None


def test_a_page_with_the_name_of_a_file(folder):
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(folder / "z_p001.ome.tif")
    images = ImageFolder.scan(folder)
    names = [entry.name for entry in images.entries]
    assert len(names) == len(set(names))
    refused = images.entries[names.index("z.ome.tif page 1")]
    assert "has the name of another file" in str(refused.error)


def test_few_images_stay_in_memory(folder):
    images = ImageFolder.scan(folder, cache_bytes=5000)
    places = {entry.name: index for index, entry in enumerate(images.entries)}
    first = images.open(places["im10.png"])
    assert images.open(places["im10.png"]) is first
    for name in ("im9.jpg", "rgba.png", "c5.tif"):
        images.open(places[name])
        assert images.opened_bytes <= 5000 or len(images._opened) == 1
    assert images.open(places["im10.png"]) is not first


def test_a_large_plain_tiff_is_a_memory_map(tmp_path):
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, np.zeros((1200, 900), np.uint16))
    image = ImageFolder.scan(tmp_path).open(0)
    assert isinstance(image.pixels.base, np.memmap) or isinstance(image.pixels, np.memmap)
    assert image.pyramid.nbytes < 2 * 1200 * 900 / 2


@pytest.mark.parametrize("name", ["missing", "notes.txt"])
def test_no_folder(folder, name):
    with pytest.raises(UsageError, match="no such folder"):
        ImageFolder.scan(folder / name)


def test_a_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UsageError, match="no images in this folder"):
        ImageFolder.scan(tmp_path)


def test_file_names_that_cannot_be_used_are_told_and_harm_no_others(tmp_path):
    good = np.zeros((9, 9), np.uint8)
    for name in ("a b #1 50%.png", "細胞.png", "x" * 240 + ".png"):
        Image.fromarray(good).save(tmp_path / name)
    try:
        (tmp_path / os.fsdecode(b"no\xff.png")).write_bytes((tmp_path / "細胞.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    images = ImageFolder.scan(tmp_path)
    errors = {entry.name: entry.error for entry in images.entries}
    assert errors["a b #1 50%.png"] is errors["細胞.png"] is None
    assert "not Unicode" in str(errors["no\ufffd.png"])
    assert "244 bytes" in str(errors["x" * 240 + ".png"])
    with pytest.raises(UserError, match="rename it"):
        images.open([entry.name for entry in images.entries].index("no\ufffd.png"))
