"""Writers: whole files or none, formats that other programs read, pictures that show labels."""

import zipfile

import numpy as np
import pyarrow as pa
import pytest
import roifile
import tifffile
from PIL import Image
from skimage.draw import polygon2mask

from cellml.data.images import read_image
from cellml.data.locations import locations_path, write_locations
from cellml.data.overlay import inner_boundary, label_colours, overlay_picture
from cellml.data.writers import (
    atomic,
    remove_temporary,
    write_json,
    write_labels,
    write_png,
    write_rois,
    write_uncertainty,
)
from cellml.errors import UserError


@pytest.fixture
def labels():
    labels = np.zeros((23, 31), np.int32)
    labels[0:4, 0:7] = 1  # at the border
    labels[6:15, 5:9] = 2
    labels[12:15, 9:20] = 2  # concave
    labels[6:11, 9:14] = 3  # touches 2
    labels[20, 30] = 5  # one pixel; 4 is absent
    return labels


def test_atomic_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with atomic(path) as temporary:
        temporary.write_text("old", encoding="utf-8")
        assert temporary.parent == path.parent
        assert not path.exists()

    def fail(error: type[BaseException]) -> None:
        with atomic(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise error

    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error):
            fail(error)
    assert path.read_text(encoding="utf-8") == "old"
    assert list(path.parent.iterdir()) == [path]


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / ".cellml-tmp-7-x.csv").touch()
    (tmp_path / "x.csv").touch()
    remove_temporary(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["below", "x.csv"]


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_json(tmp_path / "file" / "a.json", {})


@pytest.mark.parametrize(("count", "dtype"), [(5, "uint16"), (65535, "uint16"), (65536, "uint32")])
def test_labels_use_the_smaller_type_that_holds_them(tmp_path, labels, count, dtype):
    labels[3, 3] = count
    write_labels(tmp_path / "l.tif", labels, pixel_size_um=0.5)
    found = tifffile.imread(tmp_path / "l.tif")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, labels)
    with tifffile.TiffFile(tmp_path / "l.tif") as tif:
        assert tif.pages.first.tags["XResolution"].value == (20000, 1)  # per cm
        assert tif.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE


def test_equal_labels_are_equal_bytes(tmp_path, labels):
    for name in ("a", "b"):
        write_labels(tmp_path / f"{name}.tif", labels)
        write_rois(tmp_path / f"{name}.zip", labels)
    for ending in ("tif", "zip"):
        first, second = (tmp_path / f"{n}.{ending}" for n in "ab")
        assert first.read_bytes() == second.read_bytes()


def test_uncertainty_is_float32_and_says_what_it_is(tmp_path):
    values = np.linspace(0, 1, 600, dtype=np.float16).reshape(20, 30)
    write_uncertainty(tmp_path / "u.tif", values, kind="entropy in bits")
    assert read_image(tmp_path / "u.tif").dtype == np.float32
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "u.tif"), values.astype(np.float32))
    with tifffile.TiffFile(tmp_path / "u.tif") as tif:
        assert tif.pages.first.description == "entropy in bits"


def test_rois_enclose_exactly_the_pixels_of_their_nucleus(tmp_path, labels):
    write_rois(tmp_path / "r.zip", labels)
    with zipfile.ZipFile(tmp_path / "r.zip") as file:
        assert file.namelist() == ["0001.roi", "0002.roi", "0003.roi", "0005.roi"]
    rois = roifile.roiread(tmp_path / "r.zip")
    assert isinstance(rois, list)
    for roi in rois:
        x, y = np.asarray(roi.coordinates()).T
        # pixel (0, 0) covers [0, 1) in ImageJ, and has its centre at 0 in skimage
        inside = polygon2mask(labels.shape, np.stack([y - 0.5, x - 0.5], axis=1))
        np.testing.assert_array_equal(inside, labels == int(roi.name))


@pytest.mark.parametrize(
    ("image", "stem", "expected"),
    [
        ("p/IXMtest_A01_s1_w1E89C.tif", None, "locations/IXMtest/A01-1-Nuclei.csv"),
        ("p/taoe005-u2os_au_f2_s12_w1.tif", None, "locations/taoe005-u2os_au/F02-12-Nuclei.csv"),
        ("p/plate_b12_s3.png", None, "locations/plate/B12-3-Nuclei.csv"),
        ("BR1/Images/r02c03f01p01-ch1sk1.tiff", None, "locations/BR1/B03-1-Nuclei.csv"),
        ("p/plate_b12_s3.tif", "plate_b12_s3_p001", "locations/plate_b12_s3_p001-Nuclei.csv"),
        ("p/field.png", None, "locations/field-Nuclei.csv"),
    ],
)
def test_plate_well_and_site_from_the_name(tmp_path, image, stem, expected):
    path = tmp_path / image
    assert locations_path(path, stem or path.stem).as_posix() == expected


def test_locations_are_x_then_y(tmp_path):
    table = pa.table({"centroid_y_px": [1.0, 2.5], "centroid_x_px": [10.0, 20.12345]})
    write_locations(tmp_path / "a" / "l.csv", table)
    assert (tmp_path / "a" / "l.csv").read_text(encoding="utf-8").splitlines() == [
        "Nuclei_Location_Center_X,Nuclei_Location_Center_Y",
        "10.000,1.000",
        "20.123,2.500",
    ]


def test_inner_boundary_by_hand():
    labels = np.zeros((5, 6), np.int32)
    labels[1:4, 1:4], labels[1:4, 4] = 1, 2
    edge = inner_boundary(labels)
    assert edge.sum() == 3 * 3 - 1 + 3
    assert not edge[2, 2]
    assert not inner_boundary(np.ones((4, 4), np.int32)).any()


def test_overlay_marks_every_nucleus_in_its_colour_and_little_else(tmp_path):
    labels = np.zeros((60, 80), np.int32)
    labels[5:25, 5:25], labels[30:50, 40:70] = 1, 2
    image = np.full((60, 80, 1), 50, np.uint16)
    picture = overlay_picture(image, labels, (0.0, 100.0))
    assert picture.shape == (240, 320, 3)
    grey = (picture == picture[-1, -1]).all(axis=-1)
    assert 0.975 < grey.mean() < 0.986  # two px wide: 2 x (4 x 20 + 2 x 50) x 4 of 76,800
    colours = np.round(label_colours(2) * 255).astype(np.uint8)
    for label in (1, 2):
        y, x = np.nonzero((picture == colours[label]).all(axis=-1))
        inside = np.argwhere(labels == label)
        np.testing.assert_allclose([y.min() / 4, x.min() / 4], inside.min(axis=0), atol=0.5)
    write_png(tmp_path / "o.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "o.png")), picture)


def test_overlay_of_a_huge_image_is_thinned():
    picture = overlay_picture(
        np.zeros((10, 4100, 3), np.uint8), np.zeros((10, 4100), np.int32), (0.0, 1.0)
    )
    assert picture.shape == (5, 2050, 3)


def test_colours_differ():
    colours = label_colours(500)[1:]
    assert len(np.unique(np.round(colours, 3), axis=0)) > 490
    assert colours.max(axis=1).min() > 0.7
