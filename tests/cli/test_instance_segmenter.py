"""A Mask R-CNN with random weights through segment, evaluate and tta-study, as a file."""

import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from cellml.cli import app
from cellml.commands import evaluate, tta_study
from cellml.data.tables import OBJECT_COLUMNS
from cellml.metrics.scores import evaluate_labels
from cellml.ops.intensity import intensity_limits, normalise
from cellml.tasks.instances import (
    InstanceSegmenter,
    InstanceSpec,
    save_instance_segmenter,
    segment_images,
)
from cellml.tasks.nucleus_models import as_nucleus_model, load_nucleus_model, predict_image
from cellml.tta import PRESETS, merge_instances_host

SMALL: dict[str, Any] = {
    "backbone_width": 8, "fpn_channels": 8, "rpn_channels": 8, "box_channels": 16,
    "mask_channels": 8, "mask_convs": 1, "pre_nms": 50, "post_nms_inference": 20,
    "max_detections": 16, "score_min": 0.0, "anchor_scales": (192.0,) * 5,
}  # fmt: skip


@pytest.fixture(scope="module")
def segmenter():
    """One object over the whole image, with a mask at random: versions differ, but are one object.

    Not initialised by JAX, to be quick.
    """
    spec = InstanceSpec(name="small", changes=tuple(SMALL.items()), area_min_px=1)
    example = jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(spec.module().init, jax.random.key(0), example)
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = jax.tree_util.keystr(path)
        if "['deltas']" in name:
            return jnp.zeros(leaf.shape)  # boxes are the anchors, which are larger than the image
        if name.endswith("['kernel']"):
            sigma = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return jnp.asarray(rng.normal(0, sigma, leaf.shape).astype(np.float32))
        if "['box']['logits']" in name:
            return jnp.asarray([0.0, 9.0])
        if name.endswith("['mask']['logits']['bias']"):
            return jnp.full(leaf.shape, 0.5)
        return jnp.ones(leaf.shape) if "scale" in name else jnp.zeros(leaf.shape)

    return InstanceSegmenter(spec, jax.tree_util.tree_map_with_path(fill, shapes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, segmenter):
    """Two images of 64 x 60 px with labels, and the weights file."""
    root = tmp_path_factory.mktemp("instances")
    save_instance_segmenter(root / "epoch_003.safetensors", segmenter)
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (root / kind).mkdir()
    for name in "ab":
        labels = np.zeros((64, 60), np.uint8)
        labels[5:25, 8:30], labels[35:60, 30:50] = 1, 2
        pixels = (labels > 0) * 120 + rng.integers(0, 100, labels.shape)
        Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / f"{name}.png")
        Image.fromarray(labels).save(root / "labels" / f"{name}.png")
    return root


def by_hand(segmenter, pixels):
    """Label image of every transformed copy, turned back, without the code under test."""
    image = normalise(pixels, intensity_limits(pixels, segmenter.spec.percentiles))
    image = np.pad(image, ((0, 0), (0, 4), (0, 0)), mode="reflect")
    stack = []
    for transform in PRESETS["dissertation6"]:
        view = np.ascontiguousarray(transform.apply(image))
        labels = segment_images(segmenter, view[None])[0].labels
        stack.append(transform.inverse.apply(labels, axes=(-2, -1)))
    return np.stack(stack)[:, :, :60]


def test_one_file_through_all_commands(segmenter, folder, tmp_path):
    weights = folder / "epoch_003.safetensors"
    pixels = np.array(Image.open(folder / "images" / "a.png"))[..., None]
    versions = by_hand(segmenter, pixels)
    assert versions.max() > 0
    merged = merge_instances_host(versions)
    assert merged.n_objects == 1
    assert merged.mean_iou[1] < 1

    # cellml segment
    arguments = ["segment", str(folder / "images"), "--out", str(tmp_path / "s"), "--weights"]
    arguments += [str(weights), "--uncertainty", "--tta", "dissertation6"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "s" / "a_labels.tif"), merged.labels)
    table = pd.read_parquet(tmp_path / "s" / "nuclei.parquet")
    table = table[table.image == "a"]
    np.testing.assert_allclose(table[OBJECT_COLUMNS[0]], merged.vote_share[1:])
    np.testing.assert_allclose(table[OBJECT_COLUMNS[1]], 1 - merged.mean_iou[1:], atol=1e-6)
    assert (tmp_path / "s" / "a_uncertainty.tif").is_file()

    # cellml evaluate: presets read off the largest are those predicted alone
    record = {"id": "a", "image": pixels, "modality": "fluorescence"}
    record["labels"] = np.array(Image.open(folder / "labels" / "a.png"))
    model = load_nucleus_model(weights)
    assert model.kind == "instance_segmenter"
    (score,) = evaluate.score_source(segmenter, [record], tta=("none", "dissertation6"))
    for found, labels in zip(score.scores, (versions[0], merged.labels), strict=True):
        assert found.n_pred == labels.max()
        assert found.ap_dsb2018 == evaluate_labels(record["labels"], labels).ap_dsb2018
    copies = predict_image(as_nucleus_model(segmenter), pixels, transforms="none")
    np.testing.assert_array_equal(copies.merge([0]).labels > 0, versions[0] > 0)

    # cellml tta-study
    console = Console(file=io.StringIO())
    study = tta_study.run(
        groups=[f"net={folder}"], data=str(folder), out=tmp_path / "t", tta="dissertation6",
        console=console,
    )  # fmt: skip
    assert study["instance_groups"] == ["net"]
    assert study["checkpoints"][0]["epoch"] == 3
    rows = pd.read_csv(tmp_path / "t" / "per_image.csv")
    assert rows[rows.id == "a"].n_pred_tta.item() == merged.n_objects
    assert (tmp_path / "t" / "deltas_ap_dsb2018.png").is_file()
