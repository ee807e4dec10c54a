"""`cellml evaluate-masks`: pairing by stem, missing and odd files, and the numbers."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from cellml.cli import app
from cellml.errors import UsageError
from cellml.metrics.scores import evaluate_labels


def call(*arguments: object):
    result = CliRunner().invoke(app, ["evaluate-masks", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folders(tmp_path):
    truth, pred = tmp_path / "truth", tmp_path / "pred"
    truth.mkdir()
    pred.mkdir()
    labels = np.zeros((30, 40), np.uint16)
    labels[2:10, 3:12], labels[15:25, 20:33] = 4, 9
    shifted = np.roll(labels, 1, axis=1)
    Image.fromarray(labels).save(truth / "a.png")
    tifffile.imwrite(pred / "a_labels.tif", shifted)
    tifffile.imwrite(truth / "b_masks.tif", labels.astype(np.float32))
    Image.fromarray(labels).save(pred / "b_mask.png")
    Image.fromarray(labels).save(truth / "c.png")  # no prediction
    Image.fromarray(labels).save(pred / "d_labels.png")  # no truth
    (pred / "a_overlay.png").write_bytes(b"never opened")
    return truth, pred, labels, shifted


@pytest.mark.parametrize("preset", ["kaggle", "nucleaizer", "stardist", "cellpose"])
def test_table_and_json(folders, tmp_path, preset):
    truth, pred, labels, shifted = folders
    target = tmp_path / "scores.json"
    result = call("--truth", truth, "--pred", pred, "--preset", preset, "--json", target)
    assert result.exit_code == 0, result.output
    assert "1 no prediction (all counted as false negatives): c" in result.output
    assert "1 predictions without a truth, ignored: d" in result.output
    scores = json.loads(target.read_text(encoding="utf-8"))
    expected = evaluate_labels(labels, shifted, preset=preset)
    assert scores["images"]["a"]["ap_dsb2018"] == pytest.approx(expected.ap_dsb2018)
    assert 0 < expected.ap_dsb2018 < 1
    assert scores["images"]["b"]["ap_dsb2018"] == 1
    assert scores["images"]["c"]["fn"] == [2] * 10
    assert scores["overall"]["n_images"] == 3
    assert scores["overall"]["n_missing"] == 1
    assert scores["overall"]["n_pred"] == 4
    assert scores["missing"] == ["c"]
    assert scores["ignored"] == ["d"]


def test_shape_mismatch_and_damage_are_counted_and_fail(folders):
    truth, pred, labels, _ = folders
    Image.fromarray(labels[:-1]).save(pred / "c.png")
    whole = (pred / "b_mask.png").read_bytes()
    (pred / "b_mask.png").write_bytes(whole[: len(whole) // 2])
    result = call("--truth", truth, "--pred", pred)
    assert result.exit_code == 1
    assert "2 not compared" in result.output
    assert f"{pred / 'c.png'}: 29 x 40 px found, 30 x 40 expected as in {truth / 'c.png'}" in (
        result.output
    )
    assert f"{pred / 'b_mask.png'}: truncated" in result.output


def test_two_files_with_one_stem_no_common_stem_and_no_folder(folders, tmp_path):
    truth, pred, labels, _ = folders
    with pytest.raises(UsageError, match="no such folder"):
        call("--truth", tmp_path / "gone", "--pred", pred)
    Image.fromarray(labels).save(pred / "a.png")
    with pytest.raises(UsageError, match=r"a\.png and .*a_labels\.tif share the stem 'a'"):
        call("--truth", truth, "--pred", pred)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(UsageError, match="no images in this folder"):
        call("--truth", truth, "--pred", other)
    Image.fromarray(labels).save(other / "z.png")
    with pytest.raises(UsageError, match=r"no stem in common: e\.g\. a there, z here"):
        call("--truth", truth, "--pred", other)
