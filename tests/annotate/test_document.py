"""Operations, undo without limit, and the law that the journal is the state."""

import random

import numpy as np
import pytest

from cellml.annotate.document import Conflict, Document
from cellml.annotate.journal import Journal
from cellml.annotate.objects import AnnotatedObject, area, bounds, box_polygons
from cellml.errors import UserError
from tests.annotate.server_fakes import add, instance

SIZE = (100, 120)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.jsonl"


@pytest.fixture
def document(path):
    """Objects 1 and 2 apart, 3 a box, 4 painted."""
    document = Document(Journal(path), SIZE)
    box = {**instance(70, 10, 90, 30), "kind": "box"}
    document.apply([add(10, 10, 30, 30), add(40, 10, 60, 30), {"op": "add", "object": box}], 0)
    document.apply([paint((20.0, 80.0))], 1)
    return document


def paint(*points, **fields):
    stroke = {"points": [list(p) for p in points], "radius_px": 5, "erase": False}
    return {"op": "brush", "id": None, "class": "nucleus", "kind": "semantic", **stroke, **fields}


def do(document, *operations):
    return document.apply(list(operations), document.revision)


def snapshot(document):
    return [item.to_json() for item in document.sorted_objects()], document.done


def test_adding_replacing_removing(document):
    assert [item.kind for item in document.sorted_objects()] == [
        "instance",
        "instance",
        "box",
        "semantic",
    ]
    change = do(document, {"op": "replace", "id": 2, "object": instance(40, 10, 50, 20)})
    assert [item.id for item in change.objects] == [2]
    assert area(document.objects[2].polygons) == 100
    change = do(document, {"op": "replace", "id": 2, "object": {"class": "dead"}})
    assert document.objects[2].class_name == "dead"
    change = do(document, {"op": "remove", "ids": [1, 2]})
    assert (sorted(change.removed), change.objects) == ([1, 2], [])
    change = do(document, add(1, 1, 9, 9))
    assert change.objects[0].id == 5, "an id is never used again"


def test_ids_are_not_used_again_after_a_restart(document, path):
    do(document, {"op": "remove", "ids": [4]})
    again = Document(Journal(path), SIZE)
    assert do(again, add(1, 1, 9, 9)).objects[0].id == 5


def test_classes_and_the_painted_area_of_each(document):
    do(document, {"op": "class", "ids": [1, 3], "class": "dead"})
    assert {i: o.class_name for i, o in document.objects.items() if o.class_name == "dead"} == {
        1: "dead",
        3: "dead",
    }
    do(document, paint((60.0, 80.0), **{"class": "dead"}))
    assert len(document.objects) == 5
    change = do(document, {"op": "class", "ids": [5], "class": "nucleus"})
    assert (change.removed, [o.id for o in change.objects]) == ([5], [4]), "one area a class"
    assert len(document.objects[4].polygons) == 2
    change = do(document, {"op": "add", "object": {**instance(0, 60, 5, 65), "kind": "semantic"}})
    assert [o.id for o in change.objects] == [4]


def test_brush_on_an_object_on_a_new_one_and_on_none(document):
    change = do(document, paint((30.0, 20.0), id=1, kind="instance"))
    assert bounds(change.objects[0].polygons)[2] == 35
    assert do(document, paint((100.0, 80.0), kind="instance")).objects[0].kind == "instance"
    nothing = do(document, paint((1.0, 1.0), erase=True, **{"class": "dead"}))
    assert (nothing.objects, nothing.removed) == ([], [])
    assert nothing.revision == document.revision == 4, "no entry without a change"
    gone = do(document, paint((20.0, 80.0), erase=True, radius_px=20.0))
    assert gone.removed == [4]


def test_merging(document):
    change = do(document, {"op": "merge", "ids": [2, 1]})
    assert (change.removed, [o.id for o in change.objects]) == ([1], [2])
    assert area(document.objects[2].polygons) == 800
    do(document, {"op": "add", "object": {**instance(80, 20, 110, 40), "kind": "box"}})
    do(document, {"op": "merge", "ids": [3, 5]})
    assert document.objects[3].polygons == box_polygons(70.0, 10.0, 110.0, 40.0)


def test_splitting(document):
    change = do(document, {"op": "split", "id": 1, "line": [[15, 0], [15, 50]]})
    assert [(o.id, area(o.polygons)) for o in change.objects] == [(1, 300), (5, 100)]


@pytest.mark.parametrize(
    ("operation", "sentence"),
    [
        ({"op": "explode"}, "operation 'explode' found, one of add, replace"),
        ("add", "operation None found"),
        ({"op": "add"}, "object: a JSON object expected"),
        (add(1, 1, 5, 5, kind="blob"), "kind 'blob'"),
        (add(300, 300, 310, 310), "outside the image"),
        ({"op": "remove", "ids": [99]}, "there is no object 99"),
        ({"op": "remove", "ids": []}, "ids: a list of at least 1"),
        ({"op": "remove", "ids": 4}, "ids: a list of at least 1"),
        ({"op": "replace", "id": "1", "object": {}}, "there is no object '1'"),
        ({"op": "class", "ids": [1], "class": ""}, "class '' found"),
        ({"op": "merge", "ids": [1]}, "at least 2"),
        ({"op": "merge", "ids": [1, 1]}, "two different objects"),
        ({"op": "merge", "ids": [1, 3]}, "one kind can be merged, not box and instance"),
        ({"op": "split", "id": 3, "line": [[0, 0], [1, 1]]}, "a box cannot be split"),
        ({"op": "split", "id": 4, "line": [[0, 0], [1, 1]]}, "painted area of a class cannot"),
        ({"op": "split", "id": 1, "line": [[0, 0]]}, "at least 2 [x, y]"),
        ({"op": "split", "id": 1, "line": [[0, 0], [1, 1]]}, "draw it right across"),
        (paint(), "at least 1 [x, y]"),
        (paint((1.0, 1.0), id=3), "a box is changed at its corners"),
        (paint((1.0, 1.0), kind="box"), "the brush paints instances and semantic"),
        (paint((1.0, 1.0), radius_px=0), "radius_px: 0 found, a number from 0.1 to 2000"),
        (paint((1.0, 1.0), radius_px="5"), "radius_px: '5' found"),
        ({"op": "done", "value": 1}, "value: true or false"),
    ],
)
def test_what_cannot_be_done_is_told_and_nothing_happens(document, operation, sentence):
    before = snapshot(document)
    with pytest.raises(UserError) as caught:
        do(document, add(1, 1, 5, 5), operation)
    assert sentence in str(caught.value)
    assert (snapshot(document), document.revision) == (before, 2)


def test_another_tab_was_faster(document):
    do(document, add(1, 1, 5, 5))
    for step in (
        lambda: document.apply([add(2, 2, 6, 6)], 2),
        lambda: document.undo(2),
        lambda: document.redo(2),
    ):
        with pytest.raises(Conflict) as caught:
            step()
        assert caught.value.revision == 3


def test_objects_of_a_file_come_as_one_step(document):
    items = [
        AnnotatedObject(1, "instance", "a", box_polygons(1.0, 1.0, 5.0, 5.0), "imported"),
        AnnotatedObject(2, "instance", "a", box_polygons(500.0, 1.0, 505.0, 5.0), "imported"),
        AnnotatedObject(3, "instance", "a", box_polygons(7.0, 1.0, 9.0, 5.0), "imported"),
    ]
    change, left_out = document.add(items)
    assert ([o.id for o in change.objects], left_out) == ([5, 6], 1)
    document.undo(document.revision)
    assert set(document.objects) == {1, 2, 3, 4}


def test_done_is_a_step_like_any_other(document, path):
    do(document, {"op": "done", "value": True})
    assert Document(Journal(path), SIZE).done
    document.undo(3)
    assert not document.done
    document.redo(4)
    assert document.summary() == {"objects": 4, "done": True, "classes": {"nucleus": 4}}


def test_a_new_step_forgets_what_was_undone(document):
    document.undo(2)
    assert document.can_redo
    do(document, add(1, 1, 5, 5))
    assert not document.can_redo
    with pytest.raises(UserError, match="nothing to redo"):
        document.redo(document.revision)


def random_operation(rng, document):
    x, y = rng.uniform(0, 110), rng.uniform(0, 90)
    ids = list(document.objects)
    some = rng.sample(ids, min(len(ids), rng.randint(1, 2)))
    name = rng.choice("abc")
    choices = [
        add(x, y, x + rng.uniform(1, 20), y + rng.uniform(1, 20), **{"class": name}),
        paint((x, y), (y, x * 0.8), radius_px=rng.uniform(1, 9), **{"class": name}),
        paint((x, y), (y, x * 0.8), radius_px=rng.uniform(1, 9), erase=True, **{"class": name}),
        {"op": "done", "value": rng.random() < 0.5},
    ]
    if some:
        choices += [
            {"op": "remove", "ids": some},
            {"op": "class", "ids": some, "class": name},
            {"op": "merge", "ids": some},
            {"op": "split", "id": some[0], "line": [[x, 0], [110 - x, 100]]},
            {"op": "replace", "id": some[0], "object": instance(x, y, x + 5, y + 5)},
            paint((x, y), id=some[0], erase=rng.random() < 0.5),
        ]
    return [rng.choice(choices) for _ in range(rng.randint(1, 2))]


@pytest.mark.parametrize("seed", range(4))
def test_random_work_can_be_undone_redone_and_read_again(path, seed):
    rng, document = random.Random(seed), Document(Journal(path), SIZE)
    states = [snapshot(document)]  # by number of steps in effect
    for _ in range(60):
        if rng.random() < 0.2 and document.can_undo:
            document.undo(document.revision)
            assert snapshot(document) == states[len(document._undo)]
            continue
        if rng.random() < 0.1 and document.can_redo:
            document.redo(document.revision)
            assert snapshot(document) == states[len(document._undo)]
            continue
        try:
            change = document.apply(random_operation(rng, document), document.revision)
        except UserError:
            continue
        if change.objects or change.removed or not document.can_redo:
            del states[len(document._undo) :]
            states.append(snapshot(document))
    live = snapshot(document)
    document = Document(Journal(path), SIZE)
    assert snapshot(document) == live, "replay is the live state"
    steps = len(document._undo)
    assert steps > 10
    while document.can_undo:
        document.undo(document.revision)
        assert snapshot(document) == states[len(document._undo)]
    assert snapshot(document) == ([], False), "all undone is empty"
    document = Document(Journal(path), SIZE)  # and also from here after a restart
    for _ in range(steps):
        document.redo(document.revision)
    assert snapshot(document) == live
    assert np.all([area(o.polygons) > 0 for o in document.objects.values()])
