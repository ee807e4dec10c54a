"""Chemprop's checkpoints (`.pt`, `.ckpt` of versions 1 and 2) into our parameter tree.

Strict: what our network does not compute is refused with its name, and so is every tensor that is
missing, left over or of another shape. Batch norm and the scaling of features, which are affine,
are folded or taken over.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cellml.models.mlp import ACTIVATIONS
from cellml.ops.molecule_features import PRESETS as FEATURES
from cellml.weights.torch_objects import Inert, read_torch_objects

NORM_EPSILON = 1e-5  # of PyTorch's batch norm
_KINDS = {"classification": "binary", "regression": "regression", "multiclass": "multiclass"}
_PREDICTORS = {
    "BinaryClassificationFFN": "binary",
    "RegressionFFN": "regression",
    "MulticlassClassificationFFN": "multiclass",
}
_AGGREGATIONS = {
    "MeanAggregation": "mean",
    "SumAggregation": "sum",
    "NormAggregation": "norm",
    "AttentiveAggregation": "attention",
}
_NOT_OURS = ("criterion.", "metrics.", "cached_zero_vector")  # tensors that predict nothing


class ChempropModel(NamedTuple):
    """A converted checkpoint.

    Attributes:
      version: 1 or 2, of Chemprop.
      kind: `binary`, `regression` or `multiclass`.
      assays: Names of the outputs, numbered if the checkpoint names none.
      n_classes: Of a multiclass model, else 0.
      preset: `chemprop_v1` or `chemprop_v2`, the features of atoms.
      mpnn: Fields of `cellml.models.mpnn.Mpnn`.
      head: Fields of `cellml.models.mlp.Mlp`: hidden, dropout, input_dropout, activation.
      n_features: Further features of a molecule, which stand behind its vector.
      network: Parameters of `cellml.models.mpnn.ActivityNet`.
      scales: feature_mean, feature_scale (if there are features), target_mean, target_scale.
    """

    version: int
    kind: str
    assays: tuple[str, ...]
    n_classes: int
    preset: str
    mpnn: dict[str, Any]
    head: dict[str, Any]
    n_features: int
    network: dict[str, Any]
    scales: dict[str, np.ndarray]


class _Settings(NamedTuple):
    """What both versions say in their own words."""

    version: int
    kind: str
    assays: tuple[str, ...]
    n_classes: int
    mpnn: dict[str, Any]
    dropout: float
    activation: str
    tensors: dict[str, np.ndarray]
    scales: dict[str, np.ndarray]


def read_chemprop(path: str | Path) -> ChempropModel:
    """Reads a checkpoint without PyTorch and without running anything in it.

    Args:
      path: Written by Chemprop 1 (`model.pt`) or 2 (`model.pt`, `best.ckpt`).

    Returns:
      The model; predictions are Chemprop's to rounding.

    Raises:
      FileNotFoundError: There is no such file.
      ValueError: It is no checkpoint of Chemprop, its model has parts that ours lacks, or tensors
        are missing, left over or of another shape; the message lists all.
    """
    found = read_torch_objects(path)
    if not isinstance(found, Mapping) or not isinstance(found.get("state_dict"), Mapping):
        raise ValueError(f"{path}: expected a checkpoint of Chemprop, found no state_dict")
    try:
        if "hyper_parameters" in found:
            return _converted(_version_2(found))
        if "args" in found:
            return _converted(_version_1(found))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        text = f"the entry {error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{path}: {text}") from error
    raise ValueError(f"{path}: expected a checkpoint of Chemprop, found neither args nor "
                     "hyper_parameters")  # fmt: skip


def _version_1(found: Mapping[str, Any]) -> _Settings:
    args = found["args"]
    said = args.state if isinstance(args, Inert) else dict(args)

    def refuse(name: str, expected: Any) -> None:
        if said.get(name, expected) not in (expected, None, False):
            raise ValueError(f"{name} is {said[name]!r}, expected {expected!r}: not supported")

    refuse("number_of_molecules", 1)
    for name in ("reaction", "reaction_solvent", "explicit_h", "is_atom_bond_targets"):
        refuse(name, False)
    for name in ("atom_descriptors", "bond_descriptors", "bond_features_path", "spectra"):
        refuse(name, None)
    kind = _looked_up(_KINDS, said["dataset_type"], "dataset type")
    if said.get("loss_function") in ("mve", "evidential", "quantile_interval", "dirichlet"):
        raise ValueError(f"loss_function {said['loss_function']!r} has other outputs: unsupported")
    tensors = {}
    for name, value in found["state_dict"].items():
        short = name.replace("encoder.encoder.0.", "").replace("encoder.encoder.", "")
        head, _, rest = short.partition(".")
        if head in ("ffn", "readout"):
            number, _, leaf = rest.partition(".")
            short = f"layer_{(int(number) - 1) // 3}.{leaf}"
        tensors[short] = value
    names = tuple(said.get("task_names") or ())
    scales = {}
    for ours, theirs in (("target", "data_scaler"), ("feature", "features_scaler")):
        scaler = found.get(theirs)
        if scaler is not None and (ours == "feature" or kind == "regression"):
            scales[f"{ours}_mean"] = np.asarray(scaler["means"], np.float32)
            scales[f"{ours}_scale"] = np.asarray(scaler["stds"], np.float32)
    return _Settings(
        1,
        kind,
        names,
        int(said.get("multiclass_num_classes") or 0) if kind == "multiclass" else 0,
        {
            "depth": int(said["depth"]),
            "dropout": float(said.get("dropout", 0.0)),
            "bias": bool(said.get("bias", False)),
            "messages": "atoms" if said.get("atom_messages") else "bonds",
            "undirected": bool(said.get("undirected", False)),
            "aggregation": said.get("aggregation", "mean"),
            "norm": float(said.get("aggregation_norm") or 100.0),
        },
        float(said.get("dropout", 0.0)),
        str(said.get("activation", "ReLU")).lower(),
        tensors,
        scales,
    )


def _version_2(found: Mapping[str, Any]) -> _Settings:
    parts = _entries(found["hyper_parameters"])
    passing, agg, predictor = (_entries(parts[k]) for k in ("message_passing", "agg", "predictor"))
    kind = _looked_up(_PREDICTORS, _class_name(predictor["cls"]), "predictor")
    messages = {"BondMessagePassing": "bonds", "AtomMessagePassing": "atoms"}
    for name in ("d_vd", "V_d_transform", "graph_transform"):
        if passing.get(name) is not None:
            raise ValueError(f"message_passing has {name}: further features of atoms or bonds are "
                             "not supported")  # fmt: skip
    tensors, scales = {}, {}
    for name, value in found["state_dict"].items():
        if name.startswith(("X_d_transform.", "predictor.output_transform.")):
            ours = "feature" if name.startswith("X") else "target"
            scales[f"{ours}_{name.rsplit('.', 1)[1]}"] = np.asarray(value, np.float32)[0]
            continue
        short = name.removeprefix("message_passing.").removeprefix("predictor.")
        if short.startswith("ffn."):
            _, layer, _, leaf = short.split(".")
            short = f"layer_{layer}.{leaf}"
        tensors[short] = value
    names = found.get("output_columns") or ()
    return _Settings(
        2,
        kind,
        tuple(str(name) for name in names),
        int(predictor["n_classes"]) if kind == "multiclass" else 0,
        {
            "depth": int(passing["depth"]),
            "dropout": float(passing["dropout"]),
            "bias": bool(passing["bias"]),
            "messages": _looked_up(messages, _class_name(passing["cls"]), "message passing"),
            "undirected": bool(passing["undirected"]),
            "aggregation": _looked_up(_AGGREGATIONS, _class_name(agg["cls"]), "aggregation"),
            "norm": float(agg.get("norm", 100.0)),
            "activation": _activation(passing["activation"]),
        },
        float(predictor["dropout"]),
        _activation(predictor["activation"]),
        tensors,
        scales,
    )


def _converted(said: _Settings) -> ChempropModel:
    tensors = {
        name: np.asarray(value, np.float32)
        for name, value in said.tensors.items()
        if not any(part in name for part in _NOT_OURS)
    }
    n_layers = sum(1 for name in tensors if name.startswith("layer_") and name.endswith(".weight"))
    mpnn = {"hidden": int(tensors["W_o.bias"].shape[0]), **said.mpnn}
    mpnn.setdefault("activation", said.activation)
    for name in (mpnn["activation"], said.activation):
        _looked_up(ACTIVATIONS, name, "activation")
    preset = _preset(tensors, mpnn)
    widths = [int(tensors[f"layer_{i}.weight"].shape[0]) for i in range(n_layers)]
    n_features = int(tensors["layer_0.weight"].shape[1]) - mpnn["hidden"]
    expected = _expected(preset, mpnn, widths, n_features)
    norm = {name: tensors.pop(name) for name in list(tensors) if name.startswith("bn.")}
    _check(expected, {name: value.shape for name, value in tensors.items()})
    if norm:
        _fold(tensors, norm, mpnn["hidden"])
    per_assay = max(said.n_classes, 1)
    n_assays, rest = divmod(widths[-1], per_assay)
    if rest or (said.assays and len(said.assays) != n_assays):
        raise ValueError(f"{widths[-1]} outputs for {len(said.assays)} tasks of {per_assay} values")
    return ChempropModel(
        said.version,
        said.kind,
        said.assays or tuple(f"task_{i}" for i in range(n_assays)),
        said.n_classes,
        preset,
        mpnn,
        {
            "hidden": tuple(widths[:-1]),
            "dropout": said.dropout,
            "input_dropout": said.dropout if said.version == 1 else 0.0,
            "activation": said.activation,
        },
        n_features,
        _tree(tensors, n_layers),
        _scales(said.scales, n_features, n_assays),
    )


def _preset(tensors: Mapping[str, np.ndarray], mpnn: Mapping[str, Any]) -> str:
    """The features of atoms, by the width of the layer that reads them."""
    width = int(tensors["W_o.weight"].shape[1]) - mpnn["hidden"]
    for name, preset in FEATURES.items():
        if preset.atom_size == width:
            return name
    known = ", ".join(f"{p.atom_size} ({name})" for name, p in FEATURES.items())
    raise ValueError(f"{width} features an atom, expected {known}")


def _expected(
    preset: str, mpnn: Mapping[str, Any], widths: list[int], n_features: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors."""
    h, atom, bond = mpnn["hidden"], FEATURES[preset].atom_size, FEATURES[preset].bond_size
    on_bonds = mpnn["messages"] == "bonds"
    shapes: dict[str, tuple[int, ...]] = {
        "W_i.weight": (h, atom + bond if on_bonds else atom),
        "W_h.weight": (h, h if on_bonds else h + bond),
        "W_o.weight": (h, atom + h),
        "W_o.bias": (h,),
    }
    if mpnn["bias"]:
        shapes |= {"W_i.bias": (h,), "W_h.bias": (h,)}
    if mpnn["aggregation"] == "attention":
        shapes |= {"agg.W.weight": (1, h), "agg.W.bias": (1,)}
    for i, (before, after) in enumerate(zip([h + n_features, *widths], widths, strict=False)):
        shapes |= {f"layer_{i}.weight": (after, before), f"layer_{i}.bias": (after,)}
    return shapes


def _check(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> None:
    faults = [f"{name} is missing" for name in expected if name not in found]
    faults += [f"{name} is left over" for name in found if name not in expected]
    faults += [
        f"{name} has shape {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if faults:
        raise ValueError("; ".join(faults))


def _fold(tensors: dict[str, np.ndarray], norm: Mapping[str, np.ndarray], hidden: int) -> None:
    """Batch norm of the molecule's vector goes into the layer that reads it."""
    scale = norm["bn.weight"] / np.sqrt(norm["bn.running_var"] + NORM_EPSILON)
    shift = norm["bn.bias"] - norm["bn.running_mean"] * scale
    kernel = tensors["layer_0.weight"].copy()
    tensors["layer_0.bias"] = tensors["layer_0.bias"] + kernel[:, :hidden] @ shift
    kernel[:, :hidden] *= scale[None, :]
    tensors["layer_0.weight"] = kernel


def _tree(tensors: Mapping[str, np.ndarray], n_layers: int) -> dict[str, Any]:
    places = {"W_i": "input", "W_h": "message", "W_o": "output", "agg.W": "attention"}
    tree: dict[str, Any] = {"mpnn": {}, "head": {}}
    for name, value in tensors.items():
        layer, _, leaf = name.rpartition(".")
        part = tree["head" if layer.startswith("layer_") else "mpnn"]
        ours = part.setdefault(places.get(layer, layer), {})
        ours["kernel" if leaf == "weight" else "bias"] = value.T if leaf == "weight" else value
    assert len(tree["head"]) == n_layers
    return tree


def _scales(
    found: Mapping[str, np.ndarray], n_features: int, n_assays: int
) -> dict[str, np.ndarray]:
    scales = {}
    sizes = {"feature": n_features, "target": n_assays}
    for part, size in ((part, size) for part, size in sizes.items() if size):
        for leaf, default in (("mean", 0.0), ("scale", 1.0)):
            name = f"{part}_{leaf}"
            scales[name] = np.asarray(found.get(name, np.full(size, default)), np.float32)
            if scales[name].shape != (size,):
                raise ValueError(f"{name} has shape {scales[name].shape}, expected ({size},)")
    return scales


def _entries(part: Any) -> dict[str, Any]:
    """Settings of a part: a dictionary, or an object that acts as one."""
    if isinstance(part, Inert):
        return {**part.state, **part.items}
    return dict(part)


def _class_name(thing: Any) -> str:
    name = getattr(thing, "name", None) or getattr(thing, "__name__", str(thing))
    return str(name).rsplit(".", 1)[-1]


def _activation(thing: Any) -> str:
    """A name, a member of Chemprop's enumeration, or a module of PyTorch."""
    if isinstance(thing, str):
        return thing.lower()
    if isinstance(thing, Inert) and thing.name.endswith("Activation"):
        return str(thing.arguments[0]).lower()
    return _class_name(thing).lower()


def _looked_up(known: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in known:
        raise ValueError(f"{what} {name!r} is not supported, expected one of {', '.join(known)}")
    return known[name]
