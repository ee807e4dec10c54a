"""`cellml profile train` and `embed`: runs resume, features are right, options are checked."""

import dataclasses
import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from cellml.commands import profile_embed, profile_train
from cellml.commands.profile_train import TrainOptions, make_config
from cellml.data.cell_measurements import measure_cells
from cellml.data.cell_store import open_store
from cellml.data.feature_files import feature_plates, features_path, read_feature_facts
from cellml.errors import UsageError, UserError
from cellml.models.efficientnet import feature_count
from cellml.tasks.embedders import (
    load_embedder,
    random_embedder,
    save_embedder,
    starting_variables,
)
from cellml.tasks.embedding import Embedder, EmbedderSpec, embed
from cellml.train.checkpoint import CheckpointMismatchError
from tests.cli.screens import content, profile, simulated
from tests.tasks.test_published_embedders import keras_file, tensors

CHANGES = (
    "model.input_px=32",
    "model.variant=micro",
    "eval.batch_size=4",
    "train.batch_size=4",
    "data.edges=true",
)
TINY = [text for change in CHANGES for text in ("--set", change)]


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    root = simulated(tmp_path_factory.mktemp("screen"))
    profile("export", root, "--masks", "keep")
    return root


def features_of(root, experiment):
    store = open_store(root / "outputs" / "single-cells")
    tables = [
        pq.read_table(features_path(root / "outputs" / experiment / "features", plate))
        for plate in store.plates
    ]
    rows = [np.stack(table["features"].to_pylist()) for table in tables if len(table)]
    return store, tables, np.concatenate(rows).astype(np.float32)


@pytest.fixture(scope="module")
def trained(screen):
    """Weights of a network that was trained on the screen for two steps."""
    profile("train", screen, "-e", "trained", "--preset", "scratch", "--steps", 2, *TINY)
    return screen / "outputs" / "trained" / "model" / "embedders" / "step_000002.safetensors"


def test_train_then_embed_gives_the_trained_networks_features(screen):
    code, text = profile(
        "train", screen, "--preset", "scratch", "--steps", 2, "--split", "leave_plates_out", *TINY,
    )  # fmt: skip
    assert code == 0
    assert "step_000002.safetensors" in text
    run = screen / "outputs" / "wsl" / "model"
    split = json.loads((run / "split.json").read_text())
    assert split["plates"]["train"] != split["plates"]["validation"]
    assert "train_f1" in (run / "metrics.jsonl").read_text()
    before = (run / "metrics.jsonl").read_bytes()
    profile(
        "train", screen, "--preset", "scratch", "--steps", 2, "--split", "leave_plates_out", *TINY,
    )  # fmt: skip
    assert (run / "metrics.jsonl").read_bytes() == before  # nothing left to do
    profile("export", screen, "--masks", "keep", "--normalisation", "minmax", "--store", "scaled")
    with pytest.raises(CheckpointMismatchError, match=r"entry data\.cells: expected '\d+ cells"):
        profile(
            "train", screen, "--preset", "scratch", "--steps", 2, "--split", "leave_plates_out",
            "--store", "scaled", *TINY,
        )  # fmt: skip

    assert profile("embed", screen, "--batch-size", 8)[0] == 0
    store, tables, found = features_of(screen, "wsl")
    embedder = load_embedder(run / "embedders" / "step_000002.safetensors")
    cells = store.read(np.arange(len(store)))[..., :5]
    expected = jax.jit(functools.partial(embed, embedder.spec))(embedder.variables, cells)
    assert found.shape == (len(store), feature_count("micro"))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
    assert tables[0].column_names[:4] == ["plate", "well", "site", "cell_id"]


def test_classical_features_use_the_masks_and_resume_to_the_same_bytes(screen, monkeypatch):
    assert profile("embed", screen, "--model", "classical", "--npz", "--batch-size", 8)[0] == 0
    store, _, found = features_of(screen, "classical")
    cells = store.read(np.arange(len(store)))
    names, expected = measure_cells(cells[..., :5], cells[..., 5] > 0, store.channels[:5])
    np.testing.assert_array_equal(found, expected)
    facts = read_feature_facts(
        screen / "outputs" / "classical" / "features", next(iter(store.plates))
    )
    assert facts.names == tuple(names)
    assert list((screen / "outputs" / "classical" / "features_npz").rglob("*.npz"))
    whole = content(screen / "outputs" / "classical" / "features")

    real, calls = profile_embed._read_and_run, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(profile_embed, "_read_and_run", killed)
    arguments = ("embed", screen, "--model", "classical", "-e", "again", "--batch-size", 8)
    code, text = profile(*arguments)
    assert code == 130
    assert "goes on where this stopped" in text
    monkeypatch.setattr(profile_embed, "_read_and_run", real)
    assert profile(*arguments)[0] == 0
    assert content(screen / "outputs" / "again" / "features") == whole


def test_a_model_for_other_channels_or_no_model_is_refused(screen, tmp_path):
    spec = EmbedderSpec("other", channels=("A", "B", "C", "D", "E"), classes=("a", "b"))
    variables = random_embedder(seed=0, variant="micro").variables
    save_embedder(tmp_path / "other.safetensors", Embedder(spec, variables))
    with pytest.raises(UsageError, match="trained on channels A, B, C, D, E; the store has DNA"):
        profile("embed", screen, "--model", tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="holds no trained embedder"):
        profile("embed", screen, "-e", "nothing")
    with pytest.raises(UsageError, match="--model imagenet --variant b1: --weights FILE expected"):
        profile("embed", screen, "--model", "imagenet", "--variant", "b1")
    with pytest.raises(UsageError, match="no such weights file"):
        profile("embed", screen, "--model", tmp_path / "missing.safetensors")
    with pytest.raises(UsageError, match="at least 1 expected"):
        profile("embed", screen, "--model", "classical", "--batch-size", 0)


def test_the_configuration_decides_what_no_option_does(screen, tmp_path):
    root = tmp_path / "screen"
    for folder in ("inputs/config", "inputs/metadata", "outputs/single-cells"):
        shutil.copytree(screen / folder, root / folder)
    (path,) = (root / "inputs" / "config").glob("*.json")
    config = json.loads(path.read_text())
    config["profile"] |= {"use_pretrained_input_size": 40, "batch_size": 3}
    path.write_text(json.dumps(config))
    random = ("embed", root, "--model", "random", "--variant", "micro")
    for options, name, side in (((), "random", 40), (("--input-px", 32), "given", 32)):
        assert profile(*random, "-e", name, *options)[0] == 0
        features = root / "outputs" / name / "features"
        facts = read_feature_facts(features, feature_plates(features)[0])
        assert facts.made_by["spec"]["input_px"] == side
    _, text = profile("embed", root, "--model", "classical")
    assert "not followed by this model: profile.use_pretrained_input_size" in text
    config["profile"]["feature_layr"] = "avg_pool"
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"profile.feature_layr \(did you mean profile.feature_lay"):
        profile(*random)


def test_cells_are_resized_for_a_model_of_our_own(screen, trained):
    store = open_store(screen / "outputs" / "single-cells")
    cells = store.read(np.arange(4))

    def features(**options):
        chosen = profile_embed.EmbedOptions(screen, "sized", model=str(trained), **options)
        extractor = profile_embed.make_extractor(chosen, store)
        return extractor.made_by["spec"]["input_px"], extractor.run(cells)

    (as_trained, usual), (given, resized) = features(), features(input_px=40)
    assert (as_trained, given) == (32, 40)
    spec, variables = load_embedder(trained)
    spec = dataclasses.replace(spec, input_px=40)
    expected = jax.jit(functools.partial(embed, spec))(variables, cells[..., :5])
    np.testing.assert_allclose(resized, expected, rtol=1e-3, atol=1e-5)
    assert np.abs(resized - usual).max() > 1e-3


def test_a_share_of_the_start_is_kept_in_what_is_exported(screen, trained):
    options = ("--preset", "scratch", "--steps", 2, "--split", "leave_cells_out", *TINY,
               "--set", "optimizer.learning_rate=0.05", "--set", "model.classifier_scale=1",
               "--init-weights", trained)  # fmt: skip
    found = []
    for name, share in (("none", "0"), ("half", "0.5")):
        profile("train", screen, "-e", name, *options, "--set", f"start_share={share}")
        path = screen / "outputs" / name / "model" / "embedders" / "step_000002.safetensors"
        found.append(load_embedder(path).variables["params"]["stem"]["conv"]["kernel"])
    start = load_embedder(trained).variables["params"]["stem"]["conv"]["kernel"]
    assert np.abs(found[0] - start).max() > 1e-4
    np.testing.assert_allclose(found[1], (found[0] + start) / 2, atol=1e-6)
    with pytest.raises(UsageError, match=r"start_share: found 0.5, expected 0 to 1, and 0 without"):
        profile("train", screen, "-e", "wrong", *options[:-2], "--set", "start_share=0.5")


def test_a_file_of_another_program_is_a_model_too(screen, tmp_path):
    path = keras_file(tmp_path / "cnn.hdf5", tensors(5))
    store = open_store(screen / "outputs" / "single-cells")
    order = ("DNA", "RNA", "ER", "AGP", "Mito")
    options = profile_embed.EmbedOptions(
        screen, "published", model=str(path), variant="micro", channel_order=order
    )
    extractor = profile_embed.make_extractor(options, store)
    assert len(extractor.names) == feature_count("micro")
    assert extractor.made_by["channel_order"] == list(order)
    assert extractor.made_by["spec"]["route"] == "stacked"
    assert extractor.made_by["spec"]["input_px"] == 0  # as cut
    shared = ("embed", screen, "-e", "published", "--variant", "micro")
    with pytest.raises(UsageError, match="takes 5 channels, the order of channels: 2"):
        profile(*shared, "--model", path, "--channel-order", "DNA,ER")
    with pytest.raises(UsageError, match="--model FILE of another program"):
        profile(*shared, "--model", "random", "--cyclic-stem")
    with pytest.raises(UsageError, match="--model FILE for all at once"):
        profile(*shared, "--weights", path)


def test_channels_follow_their_names_whatever_their_order(screen, tmp_path):
    names = ("DNA", "ER", "RNA", "AGP", "Mito")
    spec = EmbedderSpec("own", variant="compact", channels=names, classes=("a", "b"))
    crops = jnp.zeros((1, 16, 16, 5))
    variables = jax.jit(spec.network().init)(jax.random.key(0), crops)
    order = [3, 0, 4, 2, 1]
    params = dict(variables["params"])
    kernel = params["stem"]["conv"]["kernel"][:, :, np.array(order)]
    params["stem"] = {**params["stem"], "conv": {"kernel": kernel}}
    other = dataclasses.replace(spec, channels=tuple(names[i] for i in order))
    found = []
    for model, tree in ((spec, variables), (other, {**variables, "params": params})):
        path = tmp_path / "model.safetensors"
        save_embedder(path, Embedder(model, tree))
        assert profile("embed", screen, "--model", path, "-e", f"o{len(found)}")[0] == 0
        found.append(features_of(screen, f"o{len(found)}")[2])
        # Training on from it, the stem is in the order of the screen.
        stem = starting_variables(spec, path, jax.random.key(1))["params"]["stem"]
        np.testing.assert_array_equal(
            stem["conv"]["kernel"], variables["params"]["stem"]["conv"]["kernel"]
        )
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-6)


def test_the_projects_configuration_becomes_the_runs(screen):
    plain = TrainOptions(screen, init_weights=screen / "weights.h5")
    config = make_config(plain)
    assert config.optimizer.learning_rate == 0.005
    assert (config.train.epochs, config.train.batch_size, config.model.variant) == (30, 32, "b0")
    assert config.data.split.scheme == "leave_plates_out"
    plates = sorted(open_store(screen / "outputs" / "single-cells").plates)
    assert list(config.data.split.plates) == plates[-1:]
    other = dataclasses.replace(plain, treatments=("T001",), epochs=3, changes=("seed=7",))
    config = make_config(other)
    assert (config.data.split.scheme, config.train.epochs, config.seed) == (
        "leave_treatments_out", 3, 7,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "wants ImageNet weights: give them with --init-weights"),
        ({"preset": "best"}, "unknown 'best'; known: dissertation, scratch, small"),
        ({"preset": "scratch", "epochs": 3}, "as long as --steps says"),
        ({"preset": "scratch", "steps": 3, "epochs": 3}, "exclude each other"),
        ({"preset": "scratch", "changes": ("modell.x=1",)}, "--set modell.x=1: no such entry"),
        ({"preset": "scratch", "changes": ("model.x=1",)}, "variant"),
    ],
)
def test_wrong_options_of_train_are_named(screen, changes, message):
    with pytest.raises(UsageError, match=message):
        make_config(TrainOptions(screen, **changes))


def test_training_errors_are_one_line(screen):
    options = TrainOptions(screen, "x", "scratch", plates=("X",), changes=("data.edges=true",))
    with pytest.raises(UsageError, match="no plate 'X' to leave out; found"):
        profile_train.run(options, Console())
