"""Activity models: fusion, what is missing, ensembles, files, training, resuming."""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cellml.data.graph_batching import pack_graphs
from cellml.data.graph_budgets import GraphBudget
from cellml.data.molecules import read_molecules
from cellml.data.row_batching import evaluation_rows, training_rows
from cellml.experiment.activity_data import Predictor, describe
from cellml.experiment.activity_scores import assay_scores, summary
from cellml.losses_activity import assay_weights, class_weights, label_weights, masked_mean
from cellml.tasks.activity import (
    ActivityModel,
    ActivitySpec,
    Fingerprint,
    Modality,
    inputs_of,
    outputs,
    predict,
    predict_members,
    predict_with_spread,
)
from cellml.tasks.activity_models import load_activity, save_activity
from cellml.tasks.activity_training import (
    LossSettings,
    make_task,
    scales_of,
)
from cellml.tasks.ensembles import ensemble_task
from cellml.train.optim import make_optimizer
from cellml.train.parallel import make_train_step
from cellml.train.state import create_state, eval_variables

NAN = float("nan")
SMILES = ["CCO", "c1ccccc1N", "C", "CC(=O)[O-].[Na+]", "FC(F)(F)c1ccncc1", "CCS(=O)(=O)N"]
SPEC = ActivitySpec(
    "small",
    assays=("a", "b", "c"),
    mpnn=(("hidden", 6),),
    hidden=(5,),
    modalities=(Modality("mo", ("m0", "m1")), Modality("ge", ("g0",))),
)
FEATURES = np.array(
    [[1, 2, 3], [NAN, NAN, 1], [3, 2, NAN], [0, NAN, 4], [5, 2, 2], [NAN, NAN, NAN]], np.float32
)
LABELS = np.array(
    [[1, NAN, 0], [0, NAN, NAN], [NAN, NAN, 1], [1, NAN, 0], [0, NAN, 1], [1, NAN, NAN]], np.float32
)


@functools.cache
def jitted(function, spec: ActivitySpec, **options):
    """A compiled function of a spec: eager ones compile every operation."""
    return jax.jit(functools.partial(function, spec, **options))


@pytest.fixture(scope="module")
def batch():
    molecules = read_molecules(SMILES).molecules
    budget = GraphBudget(48, 72, len(SMILES) + 1)
    extras = {"features": FEATURES, "labels": LABELS}
    return pack_graphs(molecules, np.arange(6)[None], budgets=[budget], extras=extras)


@pytest.fixture(scope="module")
def task():
    return make_task(SPEC, scales=scales_of(SPEC, LABELS, FEATURES))


@pytest.fixture(scope="module")
def variables(task, batch):
    return jax.jit(task.init)(jax.random.key(0), batch)


def losses_and_gradients(task, variables, batch, seed: int = 1):
    """Mean loss, and gradients of the parameters."""

    @jax.jit
    def run(params):
        def total(p):
            found, _ = task.losses({**variables, "params": p}, batch, jax.random.key(seed), True)
            return sum(s / c for s, c in found.values())

        return jax.value_and_grad(total)(params)

    return run(variables["params"])


def test_scales_leave_out_what_is_missing(variables) -> None:
    scales = variables["scales"]
    np.testing.assert_allclose(scales["feature_mean"], [9 / 4, 2, 10 / 4])
    np.testing.assert_allclose(
        scales["feature_scale"],
        [float(np.std([1, 3, 0, 5])), 1.0, float(np.std([3, 1, 4, 2]))],
        rtol=1e-6,
    )
    np.testing.assert_array_equal(scales["target_mean"], np.zeros(3))
    regression = dataclasses.replace(SPEC, kind="regression")
    found = scales_of(regression, LABELS * 10, FEATURES)
    np.testing.assert_allclose(found.target_mean, [6, 0, 5])
    spread = float(np.std([1, 0, 1, 0, 1])) * 10
    np.testing.assert_allclose(found.target_scale, [spread, 1.0, 5.0], rtol=1e-6)


def test_a_missing_modality_is_the_mean_and_is_told_to_the_network(batch, variables) -> None:
    seen = {}

    class Spy:
        def apply(self, _, graphs, valid, others, **options):
            seen["others"] = others
            return jnp.zeros((valid.shape[0], 3))

    class Spied(ActivitySpec):
        def network(self, **_):
            return Spy()

    spec = Spied(**{f.name: getattr(SPEC, f.name) for f in dataclasses.fields(SPEC)})
    outputs(spec, variables, jitted(inputs_of, SPEC)(batch))
    (found,) = seen["others"]
    assert found.shape == (7, 5)  # three features, and the presence of two modalities
    scales = {k: np.asarray(v) for k, v in variables["scales"].items()}
    standard = (FEATURES - scales["feature_mean"]) / scales["feature_scale"]
    np.testing.assert_allclose(found[:6, :3], np.nan_to_num(standard), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[:6, 3], [1, 0, 1, 1, 1, 0])
    np.testing.assert_array_equal(found[:6, 4], [1, 1, 0, 1, 1, 0])
    inputs = jitted(inputs_of, SPEC)(batch)
    outputs(spec, variables, inputs, key=jax.random.key(0), modality_dropout=1.0)
    assert not np.asarray(seen["others"][0]).any()


def test_an_assay_without_readouts_changes_nothing(task, batch, variables) -> None:
    loss, gradients = losses_and_gradients(task, variables, batch)
    last = gradients["network"]["head"]["layer_1"]
    assert not np.asarray(last["kernel"])[:, 1].any()
    assert np.asarray(last["kernel"])[:, [0, 2]].any(axis=0).all()
    narrow = dataclasses.replace(SPEC, assays=("a", "c"))
    fewer = jax.tree.map(lambda x: x, variables)
    head = dict(fewer["params"]["network"]["head"])
    head["layer_1"] = {k: v[..., np.array([0, 2])] for k, v in head["layer_1"].items()}
    fewer["params"] = {"network": {**fewer["params"]["network"], "head": head}}
    fewer["scales"] = {
        k: v[np.array([0, 2])] if k.startswith("target") else v for k, v in fewer["scales"].items()
    }
    without = {**batch, "labels": batch["labels"][..., [0, 2]]}
    loss_2, gradients_2 = losses_and_gradients(make_task(narrow), fewer, without)
    np.testing.assert_allclose(loss, loss_2, rtol=1e-6)
    for part in ("input", "message", "output"):
        np.testing.assert_allclose(
            gradients["network"]["mpnn"][part]["kernel"],
            gradients_2["network"]["mpnn"][part]["kernel"],
            rtol=1e-4,
            atol=1e-7,
        )


def test_loss_is_the_mean_over_readouts_and_padding_does_not_count(task, batch, variables) -> None:
    logits = np.log(1 / (1 / np.asarray(jitted(predict, SPEC)(variables, batch))[:6] - 1))
    each = np.logaddexp(0, logits) - LABELS * logits
    (total, count) = jax.jit(task.metrics)(variables, batch)["bce"]
    assert float(count) == np.isfinite(LABELS).sum()
    np.testing.assert_allclose(total / count, np.nanmean(each), rtol=1e-5)
    noise = {**batch, "labels": np.where(batch["valid"][..., None], batch["labels"], 1e30)}
    np.testing.assert_array_equal(jax.jit(task.metrics)(variables, noise)["bce"][0], total)


def test_balance_gives_classes_and_assays_the_same_weight() -> None:
    labels = np.array([[1, 0], [0, 0], [0, NAN], [0, NAN]], np.float32)
    classes = class_weights(labels, 2)
    np.testing.assert_allclose(classes, [[4 / 6, 1], [2, 0]])  # b has one class only
    np.testing.assert_allclose(assay_weights(labels), [6 / 8, 6 / 4])
    target = jnp.nan_to_num(jnp.asarray(labels))
    known = jnp.isfinite(jnp.asarray(labels))
    weight = label_weights(target, classes=classes, assays=assay_weights(labels))
    _, count = masked_mean(jnp.ones((4, 2)), known, weight=weight)
    np.testing.assert_allclose(count, 6)
    np.testing.assert_allclose(weight[:, 0], [1.5, 0.5, 0.5, 0.5])


def test_uncertainty_weights_find_the_size_of_the_losses() -> None:
    each = jnp.array([[4.0, 0.5, 7.0]])
    known = jnp.array([[True, True, False]])

    def total(s):
        value, count = masked_mean(each, known, log_variance=s)
        return value / count

    s = jnp.zeros(3)
    for _ in range(400):
        s = s - 0.2 * jax.grad(total)(s)
    # d/ds exp(-s) l + s / 2 = 0 at s = log(2 l)
    np.testing.assert_allclose(s, [np.log(8), 0, 0], atol=1e-3)


def test_ensemble_learns_as_its_members_alone(batch) -> None:
    single = make_task(SPEC, LossSettings(modality_dropout=0.5))
    both = ensemble_task(single, 2)
    key = jax.random.key(7)
    made = jax.jit(both.init)(key, batch)
    loss, gradients = losses_and_gradients(both, made, batch)
    losses, keys = [], jax.random.split(jax.random.key(1), 2)
    for i, start in enumerate(jax.random.split(key, 2)):
        alone = jax.jit(single.init)(start, batch)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-6),
            jax.tree.map(lambda x, i=i: x[i], made),
            alone,
        )

        @jax.jit
        def run(params, alone=alone, i=i):
            def total(p):
                found, _ = single.losses({**alone, "params": p}, batch, keys[i], True)
                return found["bce"][0] / found["bce"][1]

            return jax.value_and_grad(total)(params)

        one, own = run(alone["params"])
        losses.append(one)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
            jax.tree.map(lambda x, i=i: x[i], gradients),
            own,
        )
    np.testing.assert_allclose(loss, np.sum(losses), rtol=1e-5)
    spec = dataclasses.replace(SPEC, members=2)
    members = np.asarray(jitted(predict_members, spec)(made, batch))
    mean, spread = jitted(predict_with_spread, spec)(made, batch)
    np.testing.assert_allclose(mean, members.mean(0), rtol=1e-5)
    np.testing.assert_allclose(spread, members.std(0), rtol=1e-4, atol=1e-7)
    first = jitted(predict, SPEC)(jax.tree.map(lambda x: x[0], made), batch)
    np.testing.assert_allclose(members[0], first, rtol=1e-5)
    # On an accelerator the members are mapped side by side: the same numbers.
    side_by_side = jax.vmap(lambda v: jitted(predict, SPEC)(v, batch))(made)
    np.testing.assert_allclose(members, side_by_side, rtol=1e-4, atol=1e-6)


def test_dropout_samples_differ_and_their_mean_is_given(batch, variables) -> None:
    spec = dataclasses.replace(SPEC, dropout=0.5)
    key = jax.random.key(0)
    mean, spread = jitted(predict_with_spread, spec, samples=8)(variables, batch, key=key)
    assert (np.asarray(spread)[:6] > 0).all()
    found = [
        jitted(predict_members, spec)(variables, batch, key=k)[0] for k in jax.random.split(key, 8)
    ]
    np.testing.assert_allclose(mean, np.mean(found, axis=0), rtol=1e-5)
    with pytest.raises(ValueError, match="needs a key"):
        predict_with_spread(spec, variables, batch, samples=2)


def test_regression_and_classes_leave_in_their_units(batch) -> None:
    values = LABELS * 50 + 100
    spec = dataclasses.replace(SPEC, kind="regression", modalities=())
    task = make_task(spec, LossSettings(loss="mae"), scales=scales_of(spec, values))
    made = jax.jit(task.init)(jax.random.key(0), batch)
    assert set(made["scales"]) == {"target_mean", "target_scale"}
    raw = jitted(outputs, spec)(made, jitted(inputs_of, spec)(batch))
    scales = scales_of(spec, values)
    expected = np.asarray(raw) * scales.target_scale + scales.target_mean
    np.testing.assert_allclose(jitted(predict, spec)(made, batch), expected, rtol=1e-5)
    total, count = jax.jit(task.metrics)(made, {**batch, "labels": np.where(
        batch["valid"][..., None], batch["labels"] * 50 + 100, NAN)})["mae"]  # fmt: skip
    error = np.abs(expected[:6] - values) / scales.target_scale
    np.testing.assert_allclose(total / count, np.nanmean(error), rtol=1e-5)
    many = dataclasses.replace(spec, kind="multiclass", n_classes=4)
    task = make_task(many, LossSettings(class_balance=True), labels=LABELS)
    made = jax.jit(task.init)(jax.random.key(0), batch)
    p = np.asarray(jitted(predict, many)(made, batch))
    assert p.shape == (7, 3, 4)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-5)
    total, count = jax.jit(task.metrics)(made, batch)["cross_entropy"]
    own = [-np.log(p[i, t, int(y)]) for (i, t), y in np.ndenumerate(LABELS) if np.isfinite(y)]
    np.testing.assert_allclose([total, count], [np.sum(own), len(own)], rtol=1e-5)


def test_a_few_molecules_are_learnt_by_heart(batch) -> None:
    spec = dataclasses.replace(SPEC, modalities=(), hidden=(16,), mpnn=(("hidden", 16),))
    task = make_task(spec)
    tx = make_optimizer({"name": "adam", "learning_rate": 0.02})
    state = create_state(jax.random.key(0), task, tx, batch)
    step = make_train_step(task, tx, jax.local_devices()[:1])
    for _ in range(150):
        state, _ = step(state, batch, jax.random.key(0))
    found = np.asarray(jitted(predict, spec)(eval_variables(state), batch))[:6]
    known = np.isfinite(LABELS)
    assert np.abs(found[known] - LABELS[known]).max() < 0.02


def test_files_come_back(tmp_path: Path, variables) -> None:
    path = tmp_path / "model.safetensors"
    spec = dataclasses.replace(SPEC, fingerprint=Fingerprint(3, 64, chirality=True))
    save_activity(path, ActivityModel(spec, variables), card={"step": 3})
    found = load_activity(path)
    assert found.spec == spec
    jax.tree.map(np.testing.assert_array_equal, dict(found.variables), dict(variables))
    assert ActivitySpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    with pytest.raises(ValueError, match="unknown fields"):
        ActivitySpec.from_json({**spec.to_json(), "colour": 1})
    for changes, text in (
        ({"representation": "text"}, "representation 'text', expected one of graph, morgan"),
        ({"representation": "features_only", "modalities": ()}, "needs features"),
        ({"kind": "multiclass"}, "two classes or more"),
    ):
        with pytest.raises(ValueError, match=text):
            dataclasses.replace(SPEC, **changes)
    with pytest.raises(ValueError, match="loss 'mae' for kind 'binary', expected one of bce"):
        make_task(SPEC, LossSettings(loss="mae"))


@pytest.mark.parametrize("representation", ["morgan", "both", "features_only"])
def test_predictions_of_a_compound_do_not_depend_on_the_others(representation: str) -> None:
    spec = dataclasses.replace(
        SPEC, representation=representation, fingerprint=Fingerprint(size=32)
    )
    smiles = [*SMILES, "not a molecule"]
    features = np.concatenate([FEATURES, FEATURES[:1]])
    described = describe(spec, smiles, features)
    rejected = [(r.row, r.reason) for r in described.rejected]
    if representation == "features_only":
        assert rejected == [(5, "no features")]
    else:
        assert rejected == [(6, "not a SMILES: syntax error")]
    batch = {"labels": np.zeros((6, 3), np.float32), **described.extras, "valid": np.ones(6, bool)}
    if described.molecules is not None:
        budget = GraphBudget(48, 72, 7)
        batch = pack_graphs(
            described.molecules, np.arange(6)[None], budgets=[budget], extras=described.extras
        )
    made = jax.jit(make_task(spec).init)(jax.random.key(1), batch)
    model = ActivityModel(spec, made)
    whole, _ = Predictor(spec, batch_size=4)(model, described)
    alone, _ = Predictor(spec, batch_size=4)(model, described.take(np.array([1, 4])))
    assert whole.shape == (6, 3)
    np.testing.assert_allclose(whole[[1, 4]], alone, rtol=1e-5, atol=1e-6)


def test_rows_come_once_an_epoch_and_a_step_depends_on_itself_alone() -> None:
    arrays = {"index": np.arange(7)}
    batches = training_rows(arrays, batch_size=3, seed=4)
    stream = batches(0)
    first = [next(stream) for _ in range(6)]
    for epoch in (first[:3], first[3:]):
        seen = np.concatenate([b["index"][b["valid"]] for b in epoch])
        assert sorted(seen.tolist()) == list(range(7))
    np.testing.assert_array_equal(next(batches(4))["index"], first[4]["index"])
    found = [b["index"][b["valid"]].tolist() for b in evaluation_rows(arrays, batch_size=5)]
    assert found == [[0, 1, 2, 3, 4], [5, 6]]


def test_scores_leave_out_undefined_assays() -> None:
    labels = np.array([[1, NAN, 0], [0, NAN, 0], [1, NAN, NAN]], np.float32)
    p = np.array([[0.9, 0.5, 0.2], [0.5, 0.5, 0.1], [0.4, 0.5, 0.5]], np.float32)
    found = assay_scores("binary", labels, p)
    np.testing.assert_allclose(found["auroc"], [0.5, NAN, NAN])
    means = summary("binary", labels, p)
    assert (means["n_assays"], means["mean_auroc"]) == (1, 0.5)
    each = -np.log([0.9, 0.5, 0.4, 0.8, 0.9])
    np.testing.assert_allclose(means["loss"], each.mean(), rtol=1e-5)
    found = summary("regression", labels, p)
    np.testing.assert_allclose(
        found["mean_rmse"],
        np.mean([np.sqrt((0.01 + 0.25 + 0.36) / 3), np.sqrt(0.05 / 2)]),
        rtol=1e-5,
    )
