"""Weights files: round trip, half precision, atomicity, damage."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from cellml.weights import registry
from cellml.weights.store import file_sha256, load_weights, save_weights

KERNEL = "params/conv/kernel"
TREE = {
    "params": {"conv": {"kernel": np.arange(12, dtype=np.float32).reshape(3, 4) / 7}},
    "batch_stats": {"count": np.array([3, 4], np.int32)},
}


def test_round_trip_keeps_values_structure_and_description(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model.safetensors"
    save_weights(path, TREE, {"kind": "test", "n": [1, 2]})
    tree, description = load_weights(path)
    np.testing.assert_array_equal(
        np.asarray(tree["params"]["conv"]["kernel"]), TREE["params"]["conv"]["kernel"]
    )
    assert tree["batch_stats"]["count"].dtype == jnp.int32
    assert description == {"kind": "test", "n": [1, 2]}
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


def test_equal_trees_are_equal_bytes_that_the_library_reads(tmp_path: Path) -> None:
    tree = {**TREE, "a": {"small": np.array([True, False, True]), "half": np.ones(3, np.float16)}}
    path, seen = tmp_path / "model.safetensors", set()
    for _ in range(12):  # the library's writer is equal to itself in one of six calls
        save_weights(path, tree, {"kind": "test", "name": "\u00b5m"})
        seen.add(path.read_bytes())
    assert len(seen) == 1
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()["format"] == "cellml"
        assert sorted(file.keys()) == ["a/half", "a/small", "batch_stats/count", KERNEL]
        assert file.get_tensor("a/small").tolist() == [True, False, True]
        np.testing.assert_array_equal(file.get_tensor(KERNEL), TREE["params"]["conv"]["kernel"])
    assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0  # arrays are aligned


def test_half_halves_the_file_and_loads_as_float32(tmp_path: Path) -> None:
    tree = {"params": {"w": np.linspace(-1, 1, 40_000, dtype=np.float32)}}
    save_weights(tmp_path / "a.safetensors", tree, {})
    save_weights(tmp_path / "b.safetensors", tree, {}, half=True)
    sizes = [(tmp_path / name).stat().st_size for name in ("a.safetensors", "b.safetensors")]
    assert sizes[1] < 0.51 * sizes[0]
    loaded, _ = load_weights(tmp_path / "b.safetensors")
    assert loaded["params"]["w"].dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(loaded["params"]["w"]), tree["params"]["w"], atol=5e-4)


def test_missing_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_weights(path)
    save_weights(path, TREE, {})
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"model\.safetensors: expected a cellml weights file"):
        load_weights(path)
    save_file({"x": np.zeros(3, np.float32)}, path)
    with pytest.raises(ValueError, match="not one written by cellml"):
        load_weights(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(path, TREE, {"version": 1})
    before = file_sha256(path)
    with pytest.raises(TypeError):
        save_weights(path, TREE, {"not": object()})
    assert file_sha256(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("name", sorted(registry.MODELS))
def test_shipped_models_are_the_released_files(name: str) -> None:
    path = registry.shipped_path(name)
    assert path.stat().st_size < 16_000_000


def test_a_changed_shipped_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    name = next(iter(registry.MODELS))
    wrong = registry.MODELS[name]._replace(sha256="0" * 64)
    monkeypatch.setitem(registry.MODELS, name, wrong)
    with pytest.raises(ValueError, match="expected SHA-256 0000"):
        registry.shipped_path(name)
