"""Imports: what other programs write, what is clipped and counted, and one line for each fault."""

import json
import zipfile

import numpy as np
import pytest
import roifile
import tifffile
from PIL import Image

from cellml.annotate.imports import import_file, read_annotations
from cellml.annotate.objects import area, bounds
from cellml.annotate.outlines import fill_polygons
from cellml.errors import UserError

SHAPE = (20, 30)


def rois(path, *items, names=None):
    with zipfile.ZipFile(path, "w") as archive:
        for number, roi in enumerate(items):
            archive.writestr((names or "abcdef")[number] + ".roi", roi.tobytes())
    return path


def roi(points, **fields) -> roifile.ImagejRoi:
    made = roifile.ImagejRoi.frompoints(np.array(points), name="x")
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_rois_of_other_programs(tmp_path):
    polygon = roi([[1, 2], [9, 2], [9, 8]], group=2)
    oval = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.OVAL, left=10, top=3, right=20, bottom=15)
    point = roi([[3, 4], [5, 6]], roitype=roifile.ROI_TYPE.POINT)
    found = read_annotations(
        rois(tmp_path / "x.zip", polygon, oval, point), SHAPE, classes=["cell", "nucleus"]
    )
    assert [item.class_name for item in found.objects] == ["nucleus", "cell"]
    assert found.objects[0].polygons == ((((1, 2), (9, 2), (9, 8)),),)
    assert area(found.objects[1].polygons) == pytest.approx(np.pi * 5 * 6, rel=0.01)
    assert found.notes == ("1 ROI without an area: left out",)
    (tmp_path / "one.roi").write_bytes(polygon.tobytes())
    assert len(import_file(tmp_path / "one.roi", SHAPE, classes=[])) == 1


def test_nested_rings_of_a_composite_are_islands_in_holes(tmp_path):
    rings = [(8, 8, 10, 10), (1, 1, 18, 18), (4, 4, 14, 14), (6, 6, 12, 12)]
    path = []
    for x0, y0, x1, y1 in rings:
        path += [0, x0, y0, 1, x1, y0, 1, x1, y1, 1, x0, y1, 4]
    made = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.RECT, left=1, top=1, right=18, bottom=18)
    made.multi_coordinates = np.array(path, np.float32)
    made.shape_roi_size = len(path)
    (item,) = import_file(rois(tmp_path / "x.zip", made), SHAPE, classes=[])
    assert sorted(len(polygon) for polygon in item.polygons) == [2, 2]
    even_odd = np.zeros(SHAPE, bool)
    for x0, y0, x1, y1 in rings:
        even_odd[y0:y1, x0:x1] ^= True
    np.testing.assert_array_equal(fill_polygons(item.polygons, SHAPE), even_odd)


def test_what_lies_outside_is_clipped_and_counted(tmp_path):
    across = roi([[25.0, 5.0], [40.0, 5.0], [40.0, 15.0], [25.0, 15.0]])
    crossed = roi([[-4.0, 0.0], [6.0, 8.0], [6.0, 0.0], [-4.0, 8.0]])  # a bow tie
    away = roi([[50, 5], [60, 5], [60, 15]])
    inside = roi([[1, 1], [5, 1], [5, 5]])
    path = rois(tmp_path / "x.zip", across, crossed, away, inside)
    found = read_annotations(path, SHAPE, classes=[])
    assert found.notes == (
        "2 objects reached beyond the image: clipped",
        "1 object outside the image: left out",
    )
    assert [item.id for item in found.objects] == [1, 2, 3]
    assert bounds(found.objects[0].polygons) == (25, 5, 30, 15)
    assert area(found.objects[1].polygons) == pytest.approx(20 + 3.2 + 0.8, abs=5)
    for item in found.objects:
        x0, y0, x1, y1 = bounds(item.polygons)
        assert min(x0, y0) >= 0
        assert x1 <= 30
        assert y1 <= 20
    (tmp_path / "b.csv").write_text("x,y,w,h\n-3,2,8,40\n", encoding="utf-8")
    (box,) = import_file(tmp_path / "b.csv", SHAPE, classes=["cell"])
    assert (box.kind, bounds(box.polygons)) == ("box", (0, 2, 5, 20))


def test_binary_masks_are_painted_areas_and_labels_are_objects(tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:6, 4:9] = mask[10:15, 20:28] = 255
    Image.fromarray(mask).save(tmp_path / "a.png")
    (area_found,) = import_file(tmp_path / "a.png", SHAPE, classes=["tissue"])
    assert (area_found.kind, len(area_found.polygons)) == ("semantic", 2)
    for name, kind in (("a_semantic.tiff", "semantic"), ("a.tiff", "instance")):
        tifffile.imwrite(tmp_path / name, mask // 255)
        assert [item.kind for item in import_file(tmp_path / name, SHAPE, classes=[])] == [kind]
    tifffile.imwrite(tmp_path / "none.tiff", mask * 0)
    assert import_file(tmp_path / "none.tiff", SHAPE, classes=[]) == []


def test_a_stack_of_other_programs_is_read(tmp_path):
    stack = np.zeros((3, *SHAPE), np.uint16)
    stack[0, 2:9, 2:9] = stack[1, 5:12, 5:12] = stack[2, 14:18, 1:29] = 1  # as AnnotatorJ
    tifffile.imwrite(tmp_path / "s.tif", stack, imagej=True)
    found = read_annotations(tmp_path / "s.tif", SHAPE, classes=["cell"])
    assert found.format == "layered"
    assert [area(item.polygons) for item in found.objects] == [49, 49, 112]


def test_coco_of_other_programs(tmp_path):
    image = {"id": 5, "file_name": "folder/x.jpg", "height": 20, "width": 30}
    square = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]
    crowd = {"size": [20, 30], "counts": [20 * 3 + 4, 6, 14, 6, 20 * 30 - 90]}
    shared = {"image_id": 5, "category_id": 18}
    annotations = [
        {"id": 1, "segmentation": [square], "iscrowd": 0, **shared},
        {"id": 2, "segmentation": crowd, "iscrowd": 1, **shared},
        {"id": 3, "segmentation": crowd, "iscrowd": 1, **shared},
        {"id": 4, "bbox": [1, 2, 3, 4], **shared},
    ]
    record = {
        "images": [image, {"id": 6, "file_name": "y.jpg", "height": 1, "width": 1}],
        "categories": [{"id": 18, "name": "dog"}],
        "annotations": annotations,
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    found = import_file(path, SHAPE, classes=[], image_name="x.jpg")
    assert [item.kind for item in found] == ["instance", "semantic", "box"]  # one area a class
    mask = np.zeros(SHAPE, bool)
    mask[4:10, 3:5] = True
    np.testing.assert_array_equal(fill_polygons(found[1].polygons, SHAPE), mask)
    with pytest.raises(UserError, match="2 images in this file"):
        import_file(path, SHAPE, classes=[])
    with pytest.raises(UserError, match=r"no image 'z\.tif' in this file \(it has folder/x\.jpg"):
        import_file(path, SHAPE, classes=[], image_name="z.tif")
    with pytest.raises(UserError, match=r"is 20 x 30 px there, 21 x 30 px expected"):
        import_file(path, (21, 30), classes=[], image_name="x.jpg")


def test_geojson_of_older_qupath(tmp_path):
    square = [[1, 1], [5, 1], [5, 5], [1, 5], [1, 1]]
    features = [
        {
            "type": "Feature",
            "id": "PathDetectionObject",
            "geometry": {"type": "Polygon", "coordinates": [square]},
            "properties": {"classification": {"name": "Tumor", "colorRGB": -3670016}},
        },
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}},
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [square]},
            "properties": {"classification": {"names": ["Tumor", "Positive"]}},
        },
    ]
    path = tmp_path / "q.json"
    path.write_text(json.dumps(features), encoding="utf-8")
    found = read_annotations(path, SHAPE, classes=[])
    assert [item.class_name for item in found.objects] == ["Tumor", "Tumor: Positive"]
    assert found.notes == ("1 feature without an area: left out",)


def test_yolo_polygons_and_classes_from_the_caller(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("1 0.1 0.1 0.5 0.1 0.5 0.6\n0 0.5 0.5 1 1\n", encoding="utf-8")
    polygon, box = import_file(path, SHAPE, classes=["cell", "nucleus"])
    assert (polygon.kind, polygon.class_name) == ("instance", "nucleus")
    np.testing.assert_allclose(polygon.polygons[0][0], [(3, 2), (15, 2), (15, 12)])
    assert (box.kind, bounds(box.polygons)) == ("box", (0, 0, 30, 20))


FAULTS = {
    "empty.csv": (b"", "the file is empty"),
    "a.xyz": (b"\x00\x01\x02", "no known annotation; known: ImageJ"),
    "a.jpg": (b"\xff\xd8\xff\xe0", "JPEG holds no exact labels"),
    "a.zip": (b"PK\x03\x04 broken", "broken archive"),
    "b.roi": (b"Iout1234", "damaged ROI"),
    "a.json": (b'{"a": ', "damaged JSON"),
    "b.json": (b'{"a": 1}', "neither COCO"),
    "c.json": (b'{"annotations": 3}', "no list of records"),
    "d.json": (b'{"type": "FeatureCollection", "features": [{}]}', "feature 1: no GeoJSON feature"),
    "e.json": (
        b'[{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": '
        b"[[[1, 1], [NaN, 1], [5, 5]]]}}]",
        "feature 1: coordinate nan, a finite number",
    ),
    "f.json": (
        b'[{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": '
        b"[[[1, 1], [2, 1]]]}}]",
        "a ring of 2 points",
    ),
    "a.csv": (b"x,y,width,height\n1,nan,3,4\n", "line 2: 'nan' found, a finite number"),
    "b.csv": (b"x,y,width,height\n1,2,0,4\n", "line 2: box of 0 x 4 px"),
    "c.csv": (b"x,y,width\n1,2,3\n", "no column 'h', x, y, width and height expected"),
    "d.csv": (b"ImageId,EncodedPixels\na,1 2 3\n", "line 2: 3 numbers, pairs"),
    "e.csv": (b"ImageId,EncodedPixels\na,600 2\n", "beyond the image of 20 x 30"),
    "a.txt": (b"7 0.5 0.5 0.1 0.1\n", "class 7, but 1 classes are known"),
    "b.txt": (b"0 0.5 0.5 0.1\n", "4 values, a class with a box or a polygon"),
    "c.txt": (b"0 0.5 inf 0.1 0.1\n", "'inf' found"),
    "a.tif": (b"II*\x00\x08\x00\x00\x00", "no pages"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_one_line_with_the_file(tmp_path, name):
    content, message = FAULTS[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        import_file(path, SHAPE, classes=["cell"])
    text = str(caught.value)
    assert text.startswith(str(path))
    assert message in text
    assert "\n" not in text


def test_broken_archives(tmp_path):
    path = rois(tmp_path / "x.zip", roi([[1, 2], [9, 2], [9, 8]]))
    whole = path.read_bytes()
    for size in (len(whole) - 10, len(whole) // 2, 30):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="broken archive"):
            import_file(path, SHAPE, classes=[])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(UserError, match=r"no \.roi in this archive"):
        import_file(path, SHAPE, classes=[])
    nan = roi([[1.0, 2.0], [9.0, 2.0], [9.0, 8.0]])
    assert nan.subpixel_coordinates is not None
    nan.subpixel_coordinates[1, 0] = np.nan
    with pytest.raises(UserError, match=r"x\.zip, a\.roi: coordinate nan"):
        import_file(rois(path, nan), SHAPE, classes=[])


def test_masks_of_another_size(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 31), np.uint16))
    with pytest.raises(UserError, match="20 x 31 px found, 20 x 30 px expected"):
        import_file(tmp_path / "a.tif", SHAPE, classes=[])
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((2, 30, 20), np.uint16))
    with pytest.raises(UserError, match=r"layer 1: 30 x 20 px found"):
        import_file(tmp_path / "s.tif", SHAPE, classes=[])
    tifffile.imwrite(tmp_path / "f.tif", np.full(SHAPE, 0.5, np.float32))
    with pytest.raises(UserError, match="fractional values"):
        import_file(tmp_path / "f.tif", SHAPE, classes=[])
