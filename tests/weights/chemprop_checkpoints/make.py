"""Makes the checkpoints of this folder with Chemprop itself; run by hand, no test does.

    ENVIRONMENT/bin/python tests/weights/chemprop_checkpoints/make.py 2    # with chemprop==2.3.1
    ENVIRONMENT/bin/python tests/weights/chemprop_checkpoints/make.py 1    # 1.6.1, numpy<2

Each model has 8 hidden units and two tasks, and was trained for a few steps, so that no part of it
is as it was initialised. `version_<n>.csv` is what Chemprop's model says of `SMILES`.
"""

import csv
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SMILES = ("CC(=O)Oc1ccccc1C(=O)O", "[Na+].[Cl-]", "C", "N#Cc1ccc(F)cc1", "C[C@H](N)C(=O)O",
          "C/C=C/c1ccc2[nH]cnc2c1", "O=S(=O)(N)c1ccc(Br)cc1")  # fmt: skip
TRAINING = ("CCO", "CCN", "CCC", "CCCl", "c1ccccc1", "c1ccncc1", "Oc1ccccc1", "Nc1ccccc1",
            "CC(=O)O", "CC(N)=O", "CC#N", "CCS", "C1CCCCC1", "C1CCNCC1", "C1CCOCC1", "OCCO",
            "NCCN", "FC(F)F", "BrCCBr", "CCOC(C)=O")  # fmt: skip
TASKS = ("nitrogen", "oxygen")
HITS = [[float("N" in s.upper()), float("O" in s.upper())] for s in TRAINING]


def version_2():
    """Batch norm, aggregation "norm", depth 4; the checkpoint as `save_model` writes it."""
    import torch  # type: ignore[import-not-found]
    from chemprop import data, featurizers, models, nn  # type: ignore[import-not-found]
    from chemprop.models.utils import save_model  # type: ignore[import-not-found]

    torch.manual_seed(0)
    model = models.MPNN(
        nn.BondMessagePassing(d_h=8, depth=4),
        nn.NormAggregation(),
        nn.BinaryClassificationFFN(n_tasks=2, input_dim=8, hidden_dim=8),
        batch_norm=True,
    )

    def graphs(smiles):
        points = [data.MoleculeDatapoint.from_smi(s) for s in smiles]
        featurizer = featurizers.SimpleMoleculeMolGraphFeaturizer()
        return data.collate_batch(list(data.MoleculeDataset(points, featurizer))).bmg

    def logits(smiles):
        return model.predictor.train_step(model.fingerprint(graphs(smiles)))

    fit(torch, model, logits, 60)
    save_model(FOLDER / "version_2.pt", model, list(TASKS))
    with torch.no_grad():
        return model(graphs(SMILES)).numpy()


def version_1():
    """The defaults at depth 4; the checkpoint as `save_checkpoint` writes it."""
    import torch  # type: ignore[import-not-found]
    from chemprop.args import TrainArgs  # type: ignore[import-not-found]
    from chemprop.models import MoleculeModel  # type: ignore[import-not-found]
    from chemprop.utils import save_checkpoint  # type: ignore[import-not-found]

    torch.manual_seed(0)
    args = TrainArgs().parse_args(
        ["--data_path", "train.csv", "--dataset_type", "classification", "--hidden_size", "8",
         "--ffn_hidden_size", "8", "--depth", "4", "--no_cuda"]
    )  # fmt: skip
    args.task_names = list(TASKS)
    model = MoleculeModel(args)

    def logits(smiles):
        return model([[s] for s in smiles])

    fit(torch, model, logits, 30)
    save_checkpoint(str(FOLDER / "version_1.pt"), model, args=args)
    model.eval()
    with torch.no_grad():
        return model([[s] for s in SMILES]).numpy()  # probabilities, when not training


def fit(torch, model, logits, steps):
    """A few steps of Adam on what is easily seen in a molecule."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits(TRAINING), torch.tensor(HITS)
        )
        loss.backward()
        optimizer.step()
    model.eval()


def main(version):
    """Writes the checkpoint and the probabilities."""
    found = {"1": version_1, "2": version_2}[version]()
    with (FOLDER / f"version_{version}.csv").open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["smiles", *TASKS])
        lines.writerows([s, *map(repr, row.tolist())] for s, row in zip(SMILES, found, strict=True))


if __name__ == "__main__":
    main(sys.argv[1])
