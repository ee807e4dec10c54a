"""Profiles of public screens against numbers that were found before, with other code."""

import numpy as np
import pandas as pd
import pycytominer
import pytest

from cellml.metrics.neighbours import nearest_neighbours, neighbour_accuracy
from cellml.metrics.protocols import evaluate_retrieval
from cellml.metrics.relations import Relation, moshkov2024_labels, shared_labels
from cellml.metrics.retrieval import score_queries
from cellml.profiling.aggregate import group_codes, group_mean
from cellml.profiling.normalize import normalise_profiles
from cellml.profiling.select import DEFAULT_RULES, select_features
from cellml.profiling.sphering import sphere_sweep
from cellml.profiling.strength import treatment_strength


@pytest.fixture(scope="module")
def cpjump1(shared_data):
    """Wells of four plates, their features, and the mechanisms of their compounds."""
    folder = shared_data / "profiles" / "cpjump1"
    files = sorted(folder.glob("BR*.csv.gz"))
    if not files:
        pytest.skip(f"no plates in {folder}")
    wells = pd.concat([pd.read_csv(file, low_memory=False) for file in files], ignore_index=True)
    compounds = pd.read_csv(folder / "JUMP-Target-1_compound_metadata_moa.tsv", sep="\t")
    moas = compounds.drop_duplicates("broad_sample").set_index("broad_sample")["moa_list"]
    features = [name for name in wells if not name.startswith("Metadata_")]
    return wells, wells[features].to_numpy(np.float64), moas


def partners(relation: Relation) -> tuple[int, int]:
    """Profiles with at least one other match, and with at least two."""
    count = relation.dense().sum(1) - relation.dense().diagonal()
    return int((count >= 1).sum()), int((count >= 2).sum())


@pytest.mark.parametrize(
    ("name", "published", "fixed"),
    [
        ("BBBC022", (849, 748), (852, 751)),
        ("CDRP", (1365, 1236), (1368, 1239)),
        ("TAORF", (204, 200), (204, 200)),
    ],
)
def test_queries_of_the_published_notebooks(shared_data, name, published, fixed):
    file = (
        shared_data / "profiles" / "metadata_bbbc022_036_037" / f"{name}_MOA_MATCHES_official.csv"
    )
    if not file.is_file():
        pytest.skip(f"no {file}")
    labels = pd.read_csv(file)["Metadata_moa.x"].tolist()
    assert partners(moshkov2024_labels(labels)) == published
    assert partners(shared_labels(labels)) == fixed


def test_mechanisms_of_cpjump1(cpjump1):
    wells, values, moas = cpjump1
    treated = wells["Metadata_broad_sample"].notna().to_numpy()
    assert values.shape == (1536, 904)
    assert (~treated).sum() == 256
    names, codes = group_codes(wells["Metadata_broad_sample"][treated].to_numpy(str))
    whole = shared_labels([moas.get(name) for name in names], separator=None)
    split = shared_labels([moas.get(name) for name in names])
    found, strict = {}, {}
    for value, sphered in sphere_sweep(values, values[~treated], (None, 1e-2, 0.1, 1.0)):
        treatments = group_mean(sphered[treated], codes, n_groups=len(names))
        scores = score_queries(treatments, whole)
        found[value] = np.nanmean(scores.ap)
        assert (~np.isnan(scores.ap)).sum() == 161
        strict[value] = evaluate_retrieval(treatments, split)
    # Seven plates gave .109 raw and .143, .152, .156 sphered; these are four of them.
    assert found[None] == pytest.approx(0.1177, abs=0.001)
    assert found[1e-2] == pytest.approx(0.1456, abs=0.001)
    assert found[1.0] == pytest.approx(0.1534, abs=0.001)
    assert strict[None].n_queries["map"] == 117
    assert strict[None].map == pytest.approx(0.1291, abs=0.001)
    assert strict[0.1].map == pytest.approx(0.1534, abs=0.001)
    assert strict[0.1].hits_top1pct > strict[None].hits_top1pct


def test_strength_of_cpjump1_finds_the_controls_weak(cpjump1):
    wells, values, _ = cpjump1
    names, codes = group_codes(wells["Metadata_broad_sample"].fillna("DMSO").to_numpy(str))
    controls = (wells["Metadata_broad_sample"].isna()).to_numpy()
    _, plates = group_codes(wells["Metadata_Plate"].to_numpy(str))
    found = treatment_strength(values, plates, codes, controls)
    assert len(found.treatment) == len(names) - 1
    assert found.well_z[controls].mean() == pytest.approx(0, abs=1e-9)
    assert np.median(found.mean) > 1


@pytest.mark.parametrize("rules", [DEFAULT_RULES, (*DEFAULT_RULES[:1], "frequency_threshold")])
def test_features_of_bbbc021_are_selected_as_pycytominer_does(shared_data, rules):
    folder = shared_data / "profiles" / "bbbc021"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    wells = pd.read_csv(folder / "ljosa_jbiomolscreen_2013_per_well_mean.csv.gz")
    features = [name for name in wells if not name.startswith("Image_Metadata")]
    missing = np.random.default_rng(0).random((len(wells), len(features)))
    values = wells[features].to_numpy(np.float64)
    values[missing < np.linspace(0, 0.1, len(features))] = np.nan
    table = pd.DataFrame(values, columns=features)
    expected = pycytominer.feature_select(table, features=features, operation=list(rules))
    keep, _ = select_features(values, features, rules=rules)
    assert [name for name, kept in zip(features, keep, strict=True) if kept] == list(expected)
    assert 0 < keep.sum() < len(features)


def test_nearest_neighbours_of_bbbc021(shared_data):
    folder = shared_data / "profiles" / "bbbc021"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    wells = pd.read_csv(folder / "ljosa_jbiomolscreen_2013_per_well_mean.csv.gz")
    features = [name for name in wells if not name.startswith("Image_Metadata")]
    images = pd.read_csv(folder / "BBBC021_v1_image.csv.gz").drop_duplicates(
        ["Image_Metadata_Plate_DAPI", "Image_Metadata_Well_DAPI"]
    )
    wells = wells.merge(
        images,
        left_on=["Image_Metadata_Plate", "Image_Metadata_Well"],
        right_on=["Image_Metadata_Plate_DAPI", "Image_Metadata_Well_DAPI"],
        how="left",
    )
    moas = pd.read_csv(folder / "BBBC021_v1_moa.csv")
    moa_of = dict(zip(zip(moas.compound, moas.concentration, strict=True), moas.moa, strict=True))
    compound = wells["Image_Metadata_Compound"].to_numpy(str)
    concentration = wells["Image_Metadata_Concentration"].to_numpy(float)
    controls = compound == "DMSO"
    _, plates = group_codes(wells["Image_Metadata_Plate"].to_numpy(str))
    values = wells[features].to_numpy(np.float64)
    scaled = normalise_profiles(values, method="percentile", plates=plates, controls=controls)
    keys = sorted(set(zip(compound[~controls], concentration[~controls], strict=True)))
    codes = np.array(
        [keys.index(k) for k in zip(compound[~controls], concentration[~controls], strict=True)]
    )
    treatments = group_mean(scaled.values[~controls], codes, n_groups=len(keys))
    _, compounds = group_codes(np.array([key[0] for key in keys]))
    found = nearest_neighbours(treatments, exclude=compounds[:, None])
    accuracy = neighbour_accuracy(found, shared_labels([moa_of.get(key) for key in keys]))
    assert accuracy.n_queries == 103
    assert accuracy.n_right == 84  # found before, with other code
