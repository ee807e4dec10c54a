"""Fine-tuning on annotated images, and the uncertainty that ranks images."""

import json
import shutil
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter

from cellml.annotate import fine_tuning
from cellml.annotate.assist import WINDOW_PX, Assistant, NothingFoundError, mask_iou
from cellml.annotate.fine_tuning import (
    FineTuningCancelledError,
    FineTuningFailedError,
    FineTuningOptions,
    fine_tune,
    hold_out,
    pieces,
)
from cellml.annotate.outlines import fill_polygons
from cellml.annotate.simulated_annotator import lazy_contour
from cellml.annotate.uncertainty import expected_overlap, image_uncertainty, spread_windows
from cellml.data.simulation import simulate_field
from cellml.errors import UserError
from cellml.tasks.semantic import Segmenter, SegmenterSpec
from cellml.train.checkpoint import CheckpointMismatchError
from tests.annotate.server_fakes import Page

# finds nothing, whatever it learns: no better and no worse
TINY = SegmenterSpec(
    name="tiny",
    preset="plain",
    model=(("filters", (4, 4)),),
    in_channels=1,
    area_min_px=10**6,
)
BLANK = np.zeros((40, 50, 1), np.uint8)
QUICK = FineTuningOptions(batch_size=2, crop_px=32, checkpoint_every=2)


def draw_field(seed: int, *, shape=(128, 160), **options) -> tuple[np.ndarray, np.ndarray]:
    settings = {"n_nuclei": 12, "diameter_px": 22.0, "touching": 0.2, "blur_px": 1.0} | options
    return simulate_field(np.random.default_rng(seed), shape=shape, photons=150.0, **settings)


@pytest.fixture(scope="module")
def tiny() -> Assistant:
    variables = jax.jit(TINY.unet().init)(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    return Assistant("tiny", Segmenter(TINY, jax.tree.map(np.asarray, variables)))


def leaves(assistant: Assistant) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(assistant.segmenter.variables)]


def proposal_iou(assistant: Assistant, image: np.ndarray, labels: np.ndarray) -> float:
    rng, ious = np.random.default_rng(0), []
    for label in range(1, labels.max() + 1):
        truth = labels == label
        if truth.sum() < 60:
            continue
        ious.append(0.0)
        try:
            found = assistant.outline(
                lambda y0, x0, y1, x1: image[y0:y1, x0:x1],
                image.shape,
                polygon=lazy_contour(rng, truth),
                invert=False,  # the network alone, as it is
            )
        except NothingFoundError:
            continue
        ious[-1] = mask_iou(fill_polygons(found.polygons, labels.shape), truth)
    return float(np.mean(ious))


def test_a_few_steps_on_inverted_images_make_proposals_better(tmp_path):
    shipped = Assistant.load("nuclei")
    samples = [(255 - image, labels) for image, labels in map(draw_field, (1, 2))]
    image, labels = draw_field(9)
    image = 255 - image  # not among the samples
    seen: list[float] = []
    trained = fine_tune(
        shipped,
        samples,
        steps=12,
        workdir=tmp_path / "7",
        progress=lambda share, message: seen.append(share),
        options=FineTuningOptions(batch_size=2, crop_px=64, warmup_steps=2),
    )
    before, after = (proposal_iou(one, image, labels) for one in (shipped, trained))
    assert after > before + 0.2
    assert seen == sorted(seen)
    assert seen[-1] == 1
    report = json.loads((tmp_path / "7" / "fine_tuning.json").read_text())
    assert report["after"]["pq"] > report["before"]["pq"]
    assert report["held_out"] == "held-out strips of the images"
    loaded = Assistant.load(tmp_path / "7")
    assert loaded.name == trained.name == "7"
    for a, b in zip(leaves(loaded), leaves(trained), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def straight(tiny, tmp_path_factory) -> tuple[Assistant, Path]:
    """A run of five steps that nothing disturbed, and its folder."""
    workdir = tmp_path_factory.mktemp("straight") / "a"
    return fine_tune(tiny, [draw_field(1)], steps=5, workdir=workdir, options=QUICK), workdir


def test_training_through_the_server_goes_live_at_once_and_after_a_restart(
    tiny, tmp_path, monkeypatch
):
    """The real training and the real files, with a model that compiles in seconds."""

    def load(name: str | Path) -> Assistant:
        return Assistant.load(name) if isinstance(name, Path) else tiny

    quick = partial(fine_tune, options=QUICK)
    monkeypatch.setattr(fine_tuning, "fine_tune", quick)
    folder = tmp_path / "images"
    folder.mkdir()
    for number in (1, 2):
        image, labels = draw_field(number, shape=(64, 96), n_nuclei=5)
        Image.fromarray(image[..., 0]).save(folder / f"{number}.png")
        tifffile.imwrite(tmp_path / f"{number}.tif", labels.astype(np.uint16))
    page = Page(folder, load=load)
    labels = {"file": ("1.tif", (tmp_path / "1.tif").read_bytes())}
    assert page.client.post("/api/images/0/import", files=labels).status_code == 200
    left = page.workspace.out / "models" / "1"  # of a training that was killed
    left.mkdir(parents=True)
    (left / "config.json").write_text("{}")
    body = {"images": [0], "steps": 3, "class": "nucleus"}
    line = page.finish(page.post("/api/train", body)["job"])
    assert line["state"] == "done", line
    assert line["message"].startswith("the model trained-1 is in use: panoptic quality on")
    live = page.handlers.models.assistant
    assert any(not np.array_equal(a, b) for a, b in zip(leaves(live), leaves(tiny), strict=True))
    asked: list[Assistant] = []
    monkeypatch.setattr(
        Assistant, "propose", lambda self, image, **_: asked.append(self) or np.zeros((64, 96), int)
    )
    page.finish(page.post("/api/images/1/propose", {"class": "nucleus"})["job"])
    assert asked[0] is live, "the next proposal is the new model's, without a restart"
    page.close()
    again = Page(folder, load=load)
    assert again.get("/api/folder")["model"] == "trained-1"
    for a, b in zip(leaves(again.handlers.models.assistant), leaves(live), strict=True):
        np.testing.assert_array_equal(a, b)
    again.close()


def test_cancelled_and_resumed_equals_never_cancelled(tiny, straight, tmp_path):
    samples = [draw_field(1)]
    asked = iter([False] * 3 + [True])
    with pytest.raises(FineTuningCancelledError, match="cancelled at step 3 of 5"):
        fine_tune(
            tiny,
            samples,
            steps=5,
            workdir=tmp_path / "b",
            cancelled=lambda: next(asked),
            options=QUICK,
        )
    assert not list((tmp_path / "b").glob("*.safetensors"))
    first: list[str] = []
    resumed = fine_tune(
        tiny,
        samples,
        steps=5,
        workdir=tmp_path / "b",
        progress=lambda share, message: first.append(message),
        options=QUICK,
    )
    assert first[0].startswith("step 2 of 5 (preparing")  # the last checkpoint
    assert first[1] == "step 3 of 5"
    changed = False
    for a, b, c in zip(leaves(straight[0]), leaves(resumed), leaves(tiny), strict=True):
        np.testing.assert_array_equal(a, b)
        changed |= not np.array_equal(a, c)
    assert changed
    with pytest.raises(CheckpointMismatchError):
        fine_tune(tiny, [draw_field(2)], steps=5, workdir=tmp_path / "b", options=QUICK)


def test_a_model_that_became_worse_never_goes_live(tiny, straight, tmp_path, monkeypatch):
    shutil.copytree(straight[1], tmp_path / "c")  # trained already, and checked again
    (tmp_path / "c" / "model.safetensors").unlink()
    scores = iter([{"pq": 0.7, "n_true": 3.0}, {"pq": 0.5, "n_true": 3.0}])
    monkeypatch.setattr(fine_tuning, "held_out_scores", lambda *_: next(scores))
    with pytest.raises(FineTuningFailedError, match=r"quality 0\.70 before, 0\.50 after"):
        fine_tune(tiny, [draw_field(1)], steps=5, workdir=tmp_path / "c", options=QUICK)
    assert not (tmp_path / "c" / "model.safetensors").exists()
    assert json.loads((tmp_path / "c" / "fine_tuning.json").read_text())["after"]["pq"] == 0.5


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "no image given"),
        ([(np.zeros((40, 50, 1), np.uint8), np.zeros((40, 50), np.int32))], "no object"),
        (
            [(np.zeros((40, 50, 1), np.uint8), np.ones((50, 40), np.int32))],
            "its labels 50 x 40",
        ),
    ],
)
def test_samples_that_cannot_be_used(tiny, tmp_path, samples, message):
    with pytest.raises(UserError, match=message):
        fine_tune(tiny, samples, steps=2, workdir=tmp_path / "d", options=QUICK)
    assert not (tmp_path / "d").exists()


def record(shape=(60, 200), place=(5, 5)) -> dict:
    labels = np.zeros(shape, np.int32)
    labels[place[0] : place[0] + 9, place[1] : place[1] + 7] = 4
    labels[place[0] : place[0] + 9, -20:-12] = 5
    return {"image": np.zeros((*shape, 1), np.float32), "labels": labels, "modality": "annotated"}


def test_what_is_held_out_is_not_trained_on():
    train, rest, where = hold_out([record() for _ in range(11)])
    assert (len(train), len(rest), where) == (9, 2, "2 held-out images")
    train, rest, where = hold_out([record()])
    assert where == "held-out strips of the images"
    assert train[0]["labels"].shape == (60, 160)
    assert rest[0]["labels"].shape == (60, 40)
    # too small to be cut: scored on what it learns, and says so
    train, rest, where = hold_out([record((40, 50))])
    assert train == rest
    assert "too few objects to hold any out" in where


def test_pieces_are_where_the_objects_are():
    found = pieces([record((64, 600), (20, 30))], side_px=64)
    full = [piece for piece in found if piece["labels"].any()]
    assert all(piece["labels"].shape == (64, 64) for piece in found)
    assert 2 <= len(full) <= 4
    assert len(found) - len(full) <= len(full)


def test_expected_overlap_against_loops():
    stack = np.random.default_rng(0).uniform(0.05, 1, (3, 4, 5))
    stack[0, 0, 0] = 0.04  # counts as nothing
    both, either, pairs = 0.0, 0.0, 0
    for i in range(3):
        for j in range(3):
            if i == j:
                continue
            pairs += 1
            for p, q in zip(stack[i].ravel(), stack[j].ravel(), strict=True):
                p, q = (0.0 if v < 0.05 else v for v in (p, q))
                both += p * q
                either += p + q - p * q
    np.testing.assert_allclose(expected_overlap(stack), [both / pairs, either / pairs])


def test_windows_are_spread_over_a_large_image():
    assert [box.shape for box in spread_windows((100, 300))] == [(100, 256)] * 2
    boxes = spread_windows((5000, 3000))
    assert len(boxes) == len(set(boxes)) == 16
    assert boxes[0][:2] == (0, 0)
    assert boxes[-1][2:] == (5000, 3000)
    assert {box.shape for box in boxes} == {(WINDOW_PX, WINDOW_PX)}


def test_a_blurred_image_is_more_uncertain_than_a_sharp_one():
    shipped = Assistant.load("nuclei")
    image, _ = draw_field(3, shape=(200, 200), n_nuclei=25)
    # blur and fog: nuclei that nobody could outline for certain
    blurred = gaussian_filter(image.astype(np.float32), (7, 7, 0))
    noise = np.random.default_rng(0).normal(0, 0.3 * blurred.std(), image.shape)
    sharp, foggy = (image_uncertainty(shipped, one) for one in (image, blurred + noise))
    assert 0 < sharp < foggy < 1
    turned = image_uncertainty(shipped, np.ascontiguousarray(np.rot90(image)))
    np.testing.assert_allclose(turned, sharp, atol=0.02)
    assert image_uncertainty(shipped, np.zeros((90, 70, 1), np.uint8)) == 0
    np.testing.assert_allclose(
        image_uncertainty(shipped, 255 - image, invert=True), sharp, atol=1e-3
    )
