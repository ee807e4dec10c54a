"""Reading: formats, axes, and one clear line for every bad file."""

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from cellml.data.images import find_images, image_stem, read_image, read_labels
from cellml.errors import UsageError, UserError

GREY = np.random.default_rng(0).integers(0, 200, (12, 17), np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 200, (12, 17, 4), np.uint8)


def only_page(path: Path, channel: int | None = None) -> np.ndarray:
    file = read_image(path)
    assert len(file.stems) == 1
    return file.page(0, channel=channel)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "uint16", "uint32", "int16", "float16", "float32", "float64"]
)
def test_tiff_of_any_type_comes_back_exactly(tmp_path, dtype, compression):
    expected = GREY.astype(dtype)
    tifffile.imwrite(
        tmp_path / "a.tif", expected, compression=compression, photometric="minisblack"
    )
    found = only_page(tmp_path / "a.tif")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected[..., None])


def test_uncompressed_tiff_is_mapped_not_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY)
    assert isinstance(only_page(tmp_path / "a.tif"), np.memmap)


def test_png_and_jpeg(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "g.png")
    np.testing.assert_array_equal(only_page(tmp_path / "g.png")[..., 0], GREY)
    Image.fromarray(GREY > 99).save(tmp_path / "b.png")
    np.testing.assert_array_equal(only_page(tmp_path / "b.png")[..., 0], GREY > 99)
    deep = COLOUR.astype(np.uint16) * 300 + 1
    (tmp_path / "d.png").write_bytes(imagecodecs.png_encode(deep[..., :3].copy()))
    np.testing.assert_array_equal(only_page(tmp_path / "d.png"), deep[..., :3])
    Image.fromarray(COLOUR[..., :3]).save(tmp_path / "c.jpg", quality=95)
    assert only_page(tmp_path / "c.jpg").shape == (12, 17, 3)


def test_alpha_and_palette_are_converted_with_a_note(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "rgba.png")
    file = read_image(tmp_path / "rgba.png")
    np.testing.assert_array_equal(file.page(0), COLOUR[..., :3])
    assert file.notes == ("alpha channel dropped",)
    Image.fromarray(COLOUR[..., :2].copy(), "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(only_page(tmp_path / "la.png"), COLOUR[..., :1])
    (tmp_path / "deep.png").write_bytes(imagecodecs.png_encode(COLOUR.astype(np.uint16)))
    np.testing.assert_array_equal(only_page(tmp_path / "deep.png"), COLOUR[..., :3])
    tifffile.imwrite(tmp_path / "rgba.tif", COLOUR, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(only_page(tmp_path / "rgba.tif"), COLOUR[..., :3])
    palette = Image.fromarray(COLOUR[..., :3]).quantize(8)
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(only_page(tmp_path / "p.png"), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_are_images_and_channels_are_channels(tmp_path, compression):
    stack = np.stack([GREY, GREY // 2, GREY // 3])
    options = {"compression": compression, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "z.tif", stack, **options)
    file = read_image(tmp_path / "z.tif")
    assert file.stems == ("z_p000", "z_p001", "z_p002")
    np.testing.assert_array_equal(file.page(2)[..., 0], GREY // 3)

    ome = np.stack([stack, stack // 4])
    metadata = {"axes": "TCYX", "PhysicalSizeX": 0.65, "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(tmp_path / "o.ome.tif", ome, metadata=metadata, **options)
    file = read_image(tmp_path / "o.ome.tif")
    assert file.stems == ("o_p000", "o_p001")
    assert file.pixel_size_um == 0.65
    np.testing.assert_array_equal(file.page(1), np.moveaxis(ome[1], 0, -1))

    tifffile.imwrite(tmp_path / "cz.ome.tif", ome, metadata={"axes": "CZYX"}, **options)
    page = read_image(tmp_path / "cz.ome.tif").page(2, channel=2)
    np.testing.assert_array_equal(page[..., 0], ome[1, 2])


def test_imagej_pixel_size(tmp_path):
    metadata = {"axes": "ZYX", "unit": "um"}
    tifffile.imwrite(
        tmp_path / "i.tif",
        np.stack([GREY, GREY]),
        imagej=True,
        metadata=metadata,
        resolution=(4, 4),
    )
    file = read_image(tmp_path / "i.tif")
    assert file.pixel_size_um == 0.25
    assert len(file.stems) == 2


def bad_files(folder: Path) -> dict[str, str]:
    """Writes files that cannot be segmented; returns what the message must say."""
    Image.fromarray(GREY).save(folder / "cut.png")
    Image.fromarray(COLOUR[..., :3]).save(folder / "cutjpg.jpg")
    (folder / "cut_deep.png").write_bytes(imagecodecs.png_encode(GREY.astype(np.uint16)))
    pages = np.stack([GREY] * 3)
    tifffile.imwrite(folder / "cutpages.tif", pages, compression="zlib", photometric="minisblack")
    tifffile.imwrite(folder / "cut_raw.tif", GREY)
    for name in ("cut.png", "cutjpg.jpg", "cut_deep.png", "cutpages.tif", "cut_raw.tif"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) * 2 // 3])
    broken = GREY.astype(np.float32)
    broken[3, 4], broken[5, 6] = np.nan, np.inf
    tifffile.imwrite(folder / "nan.tif", broken)
    tifffile.imwrite(folder / "complex.tif", broken.astype(np.complex64))
    Image.fromarray(GREY[:1, :1]).save(folder / "one.png")
    (folder / "nothing.png").write_bytes(b"")
    (folder / "notes.png").write_text("these are notes", encoding="utf-8")
    tifffile.imwrite(
        folder / "five.tif",
        np.stack([GREY] * 5),
        metadata={"axes": "CYX"},
        ome=True,
        photometric="minisblack",
    )
    return {
        "cut.png": "truncated",
        "cutjpg.jpg": "truncated",
        "cut_deep.png": "truncated",
        "cutpages.tif": "truncated",
        "cut_raw.tif": "truncated",
        "nan.tif": "2 of 204 pixels are NaN or infinite",
        "complex.tif": "complex64 found, integers or floats expected",
        "one.png": "1 x 1 px; at least 8 x 8 expected",
        "nothing.png": "empty",
        "notes.png": "not an image",
        "five.tif": "choose one with --channel 1 ... 5",
    }


def test_every_bad_file_gives_one_line_that_names_it(tmp_path):
    for name, expected in bad_files(tmp_path).items():
        with pytest.raises(UserError) as caught:
            read_image(tmp_path / name).page(0)
        message = str(caught.value)
        assert message.startswith(f"{tmp_path / name}: "), message
        assert expected in message
        assert "\n" not in message
    assert only_page(tmp_path / "five.tif", channel=5).shape == (12, 17, 1)
    with pytest.raises(UserError, match="no channel 6, the image has 5"):
        only_page(tmp_path / "five.tif", channel=6)
    with pytest.raises(UserError, match="no such file"):
        read_image(tmp_path / "gone.png")


def test_finding_files_folders_and_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "below").mkdir(parents=True)
    for name in ("b.png", "a.tif", ".hidden.png", "c.txt", "below/d.png"):
        (tmp_path / "in" / name).touch()
    a, b = Path("in/a.tif"), Path("in/b.png")
    assert find_images(["in"]) == [a, b]
    assert find_images(["in/*.png", a]) == [b, a]
    assert find_images([b, "in"]) == [b, a]
    assert find_images(["in/**/d.png"]) == [Path("in/below/d.png")]


def test_results_in_the_input_folder_are_no_input(tmp_path):
    for name in ("a.png", "a_labels.tif", "a_overlay.png"):
        (tmp_path / name).touch()
    assert find_images([tmp_path], out=tmp_path) == [tmp_path / "a.png"]
    assert len(find_images([tmp_path])) == 3


def test_what_cannot_be_found_is_named(tmp_path):
    (tmp_path / "x").mkdir()
    for path in ("a.png", "a.tif", "x/b.png", "b.jpg"):
        (tmp_path / path).touch()
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match=r"gone\.png: no such file or folder"):
        find_images([tmp_path / "gone.png"])
    with pytest.raises(UsageError, match=r"nothing: no images in this folder \(\.png"):
        find_images([tmp_path / "nothing"])
    with pytest.raises(UsageError, match="no image matches"):
        find_images([f"{tmp_path}/*.bmp"])
    with pytest.raises(UsageError, match=r"a\.png and .*a\.tif share the stem 'a'"):
        find_images([tmp_path / "a.png", tmp_path / "a.tif"])
    with pytest.raises(UsageError, match="share the stem 'b'"):
        find_images([tmp_path / "x/b.png", tmp_path / "b.jpg"])


def test_stem():
    assert image_stem(Path("x/plate.A01.ome.tif")) == "plate.A01"
    assert image_stem(Path("x/plate.A01.tif")) == "plate.A01"


def test_labels_are_whole_numbers_in_one_channel(tmp_path):
    labels = GREY.astype(np.uint16) * 300
    Image.fromarray(labels).save(tmp_path / "l.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "l.png"), labels)
    tifffile.imwrite(tmp_path / "f.tif", labels.astype(np.float32))
    np.testing.assert_array_equal(read_labels(tmp_path / "f.tif"), labels)
    tifffile.imwrite(tmp_path / "half.tif", labels / np.float32(2) + np.float32(0.5))
    tifffile.imwrite(tmp_path / "minus.tif", -labels.astype(np.int32))
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([labels] * 3), photometric="minisblack")
    Image.fromarray(COLOUR[..., :3]).save(tmp_path / "rgb.png")
    for name, expected in (
        ("half.tif", "fractional"),
        ("minus.tif", "negative"),
        ("stack.tif", "3 pages"),
        ("rgb.png", "3 channels"),
    ):
        with pytest.raises(UserError, match=expected):
            read_labels(tmp_path / name)
