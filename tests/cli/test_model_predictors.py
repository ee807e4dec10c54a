"""Models of both kinds as predictors: dispatch on the weights file, votes, the table's columns."""

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage
from typer.testing import CliRunner

from cellml.cli import app
from cellml.commands import segment
from cellml.data.tables import COLUMNS, OBJECT_COLUMNS, nuclei_table
from cellml.errors import UsageError
from cellml.experiment.model_predictors import load_predictor, make_predictor
from cellml.experiment.predictor import segment_pixels
from cellml.tasks.nucleus_models import Copies, Found, copies_of_labels
from cellml.tta import entropy, variance
from cellml.weights.store import save_weights
from tests.cli.fake_model import bright_objects, discs, fake_instance_model
from tests.data.test_stitching import same_partition


@pytest.fixture(scope="module")
def field():
    return discs((300, 429), 60, 22, seed=4)[..., None]


def loses_first(image):
    """Misses the object that comes first, row by row, in whatever is shown."""
    found = bright_objects(image)
    labels = found.labels.copy()
    labels[labels == 1] = 0
    return found._replace(labels=labels)


@pytest.mark.parametrize("tta", ["none", "d4"])
def test_tiled_equals_untiled_for_a_model_that_gives_labels(field, tta):
    predictor = make_predictor(fake_instance_model(), tta=tta)
    whole, tiled = (
        segment_pixels(predictor, field, tile_px=px, keep_uncertainty=True) for px in (1024, 256)
    )
    assert same_partition(whole.labels, ndimage.label(field[..., 0] > 105)[0])
    assert same_partition(whole.labels, tiled.labels)
    assert whole.uncertainty is not None
    assert tiled.uncertainty is not None
    np.testing.assert_array_equal(whole.uncertainty, tiled.uncertainty)
    values = tiled.sums.objects / tiled.sums.area[:, None]
    expected = np.tile([1.0, 0.0], (int(tiled.labels.max()), 1))
    np.testing.assert_allclose(values, expected[:, : values.shape[1]])


def test_columns_and_votes_of_merged_objects():
    """The first of three is missed in 4 of 8 copies, which is no majority; the others in 2."""
    pixels = np.full((64, 64, 1), 10, np.uint8)
    for y, x in ((10, 10), (12, 40), (40, 20)):
        pixels[y : y + 10, x : x + 10] = 200
    found = segment_pixels(make_predictor(fake_instance_model(loses_first), tta="d4"), pixels)
    table = nuclei_table("a", found.sums)
    assert table.schema.names == [*COLUMNS, OBJECT_COLUMNS[1], "mean_intensity_1"]
    assert table["vote_share"].to_pylist() == [6 / 8, 6 / 8]
    assert table["mean_jaccard_distance"].to_pylist() == [0, 0]
    assert table["centroid_x_px"].to_pylist() == [44.5, 24.5]


def test_objects_of_unequal_masks_have_a_distance():
    """Masks without their lowest row, as shown: opposite copies lose opposite rows."""

    def eroded(image):
        found = bright_objects(image)
        labels = np.where(np.roll(found.labels, -1, axis=0) == found.labels, found.labels, 0)
        return found._replace(labels=labels.astype(np.int32))

    one = np.full((64, 64, 1), 10, np.uint8)
    one[20:30, 24:44] = 200
    found = segment_pixels(make_predictor(fake_instance_model(eroded), tta="d4"), one)
    (row,) = nuclei_table("a", found.sums).to_pylist()
    # masks: 2 of each side. IoU with the like 1; opposite rows 8/10, columns 18/20;
    # a row and a column less: 9 * 19 of 190 + 180 - 9 * 19
    corner = 171 / (190 + 180 - 171)
    ious = 4 * [1.0] + 4 * [0.8] + 4 * [0.9] + 16 * [corner]
    assert row["vote_share"] == 1
    assert row["mean_jaccard_distance"] == pytest.approx(1 - np.mean(ious), abs=1e-6)
    assert row["area_px"] == 196  # corner pixels have 4 of 8 votes: no majority


def test_without_tta_nothing_is_merged(field):
    found = segment_pixels(make_predictor(fake_instance_model()), field, keep_uncertainty=True)
    table = nuclei_table("a", found.sums)
    assert table.schema.names == [*COLUMNS, "mean_intensity_1"]
    assert table["vote_share"].null_count == len(table)
    assert found.uncertainty is not None
    assert found.uncertainty.max() > 0.1  # entropy of soft probabilities


@pytest.mark.parametrize(("tta", "copies"), [("none", 1), ("d4", 8)])
def test_a_model_of_maps_keeps_its_columns_and_pixel_votes(tta, copies):
    """One object of 14 rows; five of eight transforms take more than half of it for nucleus."""
    stack = np.zeros((copies, 32, 32), np.float32)
    stack[:, :7] = 0.9
    stack[:5, 7:9] = 0.9
    labels = np.zeros((32, 32), np.int32)
    labels[:14] = 1
    found = Found(labels, labels > 0)
    model = fake_instance_model()._replace(predict=lambda *given: Copies(stack, lambda rows: found))
    pixels = discs((32, 32), 16, 4)[..., None]
    table = nuclei_table("a", segment_pixels(make_predictor(model, tta=tta), pixels).sums)
    assert table.schema.names == [*COLUMNS, "mean_intensity_1"]
    assert table["vote_share"].to_pylist() == ([5 / 8] if tta == "d4" else [None])


@pytest.mark.parametrize(("tta", "copies"), [("none", 1), ("d4", 8)])
def test_uncertainty_is_that_of_the_tta_package(tta, copies):
    """Computed on the host, so that an image of a new size is not compiled for."""
    stack = np.random.default_rng(0).random((copies, 30, 41), np.float32)
    stack[:, 0], stack[:, 1], stack[:, 2] = 0, 1, 0.3
    found = copies_of_labels(np.zeros(stack.shape, np.int32), stack)
    model = fake_instance_model()._replace(predict=lambda *given: found)
    region = make_predictor(model, tta=tta).segment(np.zeros((32, 48, 3), np.float32), (30, 41))
    expected = entropy(stack[0]) if tta == "none" else variance(stack)
    np.testing.assert_allclose(region.uncertainty, expected, atol=2e-7)
    if tta == "d4":
        assert (region.uncertainty[:3] == 0).all()


def test_rescaled_objects_keep_their_rows(field):
    """Small objects may vanish when labels are brought back to a smaller image."""
    predictor = make_predictor(fake_instance_model(loses_first), tta="d4")
    found = segment_pixels(predictor, field, scale=3.0)
    assert len(found.sums.objects) == found.labels.max() > 0


def test_segment_writes_the_columns(field, tmp_path, monkeypatch):
    Image.fromarray(field[..., 0]).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "empty.png")

    def load(model, *, tta):
        return make_predictor(fake_instance_model(loses_first), tta=tta)

    monkeypatch.setattr(segment, "load_predictor", load)
    for tta, extra in (("d4", ["mean_jaccard_distance"]), ("none", [])):
        arguments = ["segment", str(tmp_path), "--out", str(tmp_path / "out"), "--tta", tta]
        assert CliRunner().invoke(app, arguments).exit_code == 0
        table = pd.read_csv(tmp_path / "out" / "nuclei.csv")
        intensities = [f"mean_intensity_{c}" for c in (1, 2, 3)]
        assert list(table.columns) == [*COLUMNS, *extra, *intensities]
        assert set(table.image) == {"a"}


def test_weights_of_something_else_are_refused(tmp_path):
    save_weights(tmp_path / "a.safetensors", {"x": jnp.ones(1)}, {"kind": "embedder"})
    (tmp_path / "b.safetensors").write_bytes(b"no weights")
    for name, message in [
        ("a.safetensors", "expected weights of a segmenter or an instance_segmenter, found emb"),
        ("b.safetensors", "expected a cellml weights file"),
        ("c.safetensors", "no such weights file"),
    ]:
        with pytest.raises(UsageError, match=message):
            load_predictor(tmp_path / name)
    with pytest.raises(UsageError, match="unknown model 'nope'; known: nuclei"):
        load_predictor("nope")
    with pytest.raises(UsageError, match="unknown TTA preset"):
        load_predictor("nuclei", tta="all")
