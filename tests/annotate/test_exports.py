"""Exports: names as AnnotatorJ's, read back by other libraries and by our own importers."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import roifile
import shapely
import tifffile
from PIL import Image

from cellml.annotate import format_masks
from cellml.annotate.exports import FORMATS, AnnotatedImage, export_folder, export_image
from cellml.annotate.imports import import_file, read_annotations
from cellml.annotate.objects import AnnotatedObject, area, bounds, box_polygons
from cellml.annotate.outlines import covered, fill_polygons, trace_mask
from cellml.errors import UsageError, UserError

SHAPE = (40, 60)
CLASSES = {"cell": "#00ff00", "nucleus": "#ff0080"}


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(90, 3000, (*SHAPE, 1)).astype(np.uint16)


@pytest.fixture(scope="module")
def objects() -> list[AnnotatedObject]:
    """Lines drawn by hand and traced, a hole, two parts, overlaps, a box, paint."""
    ring = np.zeros(SHAPE, bool)
    ring[20:30, 5:20] = True
    ring[23:26, 8:14] = False
    pair = np.zeros(SHAPE, bool)
    pair[2:6, 40:50] = pair[8:12, 42:47] = True
    paint = np.zeros(SHAPE, bool)
    paint[33:39, 2:50] = True
    paint[35, 10:20] = False
    drawn = ((4.25, 3.5), (18.75, 2.125), (22.5, 12.0), (12.1, 16.3), (3.0, 11.0))
    return [
        AnnotatedObject(3, "instance", "nucleus", ((drawn,),)),
        AnnotatedObject(4, "instance", "cell", box_polygons(10.0, 5.0, 30.0, 18.0)),  # overlaps
        AnnotatedObject(7, "instance", "nucleus", trace_mask(ring), "unet"),
        AnnotatedObject(8, "instance", "nucleus", trace_mask(pair), "snake"),
        AnnotatedObject(9, "box", "cell", box_polygons(35.5, 20.25, 55.0, 30.0)),
        AnnotatedObject(11, "semantic", "tissue", trace_mask(paint)),  # a class nobody listed
    ]


@pytest.fixture(scope="module")
def out(tmp_path_factory, image, objects) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    written = export_image(objects, image, "a.b.tif", folder, classes=CLASSES)
    assert sorted(written) == sorted(path for path in folder.rglob("*") if path.is_file())
    return folder


def of(objects: list[AnnotatedObject], *kinds: str) -> list[AnnotatedObject]:
    return [item for item in objects if item.kind in kinds]


def masks(objects: list[AnnotatedObject]) -> list[bytes]:
    return [fill_polygons(item.polygons, SHAPE).tobytes() for item in objects]


def text_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def apart_px(one: AnnotatedObject, other: AnnotatedObject) -> float:
    """How far two outlines are apart at most."""
    lines = [
        shapely.MultiPolygon([(part[0], part[1:]) for part in item.polygons]).boundary
        for item in (one, other)
    ]
    return float(lines[0].hausdorff_distance(lines[1]))


def test_names_are_those_of_annotatorj(out):
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "binary_masks/a.b.tiff",
        "bounding_box_coordinates/a.b.csv",
        "coco/annotations.json",
        "dsb_csv/annotations.csv",
        "geojson/a.b.geojson",
        "labelled_masks/a.b.tiff",
        "layered_masks/a.b.tiff",
        "ome_tiff/a.b.ome.tiff",
        "outlined_images/a.b.png",
        "roi_zip/cell/a.b_ROIs.zip",
        "roi_zip/cell/a.b_bboxes.zip",
        "roi_zip/nucleus/a.b_ROIs.zip",
        "roi_zip/tissue/a.b_semantic.tiff",
        "yolo/classes.txt",
        "yolo/labels/a.b.txt",
    ]


def test_repeated_exports_are_equal_to_the_byte(tmp_path, out, image, objects):
    for path in export_image(objects, image, "a.b.tif", tmp_path, classes=CLASSES):
        assert path.read_bytes() == (out / path.relative_to(tmp_path)).read_bytes(), path


def test_roi_zip_is_read_by_roifile(out, objects):
    rois = roifile.roiread(out / "roi_zip" / "nucleus" / "a.b_ROIs.zip")
    assert isinstance(rois, list)
    assert [(roi.name, roi.group) for roi in rois] == [("0001", 2), ("0002", 2), ("0003", 2)]
    assert [roi.properties for roi in rois] == [{"class": "nucleus"}] * 3
    np.testing.assert_allclose(rois[0].coordinates(), objects[0].polygons[0][0], atol=1e-5)
    hole = rois[1].coordinates(multi=True)
    assert [shapely.Polygon(ring).area for ring in hole] == [150, 18]
    assert len(rois[2].coordinates(multi=True)) == 2
    boxes = roifile.roiread(out / "roi_zip" / "cell" / "a.b_bboxes.zip")
    assert isinstance(boxes, list)
    assert boxes[0].roitype == roifile.ROI_TYPE.RECT
    assert (boxes[0].xd, boxes[0].yd, boxes[0].widthd, boxes[0].heightd) == (
        35.5,
        20.25,
        19.5,
        9.75,
    )
    traced = roifile.roiread(out / "roi_zip" / "cell" / "a.b_ROIs.zip")
    assert isinstance(traced, list)
    assert traced[0].roitype == roifile.ROI_TYPE.TRACED
    assert traced[0].subpixel_coordinates is None
    with zipfile.ZipFile(out / "roi_zip" / "nucleus" / "a.b_ROIs.zip") as archive:
        assert archive.namelist() == ["0001.roi", "0002.roi", "0003.roi"]


def test_roi_zip_comes_back(out, objects):
    back = [
        item
        for name in ("nucleus/a.b_ROIs.zip", "cell/a.b_ROIs.zip", "cell/a.b_bboxes.zip")
        for item in import_file(out / "roi_zip" / name, SHAPE, classes=list(CLASSES))
    ]
    there = [objects[i] for i in (0, 2, 3, 1, 4)]
    assert [(i.kind, i.class_name) for i in back] == [(i.kind, i.class_name) for i in there]
    assert max(apart_px(*pair) for pair in zip(back, there, strict=True)) < 1e-5
    assert back[3].polygons == objects[1].polygons
    (paint,) = import_file(
        out / "roi_zip" / "tissue" / "a.b_semantic.tiff", SHAPE, classes=["x", "tissue"]
    )
    assert (paint.kind, paint.class_name, paint.polygons) == (
        "semantic", "tissue", objects[5].polygons,
    )  # fmt: skip


def test_masks_are_read_by_tifffile(out, objects):
    instances = of(objects, "instance")
    labels = tifffile.imread(out / "labelled_masks" / "a.b.tiff")
    assert labels.dtype == np.uint16
    assert np.unique(labels).tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(labels > 0, covered(instances, SHAPE))
    layers = tifffile.imread(out / "layered_masks" / "a.b.tiff")
    assert layers.shape == (4, *SHAPE)
    for number, (layer, mask) in enumerate(zip(layers, masks(instances), strict=True), start=1):
        assert np.unique(layer).tolist() == [0, number]
        assert (layer > 0).tobytes() == mask
    binary = tifffile.imread(out / "binary_masks" / "a.b.tiff")
    assert binary.dtype == np.uint8
    np.testing.assert_array_equal(
        binary, covered(of(objects, "instance", "semantic"), SHAPE) * np.uint8(255)
    )
    with tifffile.TiffFile(out / "ome_tiff" / "a.b.ome.tiff") as tiff:
        assert tiff.series[0].axes == "YX"
        assert tiff.ome_metadata is not None
        assert 'Name="labels"' in tiff.ome_metadata
        assert "PhysicalSize" not in tiff.ome_metadata  # not known
        np.testing.assert_array_equal(tiff.asarray(), labels)


def test_layers_keep_overlaps_and_classes(out, objects):
    back = import_file(out / "layered_masks" / "a.b.tiff", SHAPE, classes=["x"])
    instances = of(objects, "instance")
    assert masks(back) == masks(instances)
    assert [item.class_name for item in back] == [item.class_name for item in instances]


def test_layers_are_shared_where_there_would_be_too_many(tmp_path, image, objects, monkeypatch):
    monkeypatch.setattr(format_masks, "LAYER_BYTES_MAX", 2 * SHAPE[0] * SHAPE[1] * 3)
    (path,) = export_image(objects, image, "a.png", tmp_path, ["layered"])
    layers = tifffile.imread(path)
    assert layers.shape == (2, *SHAPE)
    assert [np.unique(layer).tolist() for layer in layers] == [[0, 1, 3, 4], [0, 2]]
    back = import_file(path, SHAPE, classes=["x"])
    assert sorted(masks(back)) == sorted(masks(of(objects, "instance")))


@pytest.mark.parametrize("name", ["labelled_masks/a.b.tiff", "ome_tiff/a.b.ome.tiff"])
def test_labels_come_back_but_for_overlaps(out, name):
    found = read_annotations(out / name, SHAPE, classes=["cell", "nucleus"])
    assert found.format == ("labels" if "labelled" in name else "ome_tiff")
    labels = tifffile.imread(out / name)
    assert masks(found.objects) == [(labels == i).tobytes() for i in range(1, 5)]
    assert {(i.class_name, i.source) for i in found.objects} == {("cell", "imported")}


def test_more_than_65535_objects_take_32_bits(tmp_path, monkeypatch):
    labels = np.arange(65537, dtype=np.int32)[None].repeat(9, axis=0)
    monkeypatch.setattr(format_masks, "objects_to_labels", lambda objects, shape: labels)
    format_masks.write_label_tiff(tmp_path / "a.tiff", [], labels.shape)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tiff"), labels)


def test_tables_by_hand(out):
    rows = list(csv.reader(text_lines(out / "bounding_box_coordinates" / "a.b.csv")))
    assert rows[0] == ["x", "y", "width", "height", "class"]
    assert rows[1] == ["3", "2.125", "19.5", "14.175", "nucleus"]
    assert rows[5] == ["35.5", "20.25", "19.5", "9.75", "cell"]
    assert (out / "yolo" / "classes.txt").read_text(encoding="utf-8") == "cell\nnucleus\ntissue\n"
    lines = (out / "yolo" / "labels" / "a.b.txt").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "0 0.333333 0.287500 0.333333 0.325000"  # 10, 5 to 30, 18 of 60 x 40
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("name", "tolerance_px"),
    [("bounding_box_coordinates/a.b.csv", 1e-5), ("yolo/labels/a.b.txt", 1e-4)],
)
def test_boxes_come_back(out, objects, name, tolerance_px):
    found = read_annotations(out / name, SHAPE, classes=[])
    there = of(objects, "instance", "box")
    assert found.notes == ()
    assert [item.class_name for item in found.objects] == [item.class_name for item in there]
    for item, other in zip(found.objects, there, strict=True):
        assert item.kind == "box"
        np.testing.assert_allclose(bounds(item.polygons), bounds(other.polygons), atol=tolerance_px)


def test_coco_by_hand_and_back(out, objects):
    record = json.loads((out / "coco" / "annotations.json").read_text(encoding="utf-8"))
    assert record["images"] == [{"id": 1, "file_name": "a.b.tif", "height": 40, "width": 60}]
    assert [c["name"] for c in record["categories"]] == ["cell", "nucleus", "tissue"]
    found = record["annotations"]
    assert [a["category_id"] for a in found] == [2, 1, 2, 2, 1, 3]
    assert [a["iscrowd"] for a in found] == [0, 0, 0, 0, 0, 1]
    assert found[1]["segmentation"] == [[10, 5, 30, 5, 30, 18, 10, 18]]
    assert found[1]["bbox"] == [10, 5, 20, 13]
    assert [a["area"] for a in found[1:4]] == [260, 132, 60]
    assert [len(a["segmentation"]) for a in found if isinstance(a["segmentation"], list)] == [
        1, 1, 2, 0,
    ]  # fmt: skip
    back = import_file(out / "coco" / "annotations.json", SHAPE, classes=[], image_name="a.b.tif")
    assert [(i.kind, i.class_name, i.polygons) for i in back] == [
        (i.kind, i.class_name, i.polygons) for i in objects
    ]


def test_geojson_is_read_by_shapely_and_back(out, objects):
    text = (out / "geojson" / "a.b.geojson").read_text(encoding="utf-8")
    features = json.loads(text)["features"]
    shapes = [shapely.from_geojson(json.dumps(f["geometry"])) for f in features]
    assert all(shape.is_valid for shape in shapes)
    np.testing.assert_allclose([s.area for s in shapes], [area(i.polygons) for i in objects])
    assert [s.geom_type for s in shapes[2:4]] == ["Polygon", "MultiPolygon"]
    assert features[1]["properties"]["objectType"] == "annotation"
    assert features[1]["properties"]["classification"] == {"name": "cell", "color": [0, 255, 0]}
    assert "isIgnored" not in text
    assert len({f["id"] for f in features}) == len(features)
    back = import_file(out / "geojson" / "a.b.geojson", SHAPE, classes=[])
    assert [(i.kind, i.class_name, i.polygons) for i in back] == [
        (i.kind, i.class_name, i.polygons) for i in objects
    ]


def test_dsb_rows_keep_overlaps(out, objects):
    rows = list(csv.DictReader(text_lines(out / "dsb_csv" / "annotations.csv")))
    assert {row["ImageId"] for row in rows} == {"a.b"}
    back = import_file(
        out / "dsb_csv" / "annotations.csv", SHAPE, classes=["c"], image_name="a.b.tif"
    )
    assert masks(back) == masks(of(objects, "instance"))


def test_outlined_picture_shows_classes_in_their_colours(out, objects):
    picture = np.asarray(Image.open(out / "outlined_images" / "a.b.png"))
    assert (picture.shape, picture.dtype) == ((*SHAPE, 3), np.uint8)
    assert picture[5, 29].tolist() == [0, 255, 0]  # right upper corner of the cell
    assert picture[20, 5].tolist() == picture[22, 10].tolist() == [255, 0, 128]  # out and in
    inside = picture[11:15, 25:28]
    assert (inside[..., 0] == inside[..., 2]).all()  # grey
    with pytest.raises(UserError, match="channels found"):
        import_file(out / "outlined_images" / "a.b.png", SHAPE, classes=[])


def test_many_images_share_files_and_come_one_at_a_time(tmp_path, objects):
    alive: list[str] = []

    def images():
        for name in ("a.png", "a.tif", "empty.png"):
            alive.append(name)
            mine = [] if name == "empty.png" else objects[: 1 + len(alive)]
            yield AnnotatedImage(name, mine, np.zeros((*SHAPE, 3), np.uint8))

    written = export_folder(images(), tmp_path, ["coco", "dsb_csv", "yolo", "labels"])
    names = [str(path.relative_to(tmp_path)) for path in written]
    assert names.count("coco/annotations.json") == 1
    assert {"labelled_masks/a.tiff", "labelled_masks/a.tif.tiff"} <= set(names)  # same stem
    for form in ("coco/annotations.json",):
        for name, count in (("a.png", 2), ("a.tif", 3), ("empty.png", 0)):
            back = import_file(tmp_path / form, SHAPE, classes=[], image_name=name)
            assert len(back) == count
    assert import_file(tmp_path / "yolo/labels/empty.txt", SHAPE, classes=[]) == []
    rows = (tmp_path / "dsb_csv" / "annotations.csv").read_text(encoding="utf-8").splitlines()
    assert rows[-1] == "empty,"


def test_a_failure_leaves_no_half_file(tmp_path, objects):
    def images():
        yield AnnotatedImage("a.png", objects, np.zeros((*SHAPE, 1), np.uint8))
        raise UserError("b.png: broken")

    with pytest.raises(UserError, match="broken"):
        export_folder(images(), tmp_path, ["coco", "dsb_csv"])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_unknown_format_and_odd_class_names(tmp_path, image):
    with pytest.raises(UsageError, match="format 'pdf' is not known; there are roi_zip"):
        export_image([], image, "a.png", tmp_path, ["pdf"])
    odd = AnnotatedObject(1, "instance", "../a:b\nc", box_polygons(1.0, 2.0, 5.0, 6.0))
    (path,) = export_image([odd], image, "a.png", tmp_path, ["roi_zip"])
    assert path == tmp_path / "roi_zip" / "_a_b_c" / "a_ROIs.zip"
    assert len(FORMATS) == 11


def test_polygons_far_out_in_large_images_keep_a_pixel(tmp_path):
    rng = np.random.default_rng(1)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    objects = []
    for number, (x, y) in enumerate(rng.uniform(100, 60_900, (12, 2)), start=1):
        radius = 30 + 8 * rng.random(24)
        line = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
        if number % 2:
            line = np.round(line)
        ring = tuple((float(a), float(b)) for a, b in line)
        objects.append(AnnotatedObject(number, "instance", "a", ((ring,),)))
    pixels = np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (61_000, 61_000, 1))
    (path,) = export_image(objects, pixels, "a.png", tmp_path, ["roi_zip"])
    back = import_file(path, (61_000, 61_000), classes=[])
    assert max(apart_px(*pair) for pair in zip(back, objects, strict=True)) < 0.01
    rois = roifile.roiread(path)
    assert isinstance(rois, list)
    for roi, item in zip(rois, objects, strict=True):
        np.testing.assert_allclose(roi.coordinates(), item.polygons[0][0], atol=0.01)
