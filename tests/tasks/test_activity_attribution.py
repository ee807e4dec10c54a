"""Integrated gradients: complete, equivariant, on the group that was planted; bits to atoms."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rdkit import Chem

from cellml.data.fingerprint_atoms import bit_environments, share_among_atoms
from cellml.data.fingerprints import structure_fingerprints
from cellml.data.molecule_codes import parse_molecule
from cellml.experiment.activity_data import Predictor, describe, evaluation_batches
from cellml.experiment.activity_explanations import explain, largest_attribution
from cellml.tasks.activity import ActivityModel, ActivitySpec, Fingerprint, Modality
from cellml.tasks.activity_attribution import integrated_gradients
from cellml.tasks.activity_training import make_task
from cellml.train.optim import make_optimizer
from cellml.train.parallel import make_train_step
from cellml.train.state import create_state, eval_variables

SMILES = ["CCO", "C", "c1ccncc1C(=O)N", "CC(=O)[O-].[Na+]", "nonsense", "FC(F)(F)c1ccccc1"]
GRAPH = ActivitySpec(assays=("a", "b"), mpnn=(("hidden", 12), ("depth", 3)), hidden=(16,))
SPECS = {
    "graph": GRAPH,
    "morgan": dataclasses.replace(GRAPH, representation="morgan", fingerprint=Fingerprint(2, 64)),
    "both": dataclasses.replace(
        GRAPH,
        representation="both",
        fingerprint=Fingerprint(1, 32, counts=True, chirality=True),
        members=2,
        modalities=(Modality("mo", ("m",)),),
    ),
    "multiclass": dataclasses.replace(GRAPH, kind="multiclass", n_classes=3),
    "regression": dataclasses.replace(GRAPH, kind="regression", largest_fragment=True),
}


def untrained(spec: ActivitySpec, seed: int = 0, smiles=SMILES):
    features = np.arange(len(smiles), dtype=np.float32)[:, None] if spec.modalities else None
    described = describe(spec, smiles, features)
    batch = next(evaluation_batches(described, batch_size=8))
    variables = jax.jit(make_task(spec).init)(jax.random.key(seed), batch)
    if spec.kind == "regression":
        scales = {"target_mean": jnp.array([5.0, -3.0]), "target_scale": jnp.array([2.0, 7.0])}
        variables = {**variables, "scales": scales}
    return ActivityModel(spec, variables), described


@pytest.mark.parametrize("name", SPECS)
def test_attributions_add_up_to_the_difference_of_the_output(name: str) -> None:
    model, described = untrained(SPECS[name])
    category = 2 if name == "multiclass" else 0
    found = explain([model], described, SMILES, assay=1, category=category, steps=256)
    assert [e.row for e in found] == [0, 1, 2, 3, 5]
    assert [len(e.atoms) for e in found] == [3, 1, 9, 4 if name == "regression" else 5, 10]
    for e in found:
        moved = max(abs(e.output - e.baseline), np.abs(e.atoms).sum())
        assert abs(e.error) < 0.02 * moved, e
        assert moved > 1e-3
    predicted, _ = Predictor(model.spec)(model, described)
    for i, e in enumerate(found):
        own = predicted[i, 1] if category == 0 else predicted[i, 1, 2]
        assert e.prediction == pytest.approx(own, rel=1e-4)
        if name in ("graph", "morgan"):
            assert 1 / (1 + np.exp(-e.output)) == pytest.approx(own, rel=1e-4)
        if name == "regression":
            assert e.output == pytest.approx(own, rel=1e-4)


def test_more_steps_are_more_exact_and_a_linear_model_needs_one() -> None:
    model, described = untrained(GRAPH)
    errors = [
        np.mean([abs(e.error) for e in explain([model], described, SMILES, assay=0, steps=n)])
        for n in (2, 64)
    ]
    assert errors[1] < 0.3 * errors[0]
    linear = dataclasses.replace(SPECS["morgan"], hidden=())
    model, described = untrained(linear)
    kernel = np.asarray(model.variables["params"]["network"]["head"]["layer_0"]["kernel"])[:, 0]
    (batch,) = evaluation_batches(described, batch_size=8)
    run = jax.jit(functools.partial(integrated_gradients, linear, steps=1))
    found = run(model.variables, batch, jnp.asarray(0), jnp.asarray(0))
    bits = np.asarray(described.fingerprint, np.float32)
    np.testing.assert_allclose(found.bits[: len(bits)], bits * kernel, rtol=1e-5, atol=1e-7)
    eager = integrated_gradients(
        linear, model.variables, batch, jnp.asarray(0), jnp.asarray(0), steps=1
    )
    np.testing.assert_allclose(np.asarray(eager.bits), np.asarray(found.bits), rtol=1e-6)


@pytest.mark.parametrize("name", ["graph", "morgan"])
def test_another_order_of_the_atoms_gives_the_same_in_that_order(name: str) -> None:
    model, _ = untrained(SPECS[name])
    molecule = Chem.MolFromSmiles("CC(=O)Nc1ccc(O)cc1F")
    order = np.random.default_rng(3).permutation(molecule.GetNumAtoms())
    shuffled = Chem.RenumberAtoms(molecule, order.tolist())
    smiles = [
        Chem.MolToSmiles(m, canonical=False, allHsExplicit=False) for m in (molecule, shuffled)
    ]
    places = [list(m.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"]) for m in (
        molecule, shuffled)]  # fmt: skip
    found = explain([model], describe(model.spec, smiles), smiles, assay=0)
    first, second = (np.zeros(len(order)) for _ in range(2))
    first[places[0]] = found[0].atoms
    second[order[places[1]]] = found[1].atoms
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert not np.allclose(found[0].atoms, found[1].atoms, atol=1e-3)


def planted() -> tuple[list[str], np.ndarray]:
    """Molecules that begin with a nitrile, which are hits, and with ethyl, which are none."""
    tails = ["CC", "C1CCCCC1", "c1ccccc1", "CCOC", "c1ccncc1", "CCNC", "CCSC", "C(=O)OC", "CCCl"]
    bodies = [middle + tail for tail in tails for middle in ("C", "CC", "CO")]
    smiles = [start + body for start in ("N#CC", "CCC") for body in bodies]
    return smiles, np.repeat([1.0, 0.0], len(bodies)).astype(np.float32)[:, None]


@pytest.mark.parametrize("name", ["graph", "morgan"])
def test_a_planted_group_carries_the_attribution(name: str) -> None:
    smiles, labels = planted()
    spec = dataclasses.replace(
        SPECS[name], assays=("nitrile",), mpnn=(("hidden", 16),), fingerprint=Fingerprint(2, 256)
    )
    described = describe(spec, smiles)
    task = make_task(spec)
    (batch,) = evaluation_batches(described, batch_size=len(smiles))
    rows = np.asarray(batch["index"])
    batch = {**batch, "labels": np.where(rows[..., None] >= 0, labels[rows], np.nan)}
    state = create_state(
        jax.random.key(0),
        task,
        tx := make_optimizer({"name": "adam", "learning_rate": 0.01}),
        batch,
    )
    step = make_train_step(task, tx, jax.local_devices()[:1])
    before = explain(
        [ActivityModel(spec, eval_variables(state))], described, smiles, assay=0, steps=32
    )
    for _ in range(100):
        state, _ = step(state, batch, jax.random.key(0))
    model = ActivityModel(spec, eval_variables(state))
    found = explain([model], described, smiles, assay=0, steps=32)
    shares = [
        [e.atoms[:2].sum() / np.abs(e.atoms).sum() for e in es[:27]] for es in (before, found)
    ]
    # The nitrile's two atoms carry most; an untrained network shows that this is no matter of size.
    assert np.mean(shares[1]) > 0.5 > 0.4 > np.mean(shares[0])
    assert np.min(shares[1]) > 0.3
    assert all(e.prediction > 0.5 for e in found[:27])


def test_bits_are_handed_down_to_their_atoms() -> None:
    smiles = "C[C@H](N)C(=O)OCCc1ccccc1"
    molecule = parse_molecule(smiles).molecule
    options = {"radius": 2, "size": 128, "chirality": True}
    found = bit_environments(molecule, **options)
    set_bits = np.flatnonzero(structure_fingerprints([smiles], **options).values[0])
    assert sorted(found) == set_bits.tolist()
    counts = structure_fingerprints([smiles], counts=True, **options).values[0]
    assert {bit: len(places) for bit, places in found.items()} == {
        bit: counts[bit] for bit in found
    }
    centres = [atoms for places in found.values() for atoms in places if len(atoms) == 1]
    assert sorted(centres) == [(i,) for i in range(molecule.GetNumAtoms())]
    values = np.random.default_rng(0).normal(size=128)
    atoms = share_among_atoms(found, values, molecule.GetNumAtoms())
    assert atoms.sum() == pytest.approx(values[set_bits].sum())
    # By hand: ethanol's bit of radius 1 around the middle atom belongs to all three atoms.
    by_hand = share_among_atoms(
        {3: [(0, 1, 2)], 5: [(0,), (1,)]}, np.array([0.0] * 3 + [6, 9, 4]), 4
    )
    np.testing.assert_allclose(by_hand, [2 + 2, 2 + 2, 2, 0])


def test_models_without_structures_and_empty_tables() -> None:
    spec = dataclasses.replace(
        GRAPH, representation="features_only", modalities=(Modality("mo", ("m",)),)
    )
    batch = {"valid": np.ones(1, bool), "features": np.ones((1, 1), np.float32)}
    zero = jnp.asarray(0)
    with pytest.raises(ValueError, match="representation 'features_only', at least one step"):
        integrated_gradients(spec, {}, batch, zero, zero)
    model, _ = untrained(GRAPH)
    assert explain([model], describe(GRAPH, ["nonsense"]), ["nonsense"], assay=0) == []
    assert largest_attribution([]) == 1.0


def test_several_models_are_averaged() -> None:
    (first, described), (second, _) = untrained(GRAPH, 0), untrained(GRAPH, 1)
    alone = [explain([model], described, SMILES, assay=0) for model in (first, second)]
    both = explain([first, second], described, SMILES, assay=0)
    for a, b, mean in zip(*alone, both, strict=True):
        np.testing.assert_allclose(mean.atoms, (a.atoms + b.atoms) / 2, rtol=1e-5, atol=1e-7)
        assert mean.prediction == pytest.approx((a.prediction + b.prediction) / 2, rel=1e-5)
        assert mean.error == pytest.approx((a.error + b.error) / 2, abs=1e-5)
