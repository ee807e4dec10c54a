"""Thresholds of a release: found on given cases, for given heads, without needless work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.commands import release
from cellml.datasets import RecordSource
from cellml.errors import UsageError
from cellml.ops.instance_maps import HEADS, training_maps
from cellml.tasks.semantic import Segmenter, SegmenterSpec


class Source(RecordSource):
    """Two images of one modality and one of another; only the index knows of which."""

    def __init__(self) -> None:
        self.cases = [{"modality": name} for name in ("tissue", "fluorescence", "tissue")]

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, row: int) -> dict:
        image = np.random.default_rng(row).integers(0, 255, (32, 32 + row, 1)).astype(np.uint8)
        labels = np.zeros(image.shape[:2], np.uint16)
        labels[3:9, 4:12] = 1
        return {"image": image, "labels": labels}


@pytest.fixture(scope="module")
def cases() -> list[release.Case]:
    """A large nucleus and small debris, of which the network is half sure, with stripes."""
    found = []
    for i, modality in enumerate(("fluorescence", "tissue")):
        true = np.zeros((40, 50), np.int32)
        true[5:22, 4 + i : 21] = 1
        true[5:22, 21:40] = 2
        maps, _ = training_maps(true)
        maps[..., 2] *= 1 - 0.97 * (np.arange(50) % 2)  # seeds of single columns
        maps[30:38, 10:20, 0] = 0.6
        found.append(release.Case(modality, true, maps))
    return found


def test_thresholds_that_are_needed_are_found(cases):
    grid = {"smooth_px": (0.0, 1.0), "score_min": (0.0, 0.5, 0.8), "seed_distance_min": (0.1, 0.9)}
    found, scores = release.tune_thresholds(cases, HEADS, HEADS, grid=grid)
    assert found == {"smooth_px": 1.0, "score_min": 0.8, "seed_distance_min": 0.1}
    assert scores["mean"] > 0.9
    assert scores == release.score_cases(cases, HEADS, HEADS, found)
    assert release.score_cases(cases, HEADS, HEADS, {**found, "smooth_px": 0.0})["mean"] < 0.5
    assert release.score_cases(cases, HEADS, HEADS, {**found, "score_min": 0.0})["mean"] < 0.8


def test_modalities_count_by_their_weight(cases, monkeypatch):
    def score(*arguments):
        strict = arguments[3]["score_min"] > 0
        found = {"fluorescence": 0.6, "tissue": 0.3 + 0.2 * strict}
        found["fluorescence"] -= 0.1 * strict
        return {**found, "mean": sum(found.values()) / 2}

    monkeypatch.setattr(release, "score_cases", score)
    for weights, expected in (
        (None, 0.8),
        ({"fluorescence": 0.8, "tissue": 0.2}, 0.0),
        ({"fluorescence": 0.6, "tissue": 0.4, "other": 0.5}, 0.8),
    ):
        found, _ = release.tune_thresholds(
            cases, HEADS, HEADS, grid={"score_min": (0.0, 0.8)}, modality_weights=weights
        )
        assert found == {"score_min": expected}


def test_thresholds_of_absent_heads_keep_their_default(cases, monkeypatch):
    tried = []
    monkeypatch.setattr(
        release, "score_cases", lambda *a: tried.append(a[3]) or {"tissue": float(len(tried))}
    )
    monkeypatch.setattr(release, "SegmenterSpec", lambda: SegmenterSpec(smooth_px=0.25))
    grid = {"smooth_px": (1.0,), "seed_boundary_max": (0.9,), "area_min_px": (3,)}
    found, _ = release.tune_thresholds(cases, HEADS, ("foreground",), grid=grid)
    assert found == {"smooth_px": 0.25, "seed_boundary_max": 0.5, "area_min_px": 3}
    assert len(tried) == 2
    found, _ = release.tune_thresholds(cases, HEADS, ("foreground", "distance"), grid=grid)
    assert found == {"smooth_px": 1.0, "seed_boundary_max": 0.5, "area_min_px": 3}


def test_cases_are_chosen_by_the_index_of_the_source():
    spec = SegmenterSpec(name="tiny", preset="plain", model=(("filters", (4, 4)),))
    variables = spec.unet().init(jax.random.key(1), jnp.zeros((1, 32, 32, 3)))
    found = release.predict_cases(Segmenter(spec, variables), Source(), per_modality=1)
    assert [case.modality for case in found] == ["fluorescence", "tissue"]
    assert [case.maps.shape for case in found] == [(32, 33, 3), (32, 32, 3)]


def test_weights_come_from_a_run_or_from_a_file(tmp_path):
    with pytest.raises(UsageError, match="one of --run and --weights"):
        release.last_weights(None, None)
    with pytest.raises(UsageError, match="one of --run and --weights"):
        release.last_weights(tmp_path, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="no weights to release here"):
        release.last_weights(tmp_path, None)
    with pytest.raises(UsageError, match="no weights to release here"):
        release.last_weights(None, tmp_path / "a.safetensors")
    (tmp_path / "segmenters").mkdir()
    for step in (400, 1200, 800):
        (tmp_path / "segmenters" / f"step_{step:06d}.safetensors").touch()
    assert release.last_weights(tmp_path, None).name == "step_001200.safetensors"
    file = tmp_path / "segmenters" / "step_000400.safetensors"
    assert release.last_weights(None, file) == file
