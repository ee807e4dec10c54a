"""Evaluation of a segmenter on records: presets read off one prediction, gains, the table."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from cellml.commands.evaluate import as_table, gain_lines, score_source, summary
from cellml.metrics.scores import evaluate_labels
from cellml.tasks.semantic import Segmenter, SegmenterSpec
from cellml.tasks.whole_image import segment_image

TTA = ("none", "dissertation6", "d4")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    spec = SegmenterSpec(
        preset="residual", model=(("filters", (8, 8)),), foreground_min=0.4, area_min_px=1
    )
    return Segmenter(spec, spec.unet().init(jax.random.key(3), jnp.zeros((1, 16, 16, 3))))


@pytest.fixture(scope="module")
def records() -> list[dict]:
    rng = np.random.default_rng(0)
    found = []
    for i in range(3):
        labels = np.zeros((40, 40), np.uint16)
        labels[4:15, 6:20], labels[22:36, 18:30] = 7, 3
        image = (60 * (labels > 0) + rng.integers(0, 90, labels.shape)).astype(np.uint8)
        modality = "tissue" if i == 2 else "fluorescence"
        found.append(
            {"id": str(i), "image": image[..., None], "labels": labels, "modality": modality}
        )
    return found


def test_every_preset_scores_as_if_it_were_predicted_alone(segmenter, records):
    for record, found in zip(records, score_source(segmenter, records, tta=TTA), strict=True):
        for name, score in zip(TTA, found.scores, strict=True):
            alone = segment_image(segmenter, record["image"], transforms=name)
            assert score.n_pred == alone.max()
            assert score.ap_dsb2018 == evaluate_labels(record["labels"], alone).ap_dsb2018


def test_summary_and_table_have_each_modality_and_all(segmenter, records):
    found = list(score_source(segmenter, records, tta=TTA))
    result = {"summary": summary(found, TTA)}
    assert list(result["summary"]) == ["fluorescence", "tissue", "all"]
    assert [result["summary"][m]["d4"]["n_images"] for m in result["summary"]] == [2, 1, 3]
    mean = np.mean([score.scores[2].ap_dsb2018 for score in found])
    assert result["summary"]["all"]["d4"]["ap_dsb2018"] == pytest.approx(mean)
    gain = np.mean([s.scores[2].ap_dsb2018 - s.scores[0].ap_dsb2018 for s in found])
    assert result["summary"]["all"]["d4"]["gain_ap_dsb2018"]["mean"] == pytest.approx(gain)
    page = io.StringIO()
    Console(file=page, width=80).print(as_table(result, title="x"))
    assert "…" not in page.getvalue()  # readable on a narrow terminal
    assert len(list(gain_lines(result, first="none"))) == 6
