"""Files and numbers of Keras itself: EfficientNet-B0 of keras.applications with random weights."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cellml.models.efficientnet import EfficientNet
from cellml.weights.efficientnet import detect_layout, read_efficientnet
from cellml.weights.efficientnet_layouts import module_options

REPOSITORY = Path(__file__).parents[2]
CHANNELS, SIDE = 3, 64
FILES = {"whole.h5": "keras", "nested.h5": "keras", "own.weights.h5": "keras3"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    folder = tmp_path_factory.mktemp("keras")
    environment = {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "KERAS_HOME": str(folder / "home"),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "tests.models.keras_reference", folder, str(CHANNELS), str(SIDE)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return folder


def test_the_network_computes_what_keras_does(folder):
    variables = read_efficientnet(folder / "whole.h5")
    with np.load(folder / "reference.npz") as reference:
        image, activation, logits = (reference[n] for n in ("image", "activation", "logits"))
    assert activation.shape == (1, 2, 2, 672)
    assert 0.1 < np.abs(logits).max() < 50
    assert np.abs(activation).std() > 0.05
    model = EfficientNet(n_classes=logits.shape[1], **module_options("keras"))
    run = jax.jit(lambda v, x: (model.apply(v, x, method="block6a"), model.apply(v, x)))
    ours = run(variables, jnp.asarray(image))
    np.testing.assert_allclose(np.asarray(ours[0]), activation, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(np.asarray(ours[1]), logits, atol=1e-4)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_way_in_which_keras_names_its_layers_is_read(folder, name):
    assert detect_layout(folder / name) == FILES[name]
    expected = flatten_dict(read_efficientnet(folder / "whole.h5"))
    found = flatten_dict(read_efficientnet(folder / name))
    assert found.keys() == expected.keys()
    for leaf, array in expected.items():
        np.testing.assert_array_equal(found[leaf], array, err_msg="/".join(leaf))
