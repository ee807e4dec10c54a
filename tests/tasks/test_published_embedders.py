"""Networks of others for cells: the first convolution fits the channels, or it is said why not."""

from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from cellml.models.efficientnet import feature_count
from cellml.tasks.embedders import random_embedder, save_embedder
from cellml.tasks.embedding import embed
from cellml.tasks.published_embedders import is_published, stacked_embedder
from cellml.weights.efficientnet import expected_tensors

CHANNELS = ("DNA", "RNA", "ER", "AGP")
STEM = "stem_conv/kernel"


def tensors(channels: int, layout: str = "keras") -> dict[str, np.ndarray]:
    """Weights with which every layer's output is of the order of 1."""
    rng = np.random.default_rng(channels)
    found = {}
    for name, shape in expected_tensors(layout, "micro", channels=channels, classes=3).items():
        if len(shape) > 1:
            fan_in = np.prod(shape[:2] if "dwconv" in name else shape[:-1])
            values = rng.standard_normal(shape) * np.sqrt(2 / fan_in)
        elif name.endswith(("gamma", "moving_variance", "weight", "running_var")):
            values = rng.uniform(0.5, 1.5, shape)
        else:
            values = rng.standard_normal(shape) * 0.1
        found[name] = values.astype(np.float32)
    return found


def keras_file(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            layer, tensor = name.replace("classifier/", "ClassProb/").split("/")
            file[f"{layer}/{layer}/{tensor}:0"] = array
    return path


def stem(embedder) -> np.ndarray:
    return np.asarray(embedder.variables["params"]["stem"]["conv"]["kernel"])


def test_the_first_convolution_follows_the_order_of_the_cells_channels(tmp_path):
    arrays = tensors(3)
    path = keras_file(tmp_path / "Cell_Painting_CNN_v1.hdf5", arrays)
    assert is_published(path)
    plain = stacked_embedder(path, ("DNA", "RNA", "ER"), variant="micro")
    np.testing.assert_array_equal(stem(plain), arrays[STEM])
    assert plain.spec.route == "stacked"
    assert (plain.spec.padding, plain.spec.norm_epsilon) == ("SAME", 1e-3)
    ordered = stacked_embedder(path, CHANNELS, file_channels=("ER", "AGP", "DNA"), variant="micro")
    kernel = stem(ordered)
    for name, place in (("ER", 0), ("AGP", 1), ("DNA", 2)):
        np.testing.assert_array_equal(kernel[:, :, CHANNELS.index(name)], arrays[STEM][:, :, place])
    assert not kernel[:, :, CHANNELS.index("RNA")].any()  # has no part in the features
    cyclic = stem(stacked_embedder(path, CHANNELS, cyclic=True, variant="micro"))
    np.testing.assert_array_equal(cyclic, arrays[STEM][:, :, [0, 1, 2, 0]])


def test_features_do_not_depend_on_the_order_in_which_cells_were_stored(tmp_path):
    path = keras_file(tmp_path / "w.h5", tensors(3))
    order = ("DNA", "ER", "AGP")
    cells = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    there = stacked_embedder(path, order, variant="micro")
    features = jax.jit(lambda v, x: embed(there.spec, v, x))(there.variables, cells)
    assert features.shape == (2, feature_count("micro"))
    moved = stacked_embedder(path, ("AGP", "DNA", "ER"), file_channels=order, variant="micro")
    again = jax.jit(lambda v, x: embed(moved.spec, v, x))(moved.variables, cells[..., [2, 0, 1]])
    np.testing.assert_allclose(again, features, rtol=1e-4, atol=1e-5)
    assert np.isfinite(np.asarray(features)).all()
    assert np.ptp(np.asarray(features), axis=0).max() > 1e-3


@pytest.mark.parametrize("layout", ["timm", "torchvision"])
def test_state_dicts_are_read_too(tmp_path, layout):
    arrays = tensors(4, layout)
    path = tmp_path / "w.safetensors"
    save_file(arrays, path)
    assert is_published(path)
    found = stacked_embedder(path, CHANNELS, variant="micro")
    assert (found.spec.padding, found.spec.norm_epsilon) == ("TORCH", 1e-5)
    name = "conv_stem.weight" if layout == "timm" else "features.0.0.weight"
    np.testing.assert_array_equal(stem(found), arrays[name].transpose(2, 3, 1, 0))
    if layout == "timm":
        other = stacked_embedder(path, CHANNELS, variant="micro", layout="timm_tf")
        assert other.spec.padding == "SAME"


def test_our_own_files_are_not_taken_for_published_ones(tmp_path):
    save_embedder(tmp_path / "own.safetensors", random_embedder(seed=0, variant="micro"))
    assert not is_published(tmp_path / "own.safetensors")
    assert not is_published(tmp_path / "missing.h5")
    assert not is_published("cells")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"takes 3 channels, the cells: 4 \(DNA, RNA, ER, AGP\); name them with --channel-or"),
        ({"file_channels": ("DNA", "ER")}, "takes 3 channels, the order of channels: 2"),
        ({"file_channels": ("DNA", "ER", "Mito")}, "no channel 'Mito'; the cells have DNA, RNA"),
        ({"file_channels": ("DNA", "ER", "ER")}, "channel 'ER' comes twice"),
        ({"file_channels": ("DNA", "ER", "AGP"), "cyclic": True}, "exclude each other"),
    ],
)
def test_channels_that_do_not_fit_are_named(tmp_path, options, message):
    path = keras_file(tmp_path / "w.h5", tensors(3))
    with pytest.raises(ValueError, match=message):
        stacked_embedder(path, CHANNELS, variant="micro", **options)


def test_layers_that_do_not_fit_are_all_listed(tmp_path):
    arrays = tensors(4)
    arrays["block1a_bn/gamma"] = arrays["block1a_bn/gamma"][:-1]
    del arrays["stem_bn/beta"]
    arrays["attention/kernel"] = np.zeros((1, 1, 2, 2), np.float32)
    path = keras_file(tmp_path / "w.h5", arrays)
    with pytest.raises(ValueError, match="3 tensors do not fit EfficientNet micro") as caught:
        stacked_embedder(path, CHANNELS, variant="micro")
    for part in ("missing stem_bn/beta", "misshapen block1a_bn/gamma", "extra attention/kernel"):
        assert part in str(caught.value)
