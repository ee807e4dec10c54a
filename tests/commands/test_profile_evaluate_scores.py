"""`cellml profile evaluate`: each score against loops, and what was left out or filled in."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from cellml.commands.profile_evaluate import EvaluateOptions, run
from cellml.metrics.replicates import replicate_reproducibility
from cellml.metrics.sweep import LAMBDAS
from cellml.profiling.aggregate import group_codes
from tests.metrics import retrieval_oracles as oracles

CONTROL = "Metadata_dose == 0"
NAMES = [f"f{i}" for i in range(6)]


def screen(seed: int = 0) -> pd.DataFrame:
    """Two plates; 5 compounds of 2 mechanisms at 2 doses, the others unknown; 6 controls each."""
    rng = np.random.default_rng(seed)
    mechanism = rng.normal(size=(2, 6)) * 2
    rows = []
    for plate in range(2):
        for well in range(20):
            compound, dose = well % 7, 1 + well // 7
            treated = well < 14
            moa = {0: 0, 1: 0, 2: 1, 3: 1, 4: 0}.get(compound) if treated else None
            features = rng.normal(size=6) + plate * 0.5
            features = features + (0 if moa is None else mechanism[moa] * dose / 2)
            rows.append(
                {
                    "Metadata_Plate": f"00{plate}",
                    "Metadata_Well": f"A{well + 1:02d}",
                    "Metadata_compound": f"c{compound}" if treated else "DMSO",
                    "Metadata_dose": f"{dose}.0" if treated else "0.000",
                    "Metadata_moa": "" if moa is None else f"moa{moa}",
                    **dict(zip(NAMES, features, strict=True)),
                }
            )
    return pd.DataFrame(rows)


def evaluated(tmp_path: Path, table: pd.DataFrame, **options) -> dict:
    path = tmp_path / "wells.csv"
    table.to_csv(path, index=False)
    given = {"control": CONTROL, "treatment_column": "Metadata_compound@Metadata_dose", **options}
    return run(EvaluateOptions([str(path)], **given), Console(quiet=True))


def treatments(table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Means of the labelled treatments, and cosine similarities."""
    kept = table[table.Metadata_moa != ""]
    keys = ["Metadata_compound", "Metadata_dose", "Metadata_moa"]
    means = kept.groupby(keys, as_index=False)[NAMES].mean()
    unit = means[NAMES].to_numpy()
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    return means, unit @ unit.T


def test_doses_joined_to_treatments_and_the_nearest_of_another_compound(tmp_path):
    table = screen()
    found = evaluated(tmp_path, table, compound_column="Metadata_compound")
    assert found["n_controls"] == 12
    means, similarity = treatments(table)
    assert found["n_profiles"] == len(means) == 10
    right = 0
    for i in range(10):
        others = [j for j in range(10) if means.Metadata_compound[j] != means.Metadata_compound[i]]
        best = max(others, key=lambda j: similarity[i, j])
        right += means.Metadata_moa[best] == means.Metadata_moa[i]
    assert found["nsc_1nn"] == {
        "accuracy": right / 10, "n_right": right, "n_queries": 10, "n_answerable": 10,
        "accuracy_answerable": right / 10,
    }  # fmt: skip


def test_the_nearest_of_another_compound_and_batch(tmp_path):
    table = screen()
    table = table[(table.Metadata_compound != "c2") | (table.Metadata_Plate == "000")]
    table = table[(table.Metadata_compound != "c3") | (table.Metadata_Plate == "000")]
    found = evaluated(tmp_path, table, compound_column="Metadata_compound")
    kept = table[table.Metadata_moa != ""].reset_index(drop=True)  # one well a treatment and plate
    unit = kept[NAMES].to_numpy() / np.linalg.norm(kept[NAMES], axis=1, keepdims=True)
    right = answerable = 0
    for i, mine in kept.iterrows():
        others = kept[
            (kept.Metadata_compound != mine.Metadata_compound)
            & (kept.Metadata_Plate != mine.Metadata_Plate)
        ].index
        best = max(others, key=lambda j: unit[i] @ unit[j])
        right += kept.Metadata_moa[best] == mine.Metadata_moa
        answerable += (kept.Metadata_moa[others] == mine.Metadata_moa).any()
    # moa1 is on one plate only: nobody of another batch shares it
    assert answerable == len(kept) - 4
    assert found["nscb_1nn"] == {
        "accuracy": right / len(kept), "n_right": right, "n_queries": len(kept),
        "n_answerable": answerable, "accuracy_answerable": right / answerable,
    }  # fmt: skip
    alone = evaluated(tmp_path, table[table.Metadata_Plate == "000"])
    assert alone["nscb_1nn"] is None
    assert "--batch-column" in alone["how"]["nscb_1nn"]


def test_labels_at_the_level_of_wells_never_count_the_own_treatment(tmp_path):
    table = screen()
    found = evaluated(tmp_path, table, level="well", label_column="Metadata_moa")
    kept = table[table.Metadata_moa != ""].reset_index(drop=True)
    name = kept.Metadata_compound + kept.Metadata_dose
    unit = kept[NAMES].to_numpy() / np.linalg.norm(kept[NAMES], axis=1, keepdims=True)
    expected = []
    for i in range(len(kept)):
        others = [j for j in np.argsort(-(unit @ unit[i])) if name[j] != name[i]]
        relevant = [int(kept.Metadata_moa[j] == kept.Metadata_moa[i]) for j in others]
        expected.append(oracles.average_precision(relevant))
    assert found["map"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert found["n_profiles"] == 20
    assert "own treatment are no candidates" in found["how"]["profiles"]
    site = evaluated(tmp_path, pd.concat([table, table]), level="site", label_column="Metadata_moa")
    assert site["n_profiles"] == 40
    assert site["nsc_1nn"]["n_queries"] == 40
    replicates = evaluated(tmp_path, table, level="well")
    assert replicates["n_profiles"] == 28  # those without a mechanism too
    assert replicates["nsc_1nn"] is None
    assert replicates["how"]["nsc_1nn"] == "not computed: no labels were asked for"


@pytest.mark.parametrize("level", ["treatment", "well", "site"])
def test_both_protocols_at_every_level_or_the_reason(tmp_path, level):
    table = screen()
    found = evaluated(tmp_path, table, level=level, label_column="Metadata_moa")
    assert found["moshkov2024"]["map"] == pytest.approx(found["map"])
    assert found["moshkov2024"]["how"]["hits_top1pct"].startswith(f"{level} level")
    assert found["moshkov2024"]["map_interpolated"] != found["map_interpolated"]
    plain = evaluated(tmp_path, table, level="well")
    assert plain["moshkov2024"]["n_queries"] == plain["n_queries"]
    broken = table.replace({"Metadata_moa": {"moa0": "moa(0"}})
    found = evaluated(tmp_path, broken, level=level, label_column="Metadata_moa")
    assert "moshkov2024" not in found
    assert "is no valid regular expression" in found["how"]["moshkov2024"]


def test_the_sweep_has_the_scores_of_every_lambda(tmp_path):
    table = screen()
    found = evaluated(tmp_path, table, sphere="zca", regularisation=0.05)
    expected = [None, *sorted({0.05, *(v for v in LAMBDAS if v is not None)}, reverse=True)]
    assert [row["lambda"] for row in found["sweep"]] == expected
    by_lambda = {row["lambda"]: row for row in found["sweep"]}
    assert by_lambda[0.05]["strict"]["map"] == found["map"]
    raw = evaluated(tmp_path, table)
    assert raw["sweep"] == []
    assert by_lambda[None]["strict"]["map"] == pytest.approx(raw["map"])
    other = evaluated(tmp_path, table, sphere="zca", regularisation=1e-3, sweep=False)
    assert other["sweep"] == []
    assert by_lambda[1e-3]["strict"]["map"] == pytest.approx(other["map"])
    assert by_lambda[1e-3]["moshkov2024"]["hits_top1pct"] == other["moshkov2024"]["hits_top1pct"]


def test_p_and_q_values_are_exact_where_all_rankings_can_be_counted(tmp_path):
    table = screen()
    found = evaluated(tmp_path, table, p_values=50, json_file=tmp_path / "out.json")
    means, similarity = treatments(table)
    expected = {}
    for i in range(10):
        others = [j for j in np.argsort(-similarity[i]) if j != i]
        relevant = [int(means.Metadata_moa[j] == means.Metadata_moa[i]) for j in others]
        null = [
            oracles.average_precision([int(k in places) for k in range(9)])
            for places in itertools.combinations(range(9), sum(relevant))
        ]
        reached = np.array(null) >= oracles.average_precision(relevant) - 1e-9
        expected[f"{means.Metadata_compound[i]}@{means.Metadata_dose[i]}"] = reached.mean()
    assert found["p_values"] == pytest.approx(expected)
    q = stats.false_discovery_control(list(found["p_values"].values()))
    np.testing.assert_allclose(list(found["q_values"].values()), q)
    assert found["significant_share"] == pytest.approx(np.mean(q <= 0.05))
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["q_values"] == found["q_values"]
    assert "Benjamini-Hochberg" in written["how"]["q_values"]
    wells = evaluated(tmp_path, table, p_values=50, level="well")
    assert len(wells["p_values"]) == 14  # one a treatment, not a well
    assert "p_values" not in evaluated(tmp_path, table)


def test_replicates_are_compared_at_every_level(tmp_path):
    table = screen()
    found = evaluated(tmp_path, table)
    treated = table[table.Metadata_compound != "DMSO"]
    name = (treated.Metadata_compound + "@" + treated.Metadata_dose).to_numpy(str)
    keys = (treated.Metadata_Plate + "/" + treated.Metadata_Well).to_numpy(str)
    order = np.argsort(keys)
    codes = group_codes(name)[1]
    expected = replicate_reproducibility(0, treated[NAMES].to_numpy()[order], codes[order])
    assert found["replicate_reproducibility"] == {
        "share": pytest.approx(expected.share),
        "n_reproducible": int(expected.reproducible.sum()),
        "n_treatments": 14,
    }
    alone = evaluated(tmp_path, table[table.Metadata_Plate == "000"])
    assert alone["replicate_reproducibility"] is None
    assert alone["how"]["replicate_reproducibility"] == "not computed: no treatment has two wells"


def test_equal_similarities_are_ranked_as_asked(tmp_path):
    table = screen()
    table[NAMES] = np.where(table[NAMES] > 0, 1.0, -1.0)
    scores = {
        ties: evaluated(tmp_path, table, ties=ties)["map"]
        for ties in ("pessimistic", "threshold", "expected", "optimistic")
    }
    assert scores["pessimistic"] < scores["expected"] < scores["optimistic"]
    assert scores["pessimistic"] <= scores["threshold"] <= scores["optimistic"]


def test_missing_numbers_are_left_out_of_means_and_features_with_many_are_dropped(tmp_path):
    table = screen()
    table.loc[0, "f1"] = np.nan  # 1 of 40
    table.loc[1, "f2"] = np.inf
    table.loc[2:5, "f4"] = np.nan  # 10 %
    table.loc[39, NAMES] = np.nan  # a control well without any number
    found = evaluated(tmp_path, table)
    assert found["n_features"] == 5
    assert found["dropped_features"] == {"often missing": ["f4"]}
    assert found["n_controls"] == 11
    notes = "; ".join(found["notes"])
    assert "1 infinite values count as missing" in notes
    assert "1 rows without any number were left out" in notes
    assert (
        "1 features are missing in more than 5% of the rows and were left out (the first: f4)"
        in (notes)
    )
    finite = table.replace(np.inf, np.nan).drop(columns="f4")
    names = [name for name in NAMES if name != "f4"]
    kept = finite[finite.Metadata_moa != ""]
    means = kept.groupby(["Metadata_compound", "Metadata_dose"])[names].mean()
    moa = kept.groupby(["Metadata_compound", "Metadata_dose"])["Metadata_moa"].first().to_numpy()
    unit = means.to_numpy() / np.linalg.norm(means, axis=1, keepdims=True)
    ap = []
    for i in range(len(unit)):
        others = [j for j in np.argsort(-(unit @ unit[i])) if j != i]
        ap.append(oracles.average_precision([int(moa[j] == moa[i]) for j in others]))
    assert found["map"] == pytest.approx(np.mean(ap), abs=1e-6)
    sphered = evaluated(tmp_path, table, sphere="zca")
    assert "2 missing numbers became the median of the plate's controls" in sphered["notes"]


def test_profiles_are_normalised_before_anything_else(tmp_path):
    table = screen()
    found = evaluated(tmp_path, table, normalize="percentile")
    scaled = table.copy()
    for _, part in table.groupby("Metadata_Plate"):
        controls = part[part.Metadata_compound == "DMSO"][NAMES]
        low, high = controls.quantile(0.01), controls.quantile(0.99)
        scaled.loc[part.index, NAMES] = (part[NAMES] - low) / (high - low)
    assert found["map"] == pytest.approx(evaluated(tmp_path, scaled)["map"], abs=1e-6)
    assert found["map"] != pytest.approx(evaluated(tmp_path, table)["map"], abs=1e-6)
    assert found["how"]["normalisation"].startswith("percentile of every feature")
    assert "fewer candidates the others count as wrong" in found["how"]["precision_at_k"]
    table.loc[table.Metadata_Plate == "001", "Metadata_dose"] = "4"
    with pytest.raises(Exception, match="--normalize percentile: plate 001 has no control row"):
        evaluated(tmp_path, table, normalize="percentile")


def test_tvn_is_a_kind_of_sphering(tmp_path):
    table = screen()
    found = evaluated(tmp_path, table, sphere="tvn", regularisation=1e-2)
    assert "batches of Metadata_Plate aligned" in found["how"]["sphering"]
    assert found["n_features"] == 6
    pca = evaluated(tmp_path, table, sphere="pca", regularisation=1e-2)
    assert found["sweep"][0]["strict"]["map"] == pca["sweep"][0]["strict"]["map"]
    assert found["map"] != pytest.approx(pca["map"], abs=1e-4)
