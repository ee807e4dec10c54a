"""Proposing, training, ranking in the background; files of other programs in and out."""

import io
import threading
import zipfile

import numpy as np
import pytest
import tifffile

from cellml.annotate import fine_tuning, uncertainty
from cellml.annotate.jobs import Jobs
from cellml.annotate.learning import Models
from cellml.errors import UsageError, UserError
from tests.annotate.server_fakes import FakeAssistant, Page, add, write_images


@pytest.fixture
def page(tmp_path):
    page = Page(write_images(tmp_path / "images"))
    yield page
    page.close()


def test_propose_all_is_one_step_and_leaves_out_what_is_there(page):
    page.change(0, add(4, 4, 14, 14))
    job = page.post("/api/images/0/propose", {"class": "nucleus", "tta": False})["job"]
    line = page.finish(job)
    message = "1 object proposed, 1 left out: there already"
    assert line == {
        "id": job,
        "kind": "propose",
        "state": "done",
        "progress": 1.0,
        "message": message,
    }
    found = page.get("/api/images/0")
    assert [(o["id"], o["source"]) for o in found["objects"]] == [(1, "manual"), (2, "proposed")]
    assert found["objects"][1]["polygons"] == [
        [[[10.0, 20.0], [30.0, 20.0], [30.0, 30.0], [10.0, 30.0]]]
    ]
    assert page.post("/api/images/0/undo", {"base_revision": 2})["removed"] == [2]
    assert "class 'x' found" in page.post("/api/images/0/propose", {"class": "x"}, 422)


def test_a_job_is_cancelled_and_only_one_of_a_kind_runs(page, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slow(self, image, *, tta, invert, progress):
        begun.set()
        go_on.wait(10)
        progress(0.1, "still here")
        raise AssertionError("was cancelled")

    monkeypatch.setattr(FakeAssistant, "propose", slow)
    job = page.post("/api/images/0/propose", {"class": "nucleus"})["job"]
    begun.wait(10)
    assert page.get("/api/jobs")[0]["state"] == "running"
    assert "is running" in page.post("/api/images/1/propose", {"class": "nucleus"}, 422)
    page.post(f"/api/jobs/{job}/cancel")
    go_on.set()
    line = page.finish(job)
    assert (line["state"], line["message"]) == ("cancelled", "cancelled")
    assert page.get("/api/images/0")["objects"] == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_job_that_fails_says_why(page, monkeypatch):
    def bad(self, image, *, tta, invert, progress):
        raise UserError("no such channel")

    monkeypatch.setattr(FakeAssistant, "propose", bad)
    line = page.finish(page.post("/api/images/0/propose", {"class": "nucleus"})["job"])
    assert (line["state"], line["message"]) == ("failed", "no such channel")
    jobs = Jobs()
    job = jobs.start("rank", lambda job: str(1 // 0))
    jobs.wait(job.id, 10.0)
    assert (job.state, job.message) == ("failed", "failed: integer division or modulo by zero")


def fake_fine_tune(assistant, samples, *, steps, workdir, progress, cancelled):
    """Leaves what the real one leaves, and a note of what it was given."""
    progress(0.5, "learning")
    fake_fine_tune.seen = [(image.shape, labels.max()) for image, labels in samples]
    assert not cancelled()
    workdir.joinpath("model.safetensors").write_bytes(b"weights")
    progress(1.0, "better")
    return FakeAssistant(str(workdir))


def test_training_swaps_the_model_also_after_a_restart(page, monkeypatch):
    monkeypatch.setattr(fine_tuning, "fine_tune", fake_fine_tune)
    page.change(0, add(1, 1, 9, 9), add(20, 1, 29, 9), add(1, 20, 9, 29, **{"class": "dead"}))
    body = {"images": [0], "steps": 5, "class": "nucleus"}
    line = page.finish(page.post("/api/train", body)["job"])
    assert (line["state"], line["message"]) == ("done", "the model trained-1 is in use: better")
    assert fake_fine_tune.seen == [((40, 60, 1), 2)], "two of this class"
    folder = page.get("/api/folder")
    assert (folder["model"], folder["models"]) == ("trained-1", ["nuclei", "trained-1"])
    assert page.handlers.models.assistant.warm == 1
    out = page.workspace.out
    again = Models(out, None, FakeAssistant.load, default="nuclei")
    assert again.current == "trained-1"
    assert again.assistant.name == str(out / "models" / "1")
    assert Models(out, "nuclei", FakeAssistant.load, default="nuclei").current == "nuclei"
    assert Models(out, "trained-1", FakeAssistant.load, default="nuclei").current == "trained-1"
    assert page.post("/api/model", {"model": "nuclei"})["model"] == "nuclei"
    assert "model 'x' found" in page.post("/api/model", {"model": "x"}, 422)
    line = page.finish(page.post("/api/train", {**body, "class": None})["job"])
    assert fake_fine_tune.seen == [((40, 60, 1), 3)], "of all classes"
    assert page.get("/api/folder")["model"] == "trained-2"


def test_training_that_makes_no_sense(page):
    assert "no image was chosen" in page.post("/api/train", {"images": []}, 422)
    assert "steps: 0 found" in page.post("/api/train", {"images": [0], "steps": 0}, 422)
    assert "class 'x'" in page.post("/api/train", {"images": [0], "class": "x"}, 422)
    line = page.finish(page.post("/api/train", {"images": [0], "class": "nucleus"})["job"])
    assert line["message"] == "a.png has no instances of class 'nucleus' to train on"
    assert page.get("/api/folder")["models"] == ["nuclei"]


def test_a_model_that_is_none(tmp_path):
    with pytest.raises(UsageError, match="nothing: no such model"):
        Models(tmp_path, "nothing", FakeAssistant.load, default="nuclei")


def test_ranking_decides_what_comes_next(page, monkeypatch, tmp_path):
    values = iter([0.1, 0.7, 0.4])
    monkeypatch.setattr(
        uncertainty, "image_uncertainty", lambda assistant, image, *, progress: next(values)
    )
    line = page.finish(page.post("/api/rank", {"images": None})["job"])
    assert line["message"] == "3 images ranked"
    assert [row["uncertainty"] for row in page.get("/api/folder")["images"]] == [0.1, 0.7, 0.4]
    assert page.get("/api/next?after=0") == {"index": 1}
    assert page.get("/api/next?after=1") == {"index": 2}
    page.change(1, {"op": "done", "value": True})
    assert page.get("/api/next?after=0") == {"index": 2}
    page.close()
    again = Page(tmp_path / "images")
    assert again.get("/api/folder")["images"][1]["uncertainty"] == 0.7
    again.close()


def test_exports_come_back_as_imports(page):
    page.change(0, add(3, 4, 20, 14), add(30, 10, 45, 20))
    before = [item["polygons"] for item in page.get("/api/images/0")["objects"]]
    answer = page.post("/api/export", {})
    files = [page.workspace.out / "exports" / name for name in answer["files"]]
    assert answer["folder"] == str(page.workspace.out / "exports")
    assert all(path.is_file() for path in files)
    labels = next(path for path in files if path.parent.name == "labelled_masks")
    assert sorted(np.unique(tifffile.imread(labels))) == [0, 1, 2]
    for place in ("labelled_masks", "geojson", "coco"):
        path = next(path for path in files if place in path.parts)
        upload = {"file": (path.name, path.read_bytes())}
        found = page.client.post("/api/images/0/import", files=upload)
        assert found.status_code == 200, found.text
        assert [item["polygons"] for item in found.json()["objects"]] == before, place
        assert found.json()["objects"][0]["source"] == "imported"
        assert "2 objects imported from" in found.json()["message"]
    assert page.get("/api/images/0")["revision"] == 4


def test_the_zip_holds_what_was_asked_for_and_nothing_stays(page):
    page.change(0, add(3, 4, 20, 14))
    page.change(1, add(3, 4, 20, 14))
    found = page.client.get("/api/export.zip?formats=labels,geojson&images=1")
    assert found.headers["content-disposition"].endswith('filename="annotations.zip"')
    names = zipfile.ZipFile(io.BytesIO(found.content)).namelist()
    assert names == ["geojson/b.geojson", "labelled_masks/b.tiff"]
    assert not (page.workspace.out / "exports").exists()
    everything = zipfile.ZipFile(io.BytesIO(page.client.get("/api/export.zip").content))
    assert len(everything.namelist()) > 20
