"""EfficientNet weights: layouts, block by block the numbers of a NumPy network, strictness."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import save_file

from cellml.models.efficientnet import EfficientNet, fold
from cellml.weights.efficientnet import (
    adapt_stem,
    detect_layout,
    expected_tensors,
    read_efficientnet,
)
from cellml.weights.efficientnet_layouts import module_options
from tests.models.keras_efficientnet import KerasEfficientNet, Tensors, random_tensors

CHANNELS, CLASSES = 3, 7

# How timm and torchvision call the parts of a block, after Keras' names.
TIMM = {
    "expand_conv": "conv_pw",
    "expand_bn": "bn1",
    "dwconv": "conv_dw",
    "bn": "bn2",
    "se_reduce": "se.conv_reduce",
    "se_expand": "se.conv_expand",
    "project_conv": "conv_pwl",
    "project_bn": "bn3",
}
TIMM_FIRST = TIMM | {"bn": "bn1", "project_conv": "conv_pw", "project_bn": "bn2"}
TORCHVISION = {
    "expand_conv": "0.0",
    "expand_bn": "0.1",
    "dwconv": "1.0",
    "bn": "1.1",
    "se_reduce": "2.fc1",
    "se_expand": "2.fc2",
    "project_conv": "3.0",
    "project_bn": "3.1",
}
TORCHVISION_FIRST = {
    "dwconv": "0.0",
    "bn": "0.1",
    "se_reduce": "1.fc1",
    "se_expand": "1.fc2",
    "project_conv": "2.0",
    "project_bn": "2.1",
}
TOPS = {
    "timm": {
        "stem_conv": "conv_stem",
        "stem_bn": "bn1",
        "top_conv": "conv_head",
        "top_bn": "bn2",
        "probs": "classifier",
    },
    "torchvision": {
        "stem_conv": "features.0.0",
        "stem_bn": "features.0.1",
        "top_conv": "features.8.0",
        "top_bn": "features.8.1",
        "probs": "classifier.1",
    },
}
TORCH_LEAVES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def torch_tensors(tensors: Tensors, library: str) -> Tensors:
    """The same network as a state dict."""
    found: Tensors = {}
    for name, array in tensors.items():
        layer, leaf = name.split("/")
        if match := re.fullmatch(r"block(\d)(\w)_(\w+)", layer):
            stage, block, part = int(match[1]), "abcdefg".index(match[2]), match[3]
            if library == "timm":
                parts = TIMM_FIRST if stage == 1 else TIMM
                layer = f"blocks.{stage - 1}.{block}.{parts[part]}"
            else:
                parts = TORCHVISION_FIRST if stage == 1 else TORCHVISION
                layer = f"features.{stage}.{block}.block.{parts[part]}"
        else:
            layer = TOPS[library][layer]
        if leaf == "depthwise_kernel":
            array = np.moveaxis(array, (2, 3), (0, 1))
        elif array.ndim == 4:
            array = np.moveaxis(array, (3, 2), (0, 1))
        elif array.ndim == 2:
            array = array.T
        found[f"{layer}.{TORCH_LEAVES[leaf]}"] = np.ascontiguousarray(array)
        if leaf == "moving_mean":
            found[f"{layer}.num_batches_tracked"] = np.array(5, np.int64)
    return found


def keras2_tensors(tensors: Tensors, top: str) -> Tensors:
    """The file of Keras 2: `stem_conv/stem_conv/kernel:0`, with the top called `top`."""
    named = {name.replace("probs/", f"{top}/"): array for name, array in tensors.items()}
    return {f"{name.split('/')[0]}/{name}:0": array for name, array in named.items()}


def keras3_tensors(tensors: Tensors) -> Tensors:
    """The file `.weights.h5` of Keras 3: layers are counted class by class."""
    counts: dict[str, int] = {}
    folders: dict[str, str] = {}
    found: Tensors = {"layers/normalization/vars/0": np.zeros(3)}
    order = ["gamma", "beta", "moving_mean", "moving_variance"]
    for name, array in tensors.items():
        layer, leaf = name.split("/")
        if layer not in folders:
            kind = "conv2d"
            if layer.endswith("bn"):
                kind = "batch_normalization"
            elif layer.endswith("dwconv"):
                kind = "depthwise_conv2d"
            elif layer == "probs":
                kind = "dense"
            number = counts.get(kind, 0)
            counts[kind] = number + 1
            folders[layer] = f"{kind}_{number}" if number else kind
        number = order.index(leaf) if leaf in order else int(leaf == "bias")
        found[f"layers/{folders[layer]}/vars/{number}"] = array
    return found


def write_h5(path: Path, tensors: Mapping[str, np.ndarray], *, inside: str = "") -> Path:
    with h5py.File(path, "w") as file:
        root = file.create_group(inside) if inside else file
        if inside:
            file["optimizer_weights/iterations:0"] = np.zeros(())
        if "stem_conv/stem_conv/kernel:0" in tensors:  # layers without weights are empty groups
            root.create_group("stem_activation")
        for name, array in tensors.items():
            root[name] = array
    return path


def write(tensors: Tensors, kind: str, folder: Path) -> Path:
    """Writes the tensors as one of the publishers does."""
    if kind == "efficientnet":
        return write_h5(folder / "w.h5", keras2_tensors(tensors, "probs"))
    if kind == "keras.applications":
        keras = keras2_tensors(tensors, "predictions")
        for name in ("mean", "variance", "count"):
            keras[f"normalization/normalization/{name}:0"] = np.zeros(())
        return write_h5(folder / "w.h5", keras, inside="model_weights")
    if kind == "deepprofiler":
        return write_h5(folder / "w.hdf5", keras2_tensors(tensors, "ClassProb"))
    if kind == "keras3":
        return write_h5(folder / "w.weights.h5", keras3_tensors(tensors))
    save_file(torch_tensors(tensors, kind), folder / "w.safetensors")
    return folder / "w.safetensors"


LAYOUTS = {
    "efficientnet": "keras",
    "keras.applications": "keras",
    "deepprofiler": "keras",
    "keras3": "keras3",
    "timm": "timm",
    "torchvision": "torchvision",
}


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    return random_tensors(CHANNELS, CLASSES)


@pytest.fixture(scope="module")
def variables(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read_efficientnet(write(tensors, "efficientnet", tmp_path_factory.mktemp("h5")))


# sha256 over the sorted lines "name shape" of keras.applications 3.15 (with `classifier` for
# `predictions`), timm 1.0.31 and torchvision 0.29.2, without counters and input normalisation.
@pytest.mark.parametrize(
    ("layout", "variant", "digest"),
    [
        ("keras", "b0", "d215d40bcf928d9d"),
        ("keras", "b4", "c529938ddbc536fa"),
        ("timm", "b0", "f62a5c98a74c6670"),
        ("timm", "b4", "679b39921bba607b"),
        ("torchvision", "b0", "b5ec7b4b5e4fedbb"),
        ("torchvision", "b4", "d5f2bdadab7f41bc"),
    ],
)
def test_names_and_shapes_are_the_libraries(layout: str, variant: str, digest: str) -> None:
    shapes = expected_tensors(layout, variant, channels=3, classes=1000)
    lines = sorted(f"{name} {shape}" for name, shape in shapes.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_layout_gives_the_same_variables(
    kind: str, tensors: Tensors, variables: Any, tmp_path: Path
) -> None:
    path = write(tensors, kind, tmp_path)
    assert detect_layout(path) == LAYOUTS[kind]
    found = read_efficientnet(path)
    expected: Any = flatten_dict(variables)
    assert len(expected) == 311
    leaves: Any = flatten_dict(found)
    assert set(leaves) == set(expected)
    for place, leaf in leaves.items():
        np.testing.assert_array_equal(np.asarray(leaf), np.asarray(expected[place]), str(place))


@pytest.mark.parametrize("layout", ["keras", "timm"])
def test_every_block_equals_the_numpy_network(
    layout: str, tensors: Tensors, variables: Any
) -> None:
    options = module_options(layout)
    assert options["padding"] == ("SAME" if layout == "keras" else "TORCH")
    model = EfficientNet(n_classes=CLASSES, **options)
    image = np.random.default_rng(1).uniform(-1, 1, (38, 64, CHANNELS)).astype(np.float32)

    @jax.jit
    def run(variables: Any, x: jax.Array) -> Any:
        logits, state = model.apply(
            variables, x, capture_intermediates=True, mutable=["intermediates"]
        )
        return logits, model.apply(variables, x, method="block6a"), state["intermediates"]

    logits, block6a, captured = run(variables, jnp.asarray(image)[None])
    oracle = KerasEfficientNet(
        tensors, torch_padding=layout == "timm", epsilon=options["norm_epsilon"]
    )
    expected = oracle(image)
    assert len(expected) == 18
    found = {name: np.asarray(captured[name]["__call__"][0]) for name in expected if len(name) == 7}
    found["logits"] = np.asarray(logits)
    found["block6a_activation"] = np.asarray(block6a)
    assert found["block6a_activation"].shape == (1, 2, 2, 672)
    for name, value in expected.items():
        assert 0.05 < np.abs(value).max() < 50, name
        np.testing.assert_allclose(found[name][0], value, atol=1e-4, err_msg=name)


def test_block6a_equals_the_numpy_network_also_after_folding(
    tensors: Tensors, variables: Any
) -> None:
    image = np.random.default_rng(2).uniform(-1, 1, (32, 32, CHANNELS)).astype(np.float32)
    expected = KerasEfficientNet(tensors)(image)["block6a_activation"]
    model = EfficientNet(n_classes=CLASSES, norm="folded")
    features = jax.jit(lambda v, x: model.apply(v, x, method="block6a"))(
        fold(variables), jnp.asarray(image)[None]
    )
    np.testing.assert_allclose(np.asarray(features)[0], expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["efficientnet", "torchvision"])
def test_all_that_does_not_fit_is_named_at_once(
    kind: str, tensors: Tensors, tmp_path: Path
) -> None:
    changed = dict(tensors)
    del changed["block3b_bn/gamma"], changed["block7a_project_conv/kernel"]
    changed["top_bn/beta"] = np.zeros(9, np.float32)
    changed["block5c_se_reduce/kernel"] = np.zeros((672, 28), np.float32)
    path = write(changed, "efficientnet", tmp_path)
    with h5py.File(path, "a") as file:
        file["lora/lora/kernel:0"] = np.zeros((1, 1, 2, 2))
    names = ["block3b_bn/gamma", "block7a_project_conv/kernel", "top_bn/beta", "lora/kernel"]
    names.append("block5c_se_reduce/kernel")
    if kind == "torchvision":
        path = tmp_path / "w.safetensors"
        state = torch_tensors(changed, kind)
        state["lora.weight"] = np.zeros((1, 1, 2, 2), np.float32)
        save_file(state, path)
        names = ["features.3.1.block.1.1.weight", "features.7.0.block.3.0.weight"]
        names += ["features.8.1.bias", "lora.weight", "features.5.2.block.2.fc1.weight"]
    with pytest.raises(ValueError, match="5 tensors do not fit EfficientNet b0") as caught:
        read_efficientnet(path)
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 5
    words = ["missing", "missing", "misshapen", "extra", "misshapen"]
    for word, name in zip(words, names, strict=True):
        assert sum(line.strip().startswith(f"{word} {name}") for line in lines) == 1, (word, name)
    assert "expected (1280,), found (9,)" in str(caught.value)


def test_another_variant_does_not_fit(tensors: Tensors, tmp_path: Path) -> None:
    path = write(tensors, "timm", tmp_path)
    with pytest.raises(ValueError, match=r"do not fit EfficientNet b1 in the layout 'timm'"):
        read_efficientnet(path, variant="b1")


def test_classifier_kept_exchanged_or_absent(
    tensors: Tensors, variables: Any, tmp_path: Path
) -> None:
    path = write(tensors, "deepprofiler", tmp_path)
    with pytest.raises(ValueError, match="misshapen classifier/kernel: expected"):
        read_efficientnet(path, n_classes=9)
    with pytest.raises(ValueError, match=r"a fresh classifier \(key\) needs n_classes"):
        read_efficientnet(path, key=jax.random.key(0))
    fresh = read_efficientnet(path, n_classes=9, key=jax.random.key(0))
    kernel = np.asarray(fresh["params"]["classifier"]["kernel"])
    assert kernel.shape == (1280, 9)
    assert np.abs(kernel).max() < np.sqrt(1 / 9) < np.abs(kernel).max() * 1.05
    assert not np.asarray(fresh["params"]["classifier"]["bias"]).any()
    for place in ("stem", "block6a"):
        for a, b in zip(
            jax.tree.leaves(fresh["params"][place]),
            jax.tree.leaves(variables["params"][place]),
            strict=True,
        ):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    headless = {name: a for name, a in tensors.items() if not name.startswith("probs")}
    path = write(headless, "efficientnet", tmp_path)
    assert "classifier" not in read_efficientnet(path)["params"]
    with pytest.raises(ValueError, match="missing classifier/kernel"):
        read_efficientnet(path, n_classes=9)
    fresh = read_efficientnet(path, n_classes=9, key=jax.random.key(0))
    assert fresh["params"]["classifier"]["bias"].shape == (9,)


def test_stem_for_other_channels(tensors: Tensors, tmp_path: Path) -> None:
    kernel = jnp.arange(2 * 3 * 4, dtype=jnp.float32).reshape(1, 2, 3, 4)
    found = np.asarray(adapt_stem(kernel, 5))
    for i, j in enumerate((0, 1, 2, 0, 1)):
        np.testing.assert_array_equal(found[:, :, i], np.asarray(kernel)[:, :, j])
    np.testing.assert_array_equal(np.asarray(adapt_stem(kernel, 2)), np.asarray(kernel)[:, :, :2])
    with pytest.raises(ValueError, match="at least one channel, found 0"):
        adapt_stem(kernel, 0)
    path = write(tensors, "timm", tmp_path)
    stem = np.asarray(read_efficientnet(path, in_channels=5)["params"]["stem"]["conv"]["kernel"])
    assert stem.shape == (3, 3, 5, 32)
    np.testing.assert_array_equal(stem[:, :, 4], tensors["stem_conv/kernel"][:, :, 1])


def test_five_channel_files_keep_their_stem(tmp_path: Path) -> None:
    tensors = random_tensors(5, 3)
    variables = read_efficientnet(write(tensors, "deepprofiler", tmp_path), in_channels=5)
    np.testing.assert_array_equal(
        np.asarray(variables["params"]["stem"]["conv"]["kernel"]), tensors["stem_conv/kernel"]
    )


def test_options_and_strangers() -> None:
    tensorflow = {"padding": "SAME", "norm_epsilon": 1e-3, "norm_momentum": 0.99}
    torch = {"padding": "TORCH", "norm_epsilon": 1e-5, "norm_momentum": 0.9}
    for layout in ("keras", "keras3", "timm_tf"):
        assert module_options(layout) == tensorflow
    assert module_options("timm") == module_options("torchvision") == torch
    assert module_options("torchvision", "b5")["norm_epsilon"] == 1e-3
    with pytest.raises(ValueError, match="unknown layout 'onnx'; known: keras, keras3"):
        module_options("onnx")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.h5: no such weights file"):
        read_efficientnet(tmp_path / "none.h5")
    text = tmp_path / "w.h5"
    text.write_text("not HDF5")
    with pytest.raises(ValueError, match=r"w\.h5: expected a Keras weights file"):
        read_efficientnet(text)
    other = write_h5(tmp_path / "o.h5", {"conv1/conv1/kernel:0": np.zeros((3, 3, 3, 8))})
    with pytest.raises(ValueError, match=r"o\.h5: expected EfficientNet .*found 1 tensors: conv1"):
        detect_layout(other)
