"""Brush, union, splitting and overlap, against masks of pixels counted by hand."""

import numpy as np
import pytest

from cellml.annotate import geometry
from cellml.annotate.objects import area, box_polygons
from cellml.errors import UserError

SIZE = (60, 80)
BOX = box_polygons(10.0, 10.0, 30.0, 20.0)


def mask(polygons, size=SIZE):
    """Even-odd by counting crossings of a ray from every pixel centre, the slow way."""
    found = np.zeros(size, bool)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    for polygon in polygons:
        odd = np.zeros(size, bool)
        for ring in polygon:
            for (x0, y0), (x1, y1) in zip(ring, ring[1:] + ring[:1], strict=True):
                if y0 == y1:
                    continue
                crosses = (min(y0, y1) <= y) & (y < max(y0, y1))
                odd ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
        found |= odd
    return found


def disc(x, y, radius):
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return np.hypot(columns - x, rows - y) <= radius


def test_a_click_of_the_brush_is_a_disc():
    found = geometry.brush((), [(40.0, 30.0)], 9.0, erase=False, size=SIZE)
    assert area(found) == pytest.approx(np.pi * 81, rel=0.03)
    assert (mask(found) ^ disc(40, 30, 9)).sum() <= 16  # at most part of the rim


def test_painting_and_erasing_are_union_and_difference_of_masks():
    painted = geometry.brush(BOX, [(30.0, 15.0), (45.0, 15.0)], 6.0, erase=False, size=SIZE)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    stroke = disc(30, 15, 6) | disc(45, 15, 6)
    stroke |= (columns >= 30) & (columns <= 45) & (abs(rows - 15) <= 6)
    assert (mask(painted) ^ (mask(BOX) | stroke)).sum() <= 16
    erased = geometry.brush(painted, [(20.0, 15.0)], 2.0, erase=True, size=SIZE)
    assert len(erased[0]) == 2, "a hole"
    assert (mask(erased) ^ (mask(painted) & ~disc(20, 15, 2))).sum() <= 4


def test_the_eraser_cuts_in_parts_and_takes_all():
    parts = geometry.brush(BOX, [(20.0, 0.0), (20.0, 40.0)], 3.0, erase=True, size=SIZE)
    assert len(parts) == 2
    assert area(parts) == pytest.approx(20 * 10 - 6 * 10, abs=1)
    assert geometry.brush(BOX, [(20.0, 15.0)], 40.0, erase=True, size=SIZE) == ()


def test_a_stroke_without_effect_changes_nothing():
    assert geometry.brush(BOX, [(60.0, 50.0)], 3.0, erase=True, size=SIZE) is BOX
    assert geometry.brush(BOX, [(20.0, 15.0)], 2.0, erase=False, size=SIZE) is BOX


def test_nothing_is_painted_outside_the_image():
    found = geometry.brush((), [(79.0, 59.0)], 5.0, erase=False, size=SIZE)
    x, y = np.array(found[0][0]).T
    assert (x.max(), y.max()) == (80, 60)


def test_points_do_not_grow_without_bound():
    rng = np.random.default_rng(3)
    polygons, counts = (), []
    for _ in range(120):
        points = [tuple(p) for p in (rng.uniform((20, 15), (60, 45), (2, 2))).tolist()]
        erase = bool(rng.random() < 0.3)
        polygons = geometry.brush(polygons, points, 4.0, erase=erase, size=SIZE)
        counts.append(sum(len(ring) for polygon in polygons for ring in polygon))
    assert max(counts[60:]) < 1.5 * max(counts[:60]) + 40
    assert max(counts) < 400


def test_cleaning_leaves_a_good_outline_alone():
    good = (((1.0, 1.0), (9.12345, 1.0), (5.0, 8.0)),)
    assert geometry.clean((good,), SIZE) == ((((1.0, 1.0), (9.123, 1.0), (5.0, 8.0)),),)


def test_cleaning_cuts_at_the_border_and_mends_crossings():
    assert area(geometry.clean(box_polygons(-10.0, -10.0, 5.0, 5.0), SIZE)) == 25
    bow_tie = ((((10.0, 10.0), (30.0, 30.0), (30.0, 10.0), (10.0, 30.0)),),)
    mended = geometry.clean(bow_tie, SIZE)
    assert len(mended) == 2
    assert area(mended) == 200
    assert np.array_equal(mask(mended), mask(bow_tie))


@pytest.mark.parametrize(
    ("polygons", "sentence"),
    [
        (box_polygons(100.0, 100.0, 120.0, 120.0), r"outside the image \(60 x 80 px\)"),
        (((((1.0, 1.0), (5.0, 5.0), (9.0, 9.0)),),), "encloses no area"),
    ],
)
def test_what_encloses_nothing_is_refused(polygons, sentence):
    with pytest.raises(UserError, match=sentence):
        geometry.clean(polygons, SIZE)


def test_boxes_stay_boxes():
    cut = geometry.clean_box(box_polygons(-5.0, 50.0, 10.0, 99.0), SIZE)
    assert cut == box_polygons(0.0, 50.0, 10.0, 60.0)
    with pytest.raises(UserError, match="box is empty"):
        geometry.clean_box(box_polygons(90.0, 1.0, 95.0, 5.0), SIZE)


def test_union_joins_or_keeps_parts():
    touching = geometry.union([BOX, box_polygons(30.0, 10.0, 40.0, 20.0)])
    assert len(touching) == 1
    assert area(touching) == 300
    assert len(geometry.union([BOX, box_polygons(50.0, 10.0, 60.0, 20.0)])) == 2


def test_splitting_keeps_every_pixel():
    line = [(12.0, 0.0), (14.0, 15.0), (26.0, 40.0)]
    pieces = geometry.split(BOX, line)
    assert len(pieces) == 2
    assert area(pieces[0]) >= area(pieces[1])
    assert sum(map(area, pieces)) == pytest.approx(200, abs=0.01)
    masks = [mask(piece) for piece in pieces]
    assert np.array_equal(masks[0] ^ masks[1], mask(BOX))


def test_splitting_a_horseshoe_gives_three():
    horseshoe = geometry.brush(
        box_polygons(10.0, 10.0, 40.0, 40.0),
        [(25.0, 8.0), (25.0, 25.0)],
        5.0,
        erase=True,
        size=SIZE,
    )
    assert len(geometry.split(horseshoe, [(0.0, 15.0), (60.0, 15.0)])) == 3


def test_parts_apart_are_set_apart_and_others_stay_together():
    two = (*BOX, *box_polygons(50.0, 10.0, 60.0, 20.0))
    assert [area(p) for p in geometry.split(two, [(40.0, 0.0), (40.0, 40.0)])] == [200, 100]
    cut = geometry.split(two, [(55.0, 0.0), (55.0, 40.0)])
    assert sorted(area(p) for p in cut) == [50, 250]


@pytest.mark.parametrize("line", [[(0.0, 0.0), (5.0, 5.0)], [(5.0, 15.0), (20.0, 15.0)]])
def test_a_line_that_does_not_cut_is_told(line):
    with pytest.raises(UserError, match="does not cut the object in two"):
        geometry.split(BOX, line)


def test_overlap_by_iou():
    new = [
        box_polygons(10.0, 10.0, 30.0, 15.0),  # IoU 0.5 with BOX
        box_polygons(10.0, 10.0, 15.0, 20.0),  # 0.25
        box_polygons(50.0, 50.0, 55.0, 55.0),
    ]
    assert geometry.overlapping(new, [BOX], iou_max=0.3).tolist() == [True, False, False]
    assert geometry.overlapping(new, [], iou_max=0.3).tolist() == [False] * 3
    assert geometry.overlapping([], [BOX], iou_max=0.3).shape == (0,)
