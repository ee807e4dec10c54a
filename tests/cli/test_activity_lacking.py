"""`cellml activity predict` for compounds that nobody has a profile of."""

import jax
import numpy as np
import pytest

from cellml.errors import UsageError, UserError
from tests.cli.compounds import SMILES, activity, compounds, read_rows, write_rows

OTHERS = ("OCCCCO", "NCCc1ccccc1O", "CCCCCl")
HEADER = ["smiles", "x", "y"]


@pytest.fixture(scope="module", autouse=True)
def _one_device():
    with pytest.MonkeyPatch.context() as patch:  # which compiles in a fraction of the time
        patch.setattr(jax, "local_devices", lambda *_, **__: jax.devices()[:1])
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    compounds(folder / "a.csv")
    values = np.random.default_rng(0).normal(size=(len(SMILES), 2)).round(3).tolist()
    rows = [[s, *v] for s, v in zip(SMILES, values, strict=True)]
    write_rows(folder / "mo.csv", HEADER, rows)
    write_rows(folder / "some" / "mo.csv", HEADER, rows[::2])
    write_rows(folder / "nobody" / "mo.csv", HEADER, [])
    write_rows(folder / "elsewhere" / "mo.csv", HEADER, [["CCCCCC", 1, 2]])
    write_rows(folder / "new.csv", ["smiles"], [[s] for s in OTHERS])
    return folder


def train(data, name, features, *options):
    code, _ = activity(
        "train", data / "a.csv", "--split-column", "fold", "--holdout-fold", "1", "--preset",
        "morgan", "--epochs", 1, "--ensemble", 1, "--no-baseline", "--set", "model.hidden=[8]",
        "--set", "model.fingerprint.size=64", "--features", features, "--out", data / name,
        *options,
    )  # fmt: skip
    assert code == 0
    return data / name


def predict(data, run, *options):
    out = data / "p.csv"
    _, text = activity("predict", data / "new.csv", "--checkpoint", run, "--out", out, *options)
    rows = [{k: v for k, v in row.items() if k in "ABC"} for row in read_rows(out)]
    assert all(0 < float(value) < 1 for row in rows for value in row.values())
    return rows, text


@pytest.mark.parametrize("how", ["dropout", "lacking"])
def test_a_model_that_has_learned_it_does_without(data, how):
    if how == "dropout":
        run = train(data, how, data / "mo.csv", "--set", "loss.modality_dropout=0.3")
    else:
        run = train(data, how, data / "some" / "mo.csv")
    expected, text = predict(data, run)
    assert "note: 3 of 3 compounds without 'mo', predicted by what else is known\n" in text
    for folder in ("nobody", "elsewhere"):
        assert predict(data, run, "--features", data / folder / "mo.csv") == (expected, text)
    write_rows(data / "one" / "mo.csv", HEADER, [[OTHERS[1], 3, -2]])
    rows, text = predict(data, run, "--features", data / "one" / "mo.csv")
    assert "note: 2 of 3 compounds without 'mo'" in text
    assert [a == b for a, b in zip(rows, expected, strict=True)] == [True, False, True]


def test_one_that_has_not_is_refused(data):
    run = train(data, "complete", data / "mo.csv")
    message = "0 files found, 1 expected: the model takes 'mo', and was not trained on .*dropout"
    with pytest.raises(UsageError, match=message):
        predict(data, run)
    with pytest.raises(UserError, match=r"mo\.csv: no row below the header"):
        predict(data, run, "--features", data / "nobody" / "mo.csv")
    with pytest.raises(UserError, match=r"mo\.csv: none of the 3 compounds is among its SMILES"):
        predict(data, run, "--features", data / "elsewhere" / "mo.csv")
    write_rows(data / "one" / "mo.csv", HEADER, [[OTHERS[1], 3, -2]])
    _, text = predict(data, run, "--features", data / "one" / "mo.csv")
    assert "the model was not trained on such compounds" in text


def test_profiles_alone_are_needed(data):
    run = train(data, "alone", data / "some" / "mo.csv", "--features-only")
    with pytest.raises(UsageError, match="0 files found, 1 expected: the model takes 'mo'"):
        predict(data, run)
    with pytest.raises(UserError, match=r"mo\.csv: no row below the header"):
        predict(data, run, "--features", data / "nobody" / "mo.csv")
