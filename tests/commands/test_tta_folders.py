"""TTA over predictions made elsewhere: copies out, label images back, and everything amiss."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from cellml.cli import app
from cellml.commands.tta_folders import open_versions, read_versions, whole_folder
from cellml.data.images import read_image
from cellml.errors import UsageError, UserError
from cellml.metrics.scores import evaluate_labels
from cellml.tta import PRESETS, TRANSFORMS, merge_instances_host


def call(*arguments: object):
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def blobs(shape=(30, 44)):
    labels = np.zeros(shape, np.uint16)
    labels[2:9, 3:14], labels[12:22, 25:33], labels[24:29, 5:9] = 3, 1, 8
    return labels


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels) if path.suffix == ".tif" else Image.fromarray(pixels).save(path)


@pytest.fixture
def images(tmp_path):
    """One image of every type that is kept as it is."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    for name, pixels in {
        "grey.png": rng.integers(0, 256, (20, 31)).astype(np.uint8),
        "colour.png": rng.integers(0, 256, (20, 31, 3)).astype(np.uint8),
        "deep.png": rng.integers(0, 2**16, (21, 9)).astype(np.uint16),
        "binary.png": rng.random((12, 15)) > 0.5,
        "deep.tif": rng.integers(0, 2**16, (20, 31)).astype(np.uint16),
        "float.tif": rng.normal(size=(20, 31)).astype(np.float32),
        "signed.tif": rng.integers(-9, 9, (20, 31)).astype(np.int16),
        "colour.tif": rng.integers(0, 2**16, (20, 31, 3)).astype(np.uint16),
    }.items():
        kind, ending = name.split(".")
        write(folder / f"{kind}_{ending}.{ending}", pixels)
    return folder


@pytest.mark.parametrize("tta", ["dissertation6", "d4"])
def test_copies_are_lossless_and_turned_as_their_folder_says(images, tmp_path, tta):
    out = tmp_path / "copies"
    result = call("tta-transform", images, "--out", out, "--tta", tta)
    assert "8 images" in result.output
    assert {p.name for p in out.iterdir()} == {t.name for t in PRESETS[tta]}
    for path in images.iterdir():
        original = read_image(path).page(0)
        for transform in PRESETS[tta]:
            copy = read_image(out / transform.name / path.name)
            assert copy.dtype == original.dtype
            back = transform.inverse.apply(copy.page(0))
            np.testing.assert_array_equal(back, original, err_msg=f"{transform.name} {path}")
    turned = read_image(out / "rot90" / "grey_png.png").page(0)[..., 0]
    np.testing.assert_array_equal(turned, np.rot90(np.array(Image.open(images / "grey_png.png"))))


def test_stacks_pages_channels_and_jpeg(tmp_path):
    rng = np.random.default_rng(1)
    stack = rng.integers(0, 255, (3, 16, 20)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "z.tif", stack, photometric="minisblack")
    Image.fromarray(stack[0]).save(tmp_path / "j.jpg")
    call("tta-transform", tmp_path / "z.tif", tmp_path / "j.jpg", "--out", tmp_path / "out")
    names = {p.name for p in (tmp_path / "out" / "hflip").iterdir()}
    assert names == {"z_p000.tif", "z_p001.tif", "z_p002.tif", "j.png"}
    second = tifffile.imread(tmp_path / "out" / "hflip" / "z_p001.tif")
    np.testing.assert_array_equal(second, stack[1][:, ::-1])
    five = rng.integers(0, 255, (5, 16, 20)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "c.ome.tif", five, metadata={"axes": "CYX"}, ome=True)
    with pytest.raises(UserError, match="5 channels found"):
        call("tta-transform", tmp_path / "c.ome.tif", "--out", tmp_path / "five")
    call("tta-transform", tmp_path / "c.ome.tif", "--out", tmp_path / "five", "--channel", 4)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "five/vflip/c.tif"), five[3, ::-1])


def test_a_damaged_image_leaves_nothing(images, tmp_path):
    (images / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(UserError, match=r"x\.png"):
        call("tta-transform", images, "--out", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["images"]


def test_out_must_be_new_or_empty(images, tmp_path):
    (tmp_path / "empty").mkdir()
    call("tta-transform", images / "grey_png.png", "--out", tmp_path / "empty")
    assert (tmp_path / "empty" / "rot270").is_dir()
    for command in ("tta-transform", "tta-merge"):
        with pytest.raises(UsageError, match="expected a new or an empty folder"):
            call(command, images if "form" in command else versions(tmp_path), "--out", images)
    with pytest.raises(UsageError, match="expected a new"), whole_folder(images / "grey_png.png"):
        pass


def versions(folder: Path, stems=("a",), *, tta="d4", suffix="_mask.png", change=None) -> Path:
    """Label images as a perfect segmenter gives them, ids shuffled; `change(name, labels)`."""
    root = folder / "versions"
    for stem in stems:
        for i, transform in enumerate(PRESETS[tta]):
            labels = transform.apply(blobs(), axes=(-2, -1))
            labels = np.where(labels > 0, (labels * (2 * i + 1)) % 251 + 1, 0).astype(np.uint16)
            if change is not None:
                labels = change(transform.name, labels)
            write(root / transform.name / f"{stem}{suffix}", labels)
    return root


@pytest.mark.parametrize("suffix", ["_mask.png", "_labels.tif", ".tif"])
@pytest.mark.parametrize("tta", ["dissertation6", "d4"])
def test_copies_segmented_elsewhere_come_back_as_one(tmp_path, tta, suffix):
    root, out = versions(tmp_path, ("a", "b"), tta=tta, suffix=suffix), tmp_path / "out"
    result = call("tta-merge", root, "--out", out)
    assert f"2 images, {len(PRESETS[tta])} versions each, 6 objects" in result.output
    assert {p.name for p in out.iterdir()} == {"a_labels.tif", "b_labels.tif", "objects.csv"}
    merged = tifffile.imread(out / "b_labels.tif")
    np.testing.assert_array_equal(merged > 0, blobs() > 0)
    table = pd.read_csv(out / "objects.csv")
    assert list(table.image) == ["a"] * 3 + ["b"] * 3
    assert (table.vote_share == 1).all()
    assert (table.mean_iou == 1).all()
    for row in table[table.image == "b"].itertuples():
        y, x = np.nonzero(merged == row.label)
        assert (row.area_px, row.centroid_y_px, row.centroid_x_px) == (len(y), y.mean(), x.mean())


def test_merge_is_that_of_the_host_with_every_option(tmp_path):
    rng = np.random.default_rng(3)

    def noisy(name, labels):
        return np.where(rng.random(labels.shape) > 0.08, labels, 0).astype(np.uint16)

    root = versions(tmp_path, change=noisy, tta="dissertation6")
    stack = read_versions(open_versions(root), "a")
    choices: list[dict[str, Any]] = [
        {"reference": "medoid"},
        {"tie": "keep", "iou_min": 0.75},
        {"pixel_majority": "all", "pixel_tie": "keep", "overlap": "pixel"},
    ]
    for i, options in enumerate(choices):
        given = [
            part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", value)
        ]
        call("tta-merge", root, "--out", tmp_path / f"out{i}", *given)
        expected = merge_instances_host(stack, **options)
        found = tifffile.imread(tmp_path / f"out{i}" / "a_labels.tif")
        np.testing.assert_array_equal(found, expected.labels)
        assert found.max() > 0
        table = pd.read_csv(tmp_path / f"out{i}" / "objects.csv")
        np.testing.assert_allclose(table.vote_share, expected.vote_share[1:])
        np.testing.assert_allclose(table.mean_iou, expected.mean_iou[1:], rtol=1e-6)


def test_gain_against_a_truth(tmp_path):
    """The identity lost an object in one of two images; all other versions have it."""

    def forgetful(name, labels):
        return np.where(labels == labels.max(), 0, labels) if name == "identity" else labels

    root = versions(tmp_path, ("a",), change=forgetful)
    versions(tmp_path, ("b",))
    for stem in "abc":
        write(tmp_path / "truth" / f"{stem}.tif", blobs())
    result = call("tta-merge", root, "--out", tmp_path / "out", "--truth", tmp_path / "truth")
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    one_lost = 2 / 3
    assert scores["images"]["a"]["none"] == pytest.approx(one_lost)
    assert scores["images"]["b"] == {"none": 1, "tta": 1, "dilated": pytest.approx(
        evaluate_labels(blobs(), grown(blobs())).ap_dsb2018
    )}  # fmt: skip
    assert scores["ap_dsb2018"]["tta"] == 1
    gain = scores["gain_ap_dsb2018"]["tta"]
    assert gain["mean"] == pytest.approx((1 - one_lost) / 2)
    assert (gain["low95"], gain["high95"]) == (0, pytest.approx(1 - one_lost))
    assert "0.8333  without TTA (identity)" in result.output
    assert "1.0000  with TTA (merged): +0.1667 (95 % +0.0000 to +0.3333)" in result.output
    assert "dilated by 1 px" in result.output


def grown(labels):
    """Every label dilated by its four neighbours; the blobs are too far apart to meet."""
    cross = ndimage.generate_binary_structure(2, 1)
    found = np.zeros_like(labels)
    for i in np.unique(labels)[1:]:
        found[ndimage.binary_dilation(labels == i, cross)] = i
    return found


def test_images_without_any_object_have_no_score(tmp_path):
    root = versions(tmp_path, change=lambda name, labels: labels * 0)
    write(tmp_path / "truth" / "a.tif", blobs() * 0)
    result = call("tta-merge", root, "--out", tmp_path / "out", "--truth", tmp_path / "truth")
    assert "(1 images without a defined score are left out)" in result.output
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["ap_dsb2018"]["tta"] is None
    assert len(pd.read_csv(tmp_path / "out" / "objects.csv")) == 0


def broken(kind: str, tmp_path: Path) -> tuple[Path, list[object]]:
    """Versions with one thing amiss, and further arguments."""
    root = versions(tmp_path, ("a", "b"))
    extra: list[object] = []
    file = root / "rot90" / "b_mask.png"
    if kind == "transform":
        for path in (root / "antitranspose").iterdir():
            path.unlink()
        (root / "antitranspose").rename(root / "anti_transpose")
    elif kind == "image":
        file.unlink()
    elif kind == "shape":
        write(file, blobs())
    elif kind == "size":
        write(file, np.zeros((44, 31), np.uint16))
    elif kind == "colour":
        write(file, np.zeros((44, 30, 3), np.uint8))
    elif kind == "fractions":
        write(file.with_suffix(".tif"), np.full((44, 30), 0.5, np.float32))
        file.unlink()
    elif kind == "text":
        file.write_text("no image")
    elif kind == "twice":
        write(root / "rot90" / "b.png", blobs())
    elif kind == "no truth":
        write(tmp_path / "truth" / "a.png", blobs())
        extra = ["--truth", tmp_path / "truth"]
    elif kind == "truth size":
        for stem in "ab":
            write(tmp_path / "truth" / f"{stem}.png", blobs()[1:])
        extra = ["--truth", tmp_path / "truth"]
    elif kind == "option":
        extra = ["--iou-min", "0.3"]
    elif kind == "empty":
        root = tmp_path
    elif kind == "gone":
        root = tmp_path / "nowhere"
    return root, extra


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("transform", r"no folder antitranspose, which --tta d4 needs .*anti_transpose is no tr"),
        ("image", r"versions/rot90: no label image of 'b', which is there as identity/b_mask.png"),
        ("shape", r"rot90/b_mask.png: 30 x 44 px found, 44 x 30 expected of the rot90 of 30 x 44"),
        ("size", r"rot90/b_mask.png: 44 x 31 px found"),
        ("colour", r"b_mask.png: 3 channels found, a label image has one"),
        ("fractions", r"b_mask.tif: fractional values"),
        ("text", r"b_mask.png: not an image"),
        ("twice", r"share the stem 'b'"),
        ("no truth", r"truth: no truth of b"),
        ("truth size", r"truth/a.png: 29 x 44 px found, 30 x 44 expected"),
        ("option", r"iou_min must lie within \[0.5, 1\]"),
        ("empty", r"no folder of a transform in it"),
        ("gone", r"nowhere: no such folder"),
    ],
)
def test_what_is_amiss_is_named_and_nothing_is_written(tmp_path, kind, message):
    root, extra = broken(kind, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message) as error:
        call("tta-merge", root, "--out", tmp_path / "out", *extra)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_smallest_preset_with_all_that_is_there(tmp_path):
    root = versions(tmp_path)
    assert len(open_versions(root).transforms) == 8
    assert len(open_versions(root, tta="dissertation6").transforms) == 6
    for name in ("transpose", "antitranspose"):
        for path in (root / name).iterdir():
            path.unlink()
        (root / name).rmdir()
    assert [t.name for t in open_versions(root).transforms] == list(TRANSFORMS)[:6]
    with pytest.raises(UsageError, match="no folder transpose or antitranspose"):
        open_versions(root, tta="d4")
