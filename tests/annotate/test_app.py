"""Every route of the server, every refusal, and two tabs at once."""

import numpy as np
import pytest

from cellml.annotate import workspace as workspace_module
from cellml.annotate.app import PAGE
from cellml.annotate.classes import check_name, usable_name
from cellml.annotate.exports import FORMATS
from tests.annotate.server_fakes import TOKEN, Page, add, write_images

SQUARE = [[30.0, 10.0], [45.0, 10.0], [45.0, 20.0], [30.0, 20.0]]


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path / "images")


@pytest.fixture
def page(folder):
    page = Page(folder)
    yield page
    page.close()


def test_folder(page, folder):
    found = page.get("/api/folder")
    assert found["folder"] == str(folder)
    assert found["writable"] is True
    row = {"n_objects": 0, "done": False, "uncertainty": None, "error": None}
    assert found["images"][1] == {"index": 1, "name": "b.png", **row}
    assert found["classes"] == [{"name": "nucleus", "color": "#4fc3f7"}]
    assert (found["model"], found["models"]) == ("nuclei", ["nuclei"])
    page.change(1, add(1, 1, 9, 9), {"op": "done", "value": True})
    assert page.get("/api/folder")["images"][1]["n_objects"] == 1
    assert page.get("/api/folder")["images"][1]["done"] is True


def test_image_and_tile(page):
    found = page.get("/api/images/0")
    assert (found["height"], found["width"], found["levels"], found["tile"]) == (40, 60, 1, 512)
    assert (found["dtype"], found["ranges"], found["maximum"]) == ("uint8", [[20, 200]], [200])
    assert (found["revision"], found["objects"], found["can_undo"]) == (0, [], False)
    tile = page.client.get("/api/images/0/tiles/0/0/0")
    assert tile.headers["content-type"] == "application/octet-stream"
    shape = (1, int(tile.headers["x-height"]), int(tile.headers["x-width"]))
    pixels = np.frombuffer(tile.content, np.uint8).reshape(shape)
    assert pixels[0, 10:20, 30:45].min() == 200
    assert (pixels == 200).sum() == 150


@pytest.mark.parametrize(
    "path", ["/api/images/3", "/api/images/0/tiles/1/0/0", "/api/images/0/tiles/0/0/1", "/api/no"]
)
def test_what_is_not_there(page, path):
    assert page.get(path, 404)


def test_a_broken_image_is_a_sentence_and_others_work(page, folder):
    (folder / "b.png").write_bytes(b"gone bad")
    assert "b.png: not an image" in page.get("/api/images/1", 422)
    assert "not an image" in page.get("/api/folder")["images"][1]["error"]
    page.get("/api/images/2")


def test_operations_undo_redo(page):
    answer = page.change(0, add(1, 1, 9, 9))
    assert answer["revision"] == 1
    assert answer["removed"] == []
    assert answer["objects"][0]["class"] == "nucleus"
    assert (answer["can_undo"], answer["can_redo"]) == (True, False)
    answer = page.post("/api/images/0/undo", {"base_revision": 1})
    assert (answer["removed"], answer["can_undo"], answer["can_redo"]) == ([1], False, True)
    answer = page.post("/api/images/0/redo", {"base_revision": 2})
    assert [item["id"] for item in answer["objects"]] == [1]
    assert "nothing to redo" in page.post("/api/images/0/redo", {"base_revision": 3}, 422)


def test_two_tabs(page):
    body = {"base_revision": 0, "operations": [add(1, 1, 9, 9)]}
    page.post("/api/images/0/operations", body)
    late = page.client.post("/api/images/0/operations", json=body)
    assert late.status_code == 409
    assert late.json()["revision"] == 1
    assert "another tab" in late.json()["error"]
    assert page.client.post("/api/images/0/undo", json={"base_revision": 0}).status_code == 409
    assert len(page.get("/api/images/0")["objects"]) == 1
    page.post("/api/images/1/operations", body)  # another image is another matter


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"base_revision": 0}, "operations: a list"),
        ({"base_revision": 0, "operations": []}, "operations: a list"),
        ({"operations": [add(1, 1, 9, 9)]}, "base_revision: None found"),
        ({"base_revision": "0", "operations": [add(1, 1, 9, 9)]}, "base_revision: '0' found"),
        ({"base_revision": 0, "operations": [{"op": "x"}]}, "operation 'x' found"),
    ],
)
def test_bad_requests(page, body, sentence):
    assert sentence in page.post("/api/images/0/operations", body, 422)


def test_what_is_not_json(page):
    for content in (b"{", b"[1]", b"\xff"):
        answer = page.client.post("/api/images/0/undo", content=content)
        assert answer.status_code == 400
        assert answer.json()["error"]


def test_everything_is_there_after_a_restart(folder):
    first = Page(folder)
    first.change(0, add(1, 1, 9, 9))
    first.change(0, add(11, 11, 19, 19, **{"class": "dead"}))
    before = first.get("/api/images/0")
    first.close()
    second = Page(folder)
    after = second.get("/api/images/0")
    assert after == before
    assert [c["name"] for c in second.get("/api/folder")["classes"]] == ["nucleus", "dead"]
    second.post("/api/images/0/undo", {"base_revision": 2})
    second.post("/api/images/0/undo", {"base_revision": 3})
    assert second.get("/api/images/0")["objects"] == []
    second.close()


def test_classes(page):
    both = [{"name": "nucleus", "color": "#112233"}, {"name": "dead", "color": "#AA0000"}]
    assert page.post("/api/classes", {"classes": both})["classes"][1]["color"] == "#aa0000"
    page.change(0, add(1, 1, 9, 9), add(1, 1, 9, 9), add(1, 1, 9, 9, **{"class": "dead"}))
    sentence = page.post("/api/classes", {"classes": both[1:]}, 422)
    assert "class 'nucleus' has 2 objects in a.png" in sentence
    for wrong in ([], [{"name": ""}], [{"name": "a"}, {"name": "a"}], [{"name": "../x"}], None):
        assert page.post("/api/classes", {"classes": wrong}, 422)
    assert "#rrggbb" in page.post("/api/classes", {"classes": [{"name": "a", "color": "red"}]}, 422)


def test_a_class_takes_its_objects_along_when_renamed(page):
    page.change(0, add(1, 1, 9, 9))
    page.change(2, add(1, 1, 9, 9))
    page.post("/api/classes", {"classes": [{"name": "cell", "color": "#112233"}]})
    for index in (0, 2):
        found = page.get(f"/api/images/{index}")
        assert [item["class"] for item in found["objects"]] == ["cell"]
        assert found["revision"] == 2
    assert page.post("/api/images/0/undo", {"base_revision": 2})["objects"][0]["class"] == "nucleus"
    assert [c["name"] for c in page.get("/api/folder")["classes"]] == ["cell", "nucleus"]


def test_assist(page):
    answer = page.post("/api/images/0/assist", {"box": [25, 5, 50, 25], "method": "classic"})
    assert answer["polygons"] == [[SQUARE]]
    assert answer["score"] == 0.5
    assert answer["time_ms"] >= 0
    asked = page.handlers.models.assistant.asked[-1]
    assert asked == {
        "shape": (40, 60, 1),
        "box": (25.0, 5.0, 50.0, 25.0),
        "method": "classic",
        "invert": None,
    }
    assert answer["inverted"] is False
    assert "invert: 1 found" in page.post(
        "/api/images/0/assist", {"point": [35, 15], "invert": 1}, 422
    )
    page.post("/api/images/0/assist", {"point": [35, 15], "invert": True})
    page.post("/api/images/0/assist", {"polygon": SQUARE})
    asked = page.handlers.models.assistant.asked
    assert (asked[-2]["point"], asked[-2]["invert"]) == ((35.0, 15.0), True)
    assert asked[-1]["polygon"] == [tuple(point) for point in SQUARE]
    assert "Nothing was found" in page.post("/api/images/1/assist", {"point": [3, 3]}, 422)
    for wrong in ({}, {"point": [1]}, {"box": [1, 2]}, {"point": [1, 1], "box": [1, 1, 2, 2]}):
        assert page.post("/api/images/0/assist", wrong, 422)


def test_brush_on_a_proposal(page):
    stroke = {"points": [[40, 20]], "radius_px": 5}
    painted = page.post("/api/brush", {"polygons": [], **stroke, "erase": False})["polygons"]
    assert len(painted) == 1
    body = {"polygons": painted, **stroke, "radius_px": 9, "erase": True}
    assert page.post("/api/brush", body) == {"polygons": []}
    assert page.post("/api/brush", {"polygons": [[[[1, 1]]]], **stroke}, 422)


def test_who_may_not_ask(page):
    client = page.client
    client.headers.pop("X-Token")
    assert client.get("/api/folder").status_code == 403
    assert client.get("/", headers={"X-Token": "guess"}).status_code == 403
    assert "token is missing or wrong" in client.get("/api/folder?token=x").json()["error"]
    assert client.get(f"/api/folder?token={TOKEN}").status_code == 200
    assert client.post("/api/images/0/undo", json={"base_revision": 0}).status_code == 403
    for host in ("evil.example", "evil.example:5000", "127.0.0.1.evil.example", ""):
        answer = client.get(f"/api/folder?token={TOKEN}", headers={"Host": host})
        assert answer.status_code == 403
        assert "host" in answer.json()["error"]
    assert client.get(f"/api/folder?token={TOKEN}", headers={"Host": "localhost:1"}).is_success


def test_the_page_loads_nothing_from_elsewhere_and_gives_no_files_away(page):
    found = page.client.get(f"/?token={TOKEN}")
    assert found.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in found.headers["content-security-policy"]
    assert found.headers["referrer-policy"] == "no-referrer"
    for path in ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "..%5capp.py", "/etc/passwd"):
        answer = page.client.get(f"/static/{path}")
        assert answer.status_code in (403, 404), path
        assert "import" not in answer.text
    answer = page.client.get("/static/../api/folder", headers={"X-Token": "x"})
    assert answer.status_code in (403, 404)


def test_a_folder_that_cannot_be_written(folder, monkeypatch):
    first = Page(folder)
    first.change(0, add(1, 1, 9, 9))
    first.close()

    def refuse(path):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(workspace_module, "FolderLock", refuse)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    page = Page(folder)
    assert page.get("/api/folder")["writable"] is False
    assert "Read-only file system" in page.get("/api/folder")["why_read_only"]
    assert len(page.get("/api/images/0")["objects"]) == 1
    page.post("/api/images/0/assist", {"point": [35, 15]})
    body = {"base_revision": 1, "operations": [add(1, 1, 9, 9)]}
    for path in (
        *("images/0/operations", "images/0/undo", "images/0/redo", "images/0/propose", "classes"),
        *("images/0/import", "train", "rank", "export", "model"),
    ):
        assert "nothing can be saved" in page.post(f"/api/{path}", body, 403)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    page.close()


def test_export_and_zip_check_names(page):
    assert "format 'x'" in page.post("/api/export", {"formats": ["x"]}, 422)
    assert "no format" in page.post("/api/export", {"formats": []}, 422)
    assert "formats: a list" in page.post("/api/export", {"formats": 3}, 422)
    assert "there is no image 9" in page.post("/api/export", {"images": [9]}, 404)
    assert "nothing to export" in page.post("/api/export", {}, 422)
    assert "nothing to export" in page.get("/api/export.zip", 422)
    assert "format 'x'" in page.get("/api/export.zip?formats=labels,x", 422)
    assert len(FORMATS) == 11


def test_import_checks(page):
    assert "no file was sent" in page.post("/api/images/0/import", {}, 422)
    files = {"file": ("../../../notes.txt", b"hello")}
    answer = page.client.post("/api/images/0/import", files=files)
    assert answer.status_code == 422
    assert "notes.txt" in answer.json()["error"]
    assert "/tmp" not in answer.json()["error"]


def test_next_and_jobs(page):
    assert page.get("/api/next?after=0") == {"index": 1}
    page.change(1, {"op": "done", "value": True})
    assert page.get("/api/next?after=0") == {"index": 2}
    assert page.get("/api/next?after=2") == {"index": 0}
    assert "after: 'x'" in page.get("/api/next?after=x", 422)
    page.change(0, {"op": "done", "value": True})
    assert page.get("/api/next?after=2") == {"index": None}
    assert page.get("/api/jobs") == []
    assert "no job 5" in page.post("/api/jobs/5/cancel", {}, 404)


def test_a_class_name_that_cannot_be_used_changes_nothing(page):
    for name in ("c" * 101, "a/b", "..", "a\x00b"):
        assert "name " in page.change(0, add(3, 4, 20, 14, **{"class": name}), status=422)
    assert page.get("/api/images/0")["revision"] == 0, "nothing was written before it was refused"
    assert page.change(0, add(3, 4, 20, 14, **{"class": " cell "}))["objects"][0]["class"] == "cell"
    assert [c["name"] for c in page.get("/api/folder")["classes"]].count("cell") == 1


@pytest.mark.parametrize("number", ["9" * 400, "1e999", "NaN"])
def test_numbers_that_are_none(page, number):
    found = page.client.post("/api/images/0/assist", content=f'{{"point": [{number}, 1]}}')
    assert found.status_code == 422
    assert len(found.json()["error"]) < 150


def test_a_request_of_many_brackets(page):
    found = page.client.post("/api/classes", content="[" * 100_000)
    assert (found.status_code, list(found.json())) == (400, ["error"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Tumor/Stroma", "Tumor_Stroma"), (" ..", "_"), ("", "nucleus"), ("a\x00b\\", "a_b_")],
)
def test_a_class_of_another_program_gets_a_name_that_can_be_used(name, expected):
    assert usable_name(name) == check_name(usable_name(name)) == expected
    assert len(check_name(usable_name(name + "x" * 200))) <= 100


def test_the_page_loads_nothing_from_elsewhere() -> None:
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text, path.name
        assert "https:" not in text, path.name
        assert "//cdn" not in text, path.name
        assert text.count("\n") <= 400, path.name
