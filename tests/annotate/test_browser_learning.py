"""The loop of learning in a real browser: train, the new model at work, rank, next."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tifffile
from PIL import Image

from cellml.annotate import fine_tuning
from cellml.annotate.assist import Assistant
from cellml.annotate.fine_tuning import FineTuningOptions, fine_tune
from cellml.data.simulation import simulate_field
from cellml.tasks.semantic import Segmenter, SegmenterSpec
from tests.annotate.browser_support import Hand, serving, wait_for

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

# compiles in seconds; finds nothing before and after, so that training never makes it worse
SPEC = SegmenterSpec(
    name="tiny", preset="plain", model=(("filters", (4, 4)),), in_channels=1, area_min_px=10**6
)
QUICK = FineTuningOptions(batch_size=2, crop_px=32)
JOB_MS = 60_000


def load(name: str | Path) -> Assistant:
    if isinstance(name, Path):
        return Assistant.load(name)
    variables = jax.jit(SPEC.unet().init)(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    return Assistant("tiny", Segmenter(SPEC, jax.tree.map(np.asarray, variables)))


def test_train_then_rank_then_next(
    hand: Hand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fine_tuning, "fine_tune", partial(fine_tune, options=QUICK))
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        image, labels = simulate_field(
            np.random.default_rng(number), shape=(64, 96), n_nuclei=5, diameter_px=20.0
        )
        Image.fromarray(image[..., 0]).save(folder / f"{number}.png")
        tifffile.imwrite(tmp_path / f"{number}.tif", labels.astype(np.uint16))
    with serving(folder, class_names=("nucleus",), load=load) as served:
        hand.open(served, 0)
        page = hand.page
        page.set_input_files("#import-file", tmp_path / "0.tif")
        page.wait_for_selector(".message >> text=imported from")
        hand.key("d")
        hand.wait_saved()
        assert page.locator("#model-row").is_hidden(), "there is one model only"

        page.click("#train")
        assert "Every object" in page.locator("#train-complete").inner_text()
        assert page.is_checked("#train-image-0")
        assert not page.is_checked("#train-image-1")
        page.fill("#train-steps", "10")
        page.click("#train-start")
        page.wait_for_selector("#jobs .job[data-kind='train'] [role=progressbar]")
        page.wait_for_selector(".message >> text=trained-1 is in use", timeout=JOB_MS)
        assert page.locator("#model").input_value() == "trained-1"
        assert served.get("/api/folder")["model"] == "trained-1"

        page.click("#rank")
        page.wait_for_selector(".message >> text=2 images ranked", timeout=JOB_MS)
        ranks = [row["uncertainty"] for row in served.get("/api/folder")["images"]]
        assert ranks[0] is None, "done already"
        most = 1 if ranks[1] >= ranks[2] else 2
        page.click("#next-uncertain")
        page.wait_for_selector(f"#stage[data-image='{most}'][data-tiles='drawn']")
        for index in (1, 2):
            hand.open(served, index)
            hand.key("d")
            hand.wait_saved()
        wait_for(lambda: all(row["done"] for row in served.get("/api/folder")["images"]))
        page.click("#next-uncertain")
        page.wait_for_selector(".message >> text=All images are marked as done")
