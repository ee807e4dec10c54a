"""Tanimoto similarity: against RDKit, against loops, and packing changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator

from cellml.data.fingerprints import structure_fingerprints
from cellml.experiment.activity_kernel import similarities
from cellml.ops.kernel_machine import kernel_machine, levels_of, tanimoto, unpack

SMILES = ["CCO", "CCCCCCO", "c1ccccc1C(=O)O", "CC(C)(C)c1ccc(O)cc1", "C", "O=S(=O)(N)c1ccccc1"]
SIZE = 203  # no multiple of eight


def pairs(values: np.ndarray, n_levels: int) -> np.ndarray:
    others = unpack(jnp.asarray(levels_of(values, n_levels)), values.shape[1])
    return np.asarray(jax.jit(tanimoto)(jnp.asarray(values, jnp.float32), others))


@pytest.mark.parametrize("counts", [False, True])
def test_similarity_is_rdkits(counts: bool) -> None:
    values = structure_fingerprints(SMILES, size=2048, counts=counts).values
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    mols = [Chem.MolFromSmiles(text) for text in SMILES]
    theirs = [make.GetCountFingerprint(m) if counts else make.GetFingerprint(m) for m in mols]
    expected = [[DataStructs.TanimotoSimilarity(a, b) for b in theirs] for a in theirs]
    found = pairs(values, int(values.max()))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[0, 1] != found[1, 4]


def test_counts_above_the_levels_count_as_the_highest() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 7, (5, SIZE)).astype(np.uint8)
    capped = np.minimum(values, 4).astype(np.int64)
    expected = [[np.minimum(a, b).sum() / np.maximum(a, b).sum() for b in capped] for a in capped]
    np.testing.assert_allclose(pairs(values, 4), expected, atol=1e-6)
    np.testing.assert_allclose(np.diag(pairs(values, 4)), 1, atol=1e-6)


def test_the_similarity_of_several_fingerprints_is_the_mean_of_theirs() -> None:
    rng = np.random.default_rng(5)
    values = rng.integers(0, 4, (5, 3 * 24)).astype(np.uint8)
    values[:, 24:] *= rng.integers(0, 2, (5, 48)).astype(np.uint8)  # sparser than the first
    levels = unpack(jnp.asarray(levels_of(values, 3)), 72)
    found = tanimoto(jnp.asarray(values, jnp.float32), levels, parts=3)
    each = [pairs(values[:, i : i + 24], 3) for i in (0, 24, 48)]
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-6)
    assert np.abs(found - pairs(values, 3)).max() > 0.003
    np.testing.assert_allclose(similarities(values, 3, 3), found, atol=1e-6)


def test_empty_fingerprints_are_like_nothing() -> None:
    values = np.zeros((2, 16), np.uint8)
    values[1, 3] = 1
    np.testing.assert_array_equal(pairs(values, 1), [[0, 0], [0, 1]])


def test_a_machine_is_weights_times_similarity_and_has_finite_gradients() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, (6, SIZE)).astype(np.uint8)
    weights = rng.normal(size=(6, 3)).astype(np.float32)
    offset = np.array([1.0, -2.0, 0.5], np.float32)
    machine = {"compounds": jnp.asarray(levels_of(values, 1)), "weights": jnp.asarray(weights),
               "offset": jnp.asarray(offset)}  # fmt: skip
    mine = jnp.asarray(values[:4], jnp.float32)
    found = kernel_machine(machine, mine)
    np.testing.assert_allclose(found, pairs(values, 1)[:4] @ weights + offset, rtol=1e-5)
    slope = jax.grad(lambda x: kernel_machine(machine, x)[0, 1])(mine)
    assert np.isfinite(slope).all()
    assert np.abs(slope[0]).max() > 0
    assert not np.asarray(slope[1:]).any()
