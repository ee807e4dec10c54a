"""Chemprop's checkpoints: converted, refused, and never run.

Files are written here as `torch.save` writes them. On real checkpoints of Chemprop 2.3.1 (binary,
regression with features, batch norm and attention, multiclass, and version 1) the predictions of
1,000 molecules agreed to 3e-7.
"""

import argparse
import functools
import pickle
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from cellml.data.graph_batching import pack_graphs
from cellml.data.graph_budgets import GraphBudget
from cellml.data.molecules import read_molecules
from cellml.ops.graph_batches import graphs_of
from cellml.ops.molecule_features import expand_atoms, expand_bonds
from cellml.tasks.activity import predict
from cellml.tasks.activity_models import load_activity
from cellml.weights.chemprop import read_chemprop
from cellml.weights.torch_objects import Inert, read_torch_objects
from tests.weights.torch_pickles import Tensor, foreign, save

H, WIDTH = 6, 5
SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "[Na+].[Cl-]", "C", "N#Cc1ccc(F)cc1"]


def numbers(seed: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) * 0.4 for name, shape in shapes.items()}


def tensors(values: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: Tensor(value) for name, value in values.items()}


def version_2() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A binary model with two features, batch norm and scaling."""
    weights = numbers(
        0,
        {
            "message_passing.W_i.weight": (H, 86),
            "message_passing.W_h.weight": (H, H),
            "message_passing.W_o.weight": (H, 72 + H),
            "message_passing.W_o.bias": (H,),
            "bn.weight": (H,),
            "bn.bias": (H,),
            "bn.running_mean": (H,),
            "bn.running_var": (H,),
            "predictor.ffn.0.0.weight": (WIDTH, H + 2),
            "predictor.ffn.0.0.bias": (WIDTH,),
            "predictor.ffn.1.2.weight": (3, WIDTH),
            "predictor.ffn.1.2.bias": (3,),
            "X_d_transform.mean": (1, 2),
            "X_d_transform.scale": (1, 2),
        },
    )
    weights["bn.running_var"] = np.abs(weights["bn.running_var"]) + 0.5
    weights["X_d_transform.scale"] = np.abs(weights["X_d_transform.scale"]) + 0.5
    criterion = numbers(1, {"predictor.criterion.task_weights": (1, 3), "metrics.0.x": (1,)})
    passing = {
        "cls": foreign("chemprop.nn.message_passing.base.BondMessagePassing"),
        "depth": 4, "dropout": 0.1, "bias": False, "undirected": False, "d_vd": None,
        "activation": "RELU", "d_v": 72, "d_e": 14, "d_h": H,
    }  # fmt: skip
    predictor = {
        "cls": foreign("chemprop.nn.predictors.BinaryClassificationFFN"),
        "n_tasks": 3, "dropout": 0.2, "activation": "tanh",
        "criterion": foreign("chemprop.nn.metrics.BCELoss")(),
    }  # fmt: skip
    agg = {"cls": foreign("chemprop.nn.agg.NormAggregation"), "dim": 0, "norm": 20.0}
    found = {
        "hyper_parameters": {"message_passing": passing, "agg": agg, "predictor": predictor},
        "state_dict": tensors(weights | criterion),
        "output_columns": ["a", "b", "c"],
    }
    return found, weights


def version_1() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A regression model with a scaler of the targets."""
    weights = numbers(
        2,
        {
            "encoder.encoder.0.cached_zero_vector": (H,),
            "encoder.encoder.0.W_i.weight": (H, 147),
            "encoder.encoder.0.W_h.weight": (H, H),
            "encoder.encoder.0.W_o.weight": (H, 133 + H),
            "encoder.encoder.0.W_o.bias": (H,),
            "ffn.1.weight": (WIDTH, H),
            "ffn.1.bias": (WIDTH,),
            "ffn.4.weight": (2, WIDTH),
            "ffn.4.bias": (2,),
        },
    )
    args = argparse.Namespace(
        dataset_type="regression", task_names=["p", "q"], depth=3, dropout=0.0, bias=False,
        atom_messages=False, undirected=False, aggregation="mean", activation="ReLU",
        number_of_molecules=1, reaction=False,
    )  # fmt: skip
    found = {
        "args": args,
        "state_dict": tensors(weights),
        "data_scaler": {"means": np.array([1.0, -2.0]), "stds": np.array([3.0, 0.5])},
        "features_scaler": None,
    }
    return found, weights


def vectors(weights: dict[str, np.ndarray], preset: str, depth: int) -> list[np.ndarray]:
    """Vectors of the atoms of each molecule, bond by bond, as the definition says."""
    molecules = read_molecules(SMILES).molecules
    budget = GraphBudget(64, 96, len(SMILES) + 1)
    graphs = graphs_of(pack_graphs(molecules, np.arange(4)[None], budgets=[budget], extras={}))
    atoms, bonds = expand_atoms(graphs.nodes, preset), expand_bonds(graphs.edges, preset)
    v, e = np.asarray(atoms, np.float64), np.asarray(bonds, np.float64)
    senders, receivers = np.asarray(graphs.senders), np.asarray(graphs.receivers)
    real = range(int(graphs.n_edge[:4].sum()))
    w_i, w_h, w_o, b_o = weights["W_i"], weights["W_h"], weights["W_o"], weights["b_o"]
    start = {i: w_i @ np.concatenate([v[senders[i]], e[i]]) for i in real}
    h = {i: np.maximum(x, 0) for i, x in start.items()}
    for _ in range(depth - 1):
        heard = {
            i: sum((h[j] for j in real if receivers[j] == senders[i] and j != i ^ 1), np.zeros(H))
            for i in real
        }
        h = {i: np.maximum(start[i] + w_h @ heard[i], 0) for i in real}
    ends = np.cumsum(np.asarray(graphs.n_node)[:4])
    found = []
    for first, last in zip([0, *ends[:-1]], ends, strict=True):
        into = [
            sum((h[j] for j in real if receivers[j] == a), np.zeros(H)) for a in range(first, last)
        ]
        pairs = zip(v[first:last], into, strict=True)
        found.append(np.array([np.maximum(w_o @ np.concatenate(p) + b_o, 0) for p in pairs]))
    return found


def predicted(path: Path, features: np.ndarray | None = None) -> np.ndarray:
    model = load_activity(path)
    molecules = read_molecules(SMILES).molecules
    extras = {} if features is None else {"features": features}
    budget = GraphBudget(64, 96, len(SMILES) + 1)
    batch = pack_graphs(molecules, np.arange(4)[None], budgets=[budget], extras=extras)
    run = jax.jit(functools.partial(predict, model.spec))
    return np.asarray(run(model.variables, batch))[: len(SMILES)]


def test_version_2_with_batch_norm_and_scaled_features(tmp_path: Path) -> None:
    found, w = version_2()
    short = {
        "W_i": w["message_passing.W_i.weight"], "W_h": w["message_passing.W_h.weight"],
        "W_o": w["message_passing.W_o.weight"], "b_o": w["message_passing.W_o.bias"],
    }  # fmt: skip
    features = np.random.default_rng(5).normal(size=(4, 2)).astype(np.float32)
    logits = []
    for atoms, x in zip(vectors(short, "chemprop_v2", 4), features, strict=True):
        z = atoms.sum(0) / 20.0
        z = (z - w["bn.running_mean"]) / np.sqrt(w["bn.running_var"] + 1e-5)
        z = z * w["bn.weight"] + w["bn.bias"]
        x = (x - w["X_d_transform.mean"][0]) / w["X_d_transform.scale"][0]
        y = w["predictor.ffn.0.0.weight"] @ np.concatenate([z, x]) + w["predictor.ffn.0.0.bias"]
        logits.append(w["predictor.ffn.1.2.weight"] @ np.tanh(y) + w["predictor.ffn.1.2.bias"])
    path = save(tmp_path / "model.pt", found)
    model = load_activity(path)
    assert model.spec.assays == ("a", "b", "c")
    assert dict(model.spec.mpnn)["dropout"] == 0.1
    assert model.spec.dropout == 0.2
    got = predicted(path, features)
    np.testing.assert_allclose(np.log(got / (1 - got)), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("head", ["ffn", "readout"])
def test_version_1_with_scaled_targets(tmp_path: Path, head: str) -> None:
    found, w = version_1()
    found["state_dict"] = {k.replace("ffn", head): v for k, v in found["state_dict"].items()}
    start = "encoder.encoder.0."
    short = {
        "W_i": w[f"{start}W_i.weight"], "W_h": w[f"{start}W_h.weight"],
        "W_o": w[f"{start}W_o.weight"], "b_o": w[f"{start}W_o.bias"],
    }  # fmt: skip
    values = []
    for atoms in vectors(short, "chemprop_v1", 3):
        y = np.maximum(w["ffn.1.weight"] @ atoms.mean(0) + w["ffn.1.bias"], 0)
        values.append((w["ffn.4.weight"] @ y + w["ffn.4.bias"]) * [3.0, 0.5] + [1.0, -2.0])
    got = predicted(save(tmp_path / "model.pt", found))
    np.testing.assert_allclose(got, values, rtol=1e-4, atol=1e-4)


def test_what_ours_lacks_is_refused_by_name(tmp_path: Path) -> None:
    def refused(found: dict[str, Any], text: str) -> None:
        with pytest.raises(ValueError, match=text):
            read_chemprop(save(tmp_path / "model.pt", found))

    found, _ = version_2()
    del found["state_dict"]["message_passing.W_h.weight"]
    found["state_dict"]["more"] = Tensor(np.zeros(2))
    refused(found, "model.pt: W_h.weight is missing; more is left over")
    found, _ = version_2()
    found["state_dict"]["more"] = Tensor(np.zeros(2))
    found["state_dict"]["message_passing.W_h.weight"] = Tensor(np.zeros((H, H + 1)))
    refused(found, r"more is left over; W_h.weight has shape \(6, 7\), expected \(6, 6\)")
    found, _ = version_2()
    found["hyper_parameters"]["predictor"]["cls"] = foreign("chemprop.nn.predictors.EvidentialFFN")
    refused(found, "predictor 'EvidentialFFN' is not supported")
    found, _ = version_2()
    found["state_dict"]["message_passing.W_o.weight"] = Tensor(np.zeros((H, 44 + H)))
    refused(found, r"44 features an atom, expected 133 \(chemprop_v1\)")
    found, _ = version_1()
    found["args"].reaction = True
    refused(found, "reaction is True, expected False")
    found, _ = version_1()
    found["args"].activation = "PReLU"
    refused(found, "activation 'prelu' is not supported")
    refused({"weights": 3}, "found no state_dict")


class Runs:
    """Pickles as a call that would be seen."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    import os

    trace = tmp_path / "trace"
    path = save(tmp_path / "model.pt", {"x": Runs(os.mkdir, str(trace)), "y": Runs(eval, "1 / 0")})
    found = read_torch_objects(path)
    assert not trace.exists()
    assert isinstance(found["x"], Inert)
    assert (found["x"].name.split(".")[-1], found["x"].arguments) == ("mkdir", (str(trace),))
    assert found["y"].name == "__builtin__.eval"


def test_damaged_files_say_so(tmp_path: Path) -> None:
    whole = save(tmp_path / "model.pt", version_2()[0]).read_bytes()
    cut = tmp_path / "cut.pt"
    cut.write_bytes(whole[:300])
    with pytest.raises(ValueError, match=r"cut.pt: damaged: the end of the checkpoint"):
        read_torch_objects(cut)
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match="a zip archive"):
        read_torch_objects(plain)
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        read_torch_objects(tmp_path / "none.pt")
