"""BBBC013, real wells of a dose series, from images to the dose: rows of the plate left out."""

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cellml.data.profile_tables import read_profiles
from tests.cli.screens import profile
from tests.data.painting import write_table

ROWS = "ABEF"
"""Two of each inhibitor of PI3K."""
DOSES = {2: 0, 3: 1, 10: 8, 11: 9}
"""Level of the dose by column: none, the lowest, and two of the highest."""
SIDE_PX = 400
"""A part of each field is used."""


def write_wells(folder, images):
    """Writes a part of each field and an index; returns its path."""
    rows = []
    for row in ROWS:
        for column, dose in DOSES.items():
            well = f"{row}{column:02d}"
            names = [f"{well}_{channel}.png" for channel in ("DNA", "GFP")]
            for name in names:
                with Image.open(images / name) as file:
                    Image.fromarray(np.asarray(file)[:SIDE_PX, :SIDE_PX]).save(folder / name)
            rows.append(("BBBC013", well, "1", *names, row, dose))
    write_table(folder / "index.csv", ("plate", "well", "site", "DNA", "GFP", "row", "dose"), rows)
    return folder / "index.csv"


@pytest.fixture(scope="module")
def wells(tmp_path_factory, shared_data):
    folder = tmp_path_factory.mktemp("bbbc013")
    index, root = write_wells(folder, shared_data / "images" / "bbbc013"), folder / "project"
    dose = ("--treatment-column", "Metadata_dose", "--control-value", "0", "--control-value", "1")
    made = ("--index", index, "--channels", "DNA,GFP", "--box-size", 64, "--segment")
    assert profile("init", root, *made, *dose)[0] == 0
    assert profile("export", root, "--masks", "keep")[0] == 0
    assert profile("embed", root, "--model", "classical")[0] == 0
    normalised = ("--normalize", "standardize", "--normalize-by", "all", "--select-features")
    assert profile("aggregate", root, "-e", "classical", *normalised)[0] == 0
    return read_profiles([root / "outputs" / "classical" / "profiles" / "well.parquet"])


def predicted(wells, model, answers):
    """What a model says of the wells of each row that was fitted on the other rows."""
    row, found = wells.column("Metadata_row"), np.zeros(len(answers))
    for held_out in ROWS:
        train, test = row != held_out, row == held_out
        fitted = make_pipeline(StandardScaler(), model).fit(wells.features[train], answers[train])
        found[test] = fitted.predict(wells.features[test])
    return found


def test_the_dose_of_real_wells_is_found_in_other_rows(wells):
    dose = wells.column("Metadata_dose").astype(int)
    assert len(dose) == len(ROWS) * len(DOSES)
    assert wells.column("Metadata_n_cells").astype(int).min() > 25
    high = (dose > 3).astype(int)
    right = predicted(wells, LogisticRegression(C=0.01, max_iter=2000), high) == high
    assert right.mean() > 0.85  # .5 by chance
    correlation = np.corrcoef(predicted(wells, Ridge(alpha=100.0), dose), dose)[0, 1]
    assert correlation > 0.7
