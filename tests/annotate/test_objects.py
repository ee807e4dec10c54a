"""Objects as JSON: what comes in is checked, what goes out comes back."""

import json
import math

import pytest

from cellml.annotate.objects import (
    AnnotatedObject,
    area,
    bounds,
    box_polygons,
    next_id,
    polygons_from_json,
)
from cellml.errors import UserError

RING = [[1, 2], [5, 2], [5, 8.5]]


def record(**fields):
    return {"id": 7, "kind": "instance", "class": "a", "polygons": [[RING]], **fields}


def test_json_there_and_back():
    item = AnnotatedObject.from_json(record(source="unet"))
    assert item.polygons == ((((1.0, 2.0), (5.0, 2.0), (5.0, 8.5)),),)
    assert AnnotatedObject.from_json(json.loads(json.dumps(item.to_json()))) == item
    assert AnnotatedObject.from_json(record()).source == "manual"


def test_a_closed_ring_is_opened():
    assert polygons_from_json([[[*RING, RING[0]]]]) == polygons_from_json([[RING]])


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"id": 0}, "id 0 found"),
        ({"id": True}, "id True found"),
        ({"id": "3"}, "id '3' found"),
        ({"kind": "blob"}, "object 7: kind 'blob' found, one of instance, semantic, box"),
        ({"source": "dream"}, "source 'dream' found"),
        ({"class": " "}, "class ' ' found"),
        ({"polygons": []}, "no polygons"),
        ({"polygons": "POLYGON"}, "no polygons"),
        ({"polygons": [[]]}, "without a ring"),
        ({"polygons": [[5]]}, "int found, a list of points"),
        ({"polygons": [[RING[:2]]]}, "a ring of 2 points, at least 3"),
        ({"polygons": [[[[0, 0], [1, 1], [0, 0]]]]}, "a ring of 2 points"),
        ({"polygons": [[[[0, 0], [1, 1], [1]]]]}, "point [1], [x, y] expected"),
        ({"polygons": [[[[0, 0], [1, 1], [1, math.nan]]]]}, "coordinate nan"),
        ({"polygons": [[[[0, 0], [1, 1], [1, 1e9]]]]}, "coordinate 1000000000.0"),
        ({"polygons": [[[[0, 0], [1, 1], [1, "2"]]]]}, "coordinate '2'"),
        ({"kind": "box"}, "a box is one upright rectangle"),
        ({"kind": "box", "polygons": [[[[0, 0], [0, 2], [2, 2], [2, 0]]]]}, "clockwise from"),
    ],
)
def test_what_is_wrong_is_named(fields, sentence):
    with pytest.raises(UserError) as caught:
        AnnotatedObject.from_json(record(**fields))
    assert sentence in str(caught.value)


def test_no_object_at_all():
    with pytest.raises(UserError, match="list found, a JSON object expected"):
        AnnotatedObject.from_json([1])


def test_bounds_and_area_by_hand():
    outer = ((0.0, 0.0), (10.0, 0.0), (10.0, 4.0), (0.0, 4.0))
    hole = ((1.0, 1.0), (1.0, 2.0), (3.0, 2.0), (3.0, 1.0))  # the other way around
    triangle = ((20.0, 5.0), (24.0, 5.0), (20.0, 8.0))
    polygons = ((outer, hole), (triangle,))
    assert bounds(polygons) == (0.0, 0.0, 24.0, 8.0)
    assert area(polygons) == 40 - 2 + 6
    assert area(box_polygons(1.0, 2.0, 4.0, 4.0)) == 6


def test_ids_go_on():
    item = AnnotatedObject.from_json(record())
    assert next_id([]) == 1
    assert next_id([item]) == 8
