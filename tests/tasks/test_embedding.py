"""The embedder: routes, folding, files, metrics, and that training lowers the loss."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.ops.crop_augmentation import AugmentationSettings
from cellml.tasks.embedders import (
    keep_start,
    load_embedder,
    random_embedder,
    save_embedder,
    starting_variables,
)
from cellml.tasks.embedding import (
    Embedder,
    EmbedderSpec,
    classification_metrics,
    embed,
    for_inference,
    make_task,
    prepare_crops,
)
from cellml.train.evaluate import divide
from cellml.train.optim import make_optimizer
from cellml.train.parallel import make_train_step
from cellml.train.state import create_state

SPEC = EmbedderSpec("wsl", channels=("DNA", "ER"), classes=("a", "b", "c"), norm_momentum=0.5)


def jitted(spec: EmbedderSpec):
    return jax.jit(functools.partial(embed, spec))


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 4000, (5, 32, 32, 2)).astype(np.uint16)


@pytest.fixture(scope="module")
def by_channel():
    return random_embedder(seed=0, input_px=32)


@pytest.fixture(scope="module")
def stacked():
    return SPEC.network().init(jax.random.key(1), jnp.zeros((1, 32, 32, 2)))


def test_by_channel_equals_three_copies_of_each_channel_through_the_colour_network(crops) -> None:
    spec = EmbedderSpec("random", "by_channel", input_px=40)
    key = jax.random.key(3)
    colour = spec.network().init(key, jnp.zeros((1, 32, 32, 3)))
    embedder = random_embedder(seed=3, input_px=40)
    found = jitted(spec)(embedder.variables, jnp.asarray(crops[:2]))
    assert found.shape == (2, 2 * 672)
    assert spec.feature_names(("DNA", "ER"))[672] == "ER_0000"
    grey = np.asarray(prepare_crops(spec, jnp.asarray(crops[:2])))
    assert grey.shape == (4, 40, 40, 1)
    np.testing.assert_allclose(
        [grey.min((1, 2, 3)), grey.max((1, 2, 3))], [[-1] * 4, [1] * 4], atol=1e-6
    )
    images = jnp.repeat(jnp.asarray(grey), 3, axis=-1)
    expected = jax.jit(functools.partial(spec.network().apply, method="embed"))(colour, images)
    np.testing.assert_allclose(
        found, np.reshape(np.asarray(expected), (2, 2 * 672)), rtol=2e-3, atol=1e-5
    )


def test_folding_changes_nothing_and_a_batch_is_its_rows(crops, stacked) -> None:
    plain = jitted(SPEC)(stacked, jnp.asarray(crops))
    assert plain.shape == (5, 672)
    folded = for_inference(Embedder(SPEC, stacked))
    assert "batch_stats" not in folded.variables
    again = jitted(SPEC)(folded.variables, jnp.asarray(crops))
    np.testing.assert_allclose(again, plain, rtol=1e-3, atol=1e-5)
    alone = jitted(SPEC)(stacked, jnp.asarray(crops[3:4]))
    np.testing.assert_allclose(alone[0], plain[3], rtol=1e-3, atol=1e-5)
    assert for_inference(folded) is folded


def test_a_flat_channel_gives_numbers(by_channel) -> None:
    flat = jnp.full((1, 32, 32, 2), 7, jnp.uint16)
    found = jitted(by_channel.spec)(by_channel.variables, flat)
    assert np.isfinite(np.asarray(found)).all()


def test_files_come_back_and_foreign_ones_are_refused(tmp_path, stacked) -> None:
    path = tmp_path / "model.safetensors"
    save_embedder(path, Embedder(SPEC, stacked), card={"step": 3})
    spec, variables = load_embedder(path)
    assert spec == SPEC
    jax.tree.map(np.testing.assert_array_equal, dict(variables), dict(stacked))
    with pytest.raises(ValueError, match="unknown fields"):
        EmbedderSpec.from_json({**SPEC.to_json(), "colour": 1})
    with pytest.raises(ValueError, match="route 'sideways', expected one of stacked"):
        EmbedderSpec(route="sideways")


def test_training_starts_from_another_embedder_with_other_channels_and_classes(
    tmp_path, stacked
) -> None:
    path = tmp_path / "model.safetensors"
    save_embedder(path, Embedder(SPEC, stacked))
    spec = EmbedderSpec("next", channels=("x", "y", "z"), classes=("p", "q"))
    found = starting_variables(spec, path, jax.random.key(0))
    stem = np.asarray(stacked["params"]["stem"]["conv"]["kernel"])
    np.testing.assert_array_equal(found["params"]["stem"]["conv"]["kernel"], stem[:, :, [0, 1, 0]])
    assert found["params"]["classifier"]["kernel"].shape == (1280, 2)
    same = starting_variables(SPEC, path, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, dict(same), dict(stacked))


def test_what_is_exported_lies_between_start_and_trained_but_for_the_classifier(stacked) -> None:
    trained = jax.tree.map(lambda x: np.asarray(x) + 1, dict(stacked))
    found = keep_start(trained, jax.tree.map(np.asarray, dict(stacked)), 0.75)
    assert jax.tree.structure(found) == jax.tree.structure(trained)
    classifier = found["params"]["classifier"]
    jax.tree.map(np.testing.assert_array_equal, classifier, trained["params"]["classifier"])
    for part in (found["params"]["stem"], found["batch_stats"]["stem"]):
        assert jax.tree.leaves(part)
    stem = np.asarray(stacked["params"]["stem"]["conv"]["kernel"])
    np.testing.assert_allclose(found["params"]["stem"]["conv"]["kernel"], stem + 0.25, atol=1e-6)
    np.testing.assert_allclose(
        jax.tree.leaves(found["batch_stats"])[0], jax.tree.leaves(stacked["batch_stats"])[0] + 0.25,
        rtol=1e-6,
    )  # fmt: skip


def test_metrics_equal_loops_and_ties_are_no_hits() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(size=(40, 7)).astype(np.float32)
    logits[0] = 1.0  # all alike: not a hit
    target = rng.integers(0, 6, 40).astype(np.int32)
    valid = rng.random(40) < 0.8
    valid[0] = True
    sums = classification_metrics(*(jnp.asarray(x) for x in (logits, target, valid)))
    found = divide({k: (np.asarray(s, float), np.asarray(c, float)) for k, (s, c) in sums.items()})
    top = np.argsort(-logits, axis=1)
    rows = np.flatnonzero(valid)
    hits = [i > 0 and target[i] == top[i, 0] for i in rows]
    assert found["accuracy"] == pytest.approx(sum(hits) / len(hits))
    fives = [i > 0 and target[i] in top[i, :5] for i in rows]
    assert found["top5"] == pytest.approx(sum(fives) / len(fives))
    f1 = []
    for k in range(7):
        predicted, true = logits.argmax(1)[rows] == k, target[rows] == k
        if (predicted | true).any():
            f1.append(2 * (predicted & true).sum() / (predicted.sum() + true.sum()))
    assert found["f1"] == pytest.approx(np.mean(f1))
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert found["cross_entropy"] == pytest.approx(-log_p[rows, target[rows]].mean(), rel=1e-5)


def test_a_few_cells_are_learned_by_heart_and_padding_rows_do_not_count(crops) -> None:
    quiet = AugmentationSettings(0.0, 0.8, 0.0, False, 0.02, 0.02)
    spec = dataclasses.replace(SPEC, drop_connect=0.0)
    task = make_task(spec, augmentation=quiet, classifier_scale=0.0)
    target = np.asarray([0, 1, 2, 0, 1], np.int32)
    batch = {
        "crops": np.concatenate([crops, crops[:1]]),
        "target": np.append(target, np.int32(2)),
        "valid": np.asarray([True] * 5 + [False]),
    }
    tx = make_optimizer({"name": "adamw", "learning_rate": 1e-3})
    state = create_state(jax.random.key(0), task, tx, batch)
    train = make_train_step(task, tx, jax.devices()[:1])
    losses = []
    for step in range(16):
        state, metrics = train(state, batch, jax.random.fold_in(jax.random.key(1), step))
        losses.append(float(metrics["cross_entropy"][0] / metrics["cross_entropy"][1]))
    assert losses[0] == pytest.approx(np.log(3), rel=1e-4)  # even odds
    assert np.mean(losses[-3:]) < 0.4
    assert metrics["cross_entropy"][1] == 5


def test_what_cannot_be_trained_is_said() -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        make_task(EmbedderSpec(classes=("a",)))
