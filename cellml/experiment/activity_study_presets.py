"""Settings of studies by name, for `configs/activity_broad.py` and `activity_dissertation.py`.

A study has tables, predictors that are trained on each of their folds, fusions, and what stands for
what in the report; `cellml.experiment.activity_study` says what each entry means.
"""

from typing import Any

from ml_collections import ConfigDict

from cellml.experiment.activity_study import TASK

SMALL = ("model.members=1", "model.hidden=[8]", "train.epochs=1", "train.batch_size=32",
         "train.predict_batch_size=64", "train.log_every=1")  # fmt: skip

MATRIX = "broad270/assay_matrix_81of270_folds0-3.csv.gz"
DENSE = "broad270/broad6k_32assays_folds0-3.csv.gz"
TYPES = "broad270/assay_metadata_expanded.csv"


def broad() -> ConfigDict:
    """Structures alone: graph network, Morgan bits, similarities, their fusion, on two matrices.

    Returns:
      The config.
    """
    own_folds = {"column": "scaffold_fold"}
    joined = {"column": "scaffold_fold", "table": MATRIX, "smiles_column": "smiles"}
    config = _empty()
    config.tables = ConfigDict(
        {
            "broad81": {"path": MATRIX, "smiles_column": "smiles", "ignore": ("matrix_row",),
                        "types": TYPES, "folds": own_folds},
            "broad32": {"path": DENSE, "smiles_column": "smiles", "types": TYPES,
                        "folds": joined},
        }
    )  # fmt: skip
    config.predictors = ConfigDict(
        {
            # Five members of 40 epochs take five times as long, hours on two cores.
            "CS-GC": {"preset": "cellml", "changes": ("model.members=2", "train.epochs=24")},
            "CS-MF": {"preset": "morgan"},
            "CS-TK": {"preset": "tanimoto"},
        }
    )
    three = ("CS-GC", "CS-MF", "CS-TK")
    rules = ("maximum", "mean", "logit_mean", "stacking")
    pairs = {"GC+MF": ("CS-GC", "CS-MF"), "GC+TK": ("CS-GC", "CS-TK")}
    config.late = ConfigDict(
        {
            **{f"CS, {rule}": {"parts": three, "rule": rule} for rule in rules},
            **{name: {"parts": parts, "rule": "logit_mean"} for name, parts in pairs.items()},
        }
    )
    config.chosen = ConfigDict(
        {"CS, chosen": (*three, *pairs, *(f"CS, {rule}" for rule in rules if rule != "stacking"))}
    )
    config.best_of = ConfigDict(
        {"best of three": three, "best of three and fusion": (*three, "CS, logit_mean")}
    )
    config.report = ConfigDict(
        {
            "singles": {"GC": "CS-GC", "MF": "CS-MF", "TK": "CS-TK"},
            "late": {"GC+MF+TK": "CS, logit_mean", **{name: name for name in pairs}},
            "early": {},
            "statistic": "median",
        }
    )
    config.published = ConfigDict(
        {"CS-GC": "cp_es_op", "CS-MF": "cpcl_es_op", "CS, chosen": "cp_es_op"}
    )
    return config


def dissertation() -> ConfigDict:
    """Section 3.5: all 17 predictors, from a folder with a file of features a modality.

    Each training follows a search over width, depth, dropout and layers (20 trials of one network)
    and is an ensemble of eight, 30 epochs in batches of 50, on features as they are.

    Returns:
      The config.
    """
    config = _empty()
    config.tables = ConfigDict(
        {
            "assays": {
                "path": "assays.csv",
                "types": "assay_metadata.csv",
                "folds": {"column": "scaffold_fold"},
            }
        }
    )
    modalities = {"MO": "mo", "MO-BC": "mobc", "GE": "ge", "GE-S": "ges"}
    config.features = ConfigDict({name: f"{file}.csv" for name, file in modalities.items()})
    changes = ("model.members=8", "train.epochs=30", "data.scale_features=false")
    structure = {"preset": "chemprop_v1", "changes": changes, "trials": 20}
    profiles = {**structure, "structures": "none"}
    early = {
        "CS+GE": ("GE",), "CS+MO": ("MO-BC",), "GE+MO": ("GE", "MO-BC"),
        "CS+GE+MO": ("GE", "MO-BC"), "CS+MO (raw)": ("MO",), "GE+MO (raw)": ("GE", "MO"),
        "CS+GE+MO (raw)": ("GE", "MO"),
    }  # fmt: skip
    predictors: dict[str, dict[str, Any]] = {
        "CS-GC": structure,
        "CS-MF": {**structure, "structures": "morgan"},
        **{name: {**profiles, "features": (name,)} for name in modalities},
        **{
            f"{name}, early": {**(structure if "CS" in name else profiles), "features": features}
            for name, features in early.items()
        },
    }
    config.predictors = ConfigDict(predictors)
    single = {"CS": "CS-GC", "GE": "GE", "MO": "MO-BC"}
    sets = ("CS+GE", "CS+MO", "GE+MO", "CS+GE+MO")
    config.late = ConfigDict(
        {
            f"{name}, late": {
                "parts": tuple(single[part] for part in name.split("+")),
                "rule": "maximum",
            }
            for name in sets
        }
    )
    config.best_of = ConfigDict(
        {
            "best of the single ones": tuple(single.values()),
            "best of the single ones and late": (*single.values(), "CS+GE+MO, late"),
        }
    )
    config.report = ConfigDict(
        {
            "singles": single,
            "late": {name: f"{name}, late" for name in sets},
            "early": {name: f"{name}, early" for name in sets},
            "statistic": "median",
        }
    )
    config.published = ConfigDict(PUBLISHED)
    return config


PUBLISHED = {
    "CS-GC": "cp_es_op",
    "CS-MF": "cpcl_es_op",
    "MO": "mo_es_op",
    "MO-BC": "mobc_es_op",
    "GE": "ge_es_op",
    "GE-S": "ges_es_op",
    "CS+GE, early": "ge_cp_es_op",
    "CS+MO, early": "mobc_cp_es_op",
    "GE+MO, early": "ge_mobc_es_op",
    "CS+GE+MO, early": "ge_mobc_cp_es_op",
    "CS+MO (raw), early": "mo_cp_es_op",
    "GE+MO (raw), early": "ge_mo_es_op",
    "CS+GE+MO (raw), early": "ge_mo_cp_es_op",
    "CS+GE, late": "late_fusion_cs_ge",
    "CS+MO, late": "late_fusion_cs_mobc",
    "GE+MO, late": "late_fusion_ge_mobc",
    "CS+GE+MO, late": "late_fusion_cs_ge_mobc",
}
"""What the files of the study of 2023 call its 17 predictors."""


def _empty() -> ConfigDict:
    config = ConfigDict()
    config.task = TASK
    config.folder = ""  # where relative paths begin
    config.seeds = (0,)
    config.workers = 1
    config.baseline = True  # a logistic regression on Morgan bits beside the others
    for name in ("tables", "simulate", "features", "predictors", "late", "chosen", "best_of",
                 "report", "published"):  # fmt: skip
        config[name] = ConfigDict({})
    return config


def smoke(config: ConfigDict) -> ConfigDict:
    """Shrinks a study to seconds: a simulated screen, one fold, narrow networks, few predictors."""
    config.simulate = ConfigDict({"n_compounds": 90, "n_assays": 4})
    first = next(iter(config.tables))
    folds = {"split": "random", "number": 3, "holdout": ("0",)}
    config.tables = ConfigDict({first: {**config.tables[first].to_dict(), "folds": folds}})
    kept = {name for part in config.report.values() if isinstance(part, ConfigDict)
            for name in part.values()}  # fmt: skip
    early = [name for name in kept if name.endswith("early")]
    kept -= {name for name in early if name != "CS+MO, early"}
    late = {name: one for name, one in config.late.items()
            if name in kept or config.chosen}  # fmt: skip
    parts = {part for one in late.values() for part in one.parts}
    for name, one in list(config.predictors.items()):
        if name not in kept | parts:
            del config.predictors[name]
            continue
        if one.preset == "tanimoto":
            one.update(changes=("model.fingerprint.size=128", "kernel.sharings=[0,1]"))
            continue
        graph = one.preset != "morgan" and one.get("structures", "") in ("", "graph")
        own = 'model.mpnn={"hidden":8}' if graph else "model.fingerprint.size=64"
        one.update(changes=(*one.get("changes", ()), *SMALL, own), trials=0)
    if "CS+MO, early" in config.predictors:
        config.report.early = ConfigDict({"CS+MO": "CS+MO, early"})
    config.published = ConfigDict(
        {name: value for name, value in config.published.items()
         if name in {*config.predictors, *config.late, *config.chosen}}
    )  # fmt: skip
    return config
