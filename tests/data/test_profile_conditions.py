"""Conditions on metadata: texts, numbers, precedence, and what cannot be read."""

import numpy as np
import pandas as pd
import pytest

from cellml.data.profile_conditions import ConditionError, columns_of, numbers_of, where
from cellml.data.profile_tables import ProfileTable
from cellml.errors import UserError

COLUMNS = {
    "Metadata_treatment": np.array(["DMSO@0", "taxol@0.3", "taxol@10", "", "it's"]),
    "Metadata_dose": np.array(["0", "0.30", "1e1", "", "0.0"]),
    "Metadata_moa.x": np.array(["", "tubulin", "tubulin", "__init__", "a and b"]),
    "Plate name": np.array(["01", "1", "2", "2", "3"]),
}


def rows(expression: str) -> list[int]:
    return np.flatnonzero(where(expression, COLUMNS, 5)).tolist()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Metadata_treatment == 'DMSO@0'", [0]),
        ('Metadata_treatment == "it\'s"', [4]),
        (r"Metadata_treatment == 'it\'s'", [4]),
        ("Metadata_moa.x == '__init__'", [3]),
        ("Metadata_moa.x == 'a and b'", [4]),
        ("Metadata_treatment != ''", [0, 1, 2, 4]),
        ("Metadata_dose == 0", [0, 4]),
        ("0 == Metadata_dose", [0, 4]),
        ("Metadata_dose == '0'", [0]),
        ("Metadata_dose != 0", [1, 2, 3]),  # what is no number is not equal to one
        ("Metadata_dose > 0", [1, 2]),
        ("0 < Metadata_dose <= 0.3", [1]),
        ("Metadata_dose >= -1.5", [0, 1, 2, 4]),
        ("`Plate name` == '01'", [0]),
        ("`Plate name` == 1", [0, 1]),
        ("Metadata_dose in [0, 10]", [0, 2, 4]),
        ("Metadata_dose not in ('0', '0.30')", [2, 3, 4]),
        ("Metadata_treatment == Metadata_moa.x", []),
        ("Metadata_dose < `Plate name`", [0, 1, 4]),
        ("not Metadata_dose > 0", [0, 3, 4]),
        ("~(Metadata_dose > 0)", [0, 3, 4]),
    ],
)
def test_comparisons(expression, expected):
    assert rows(expression) == expected


def test_and_binds_closer_than_or_as_in_python():
    a, b, c = "Metadata_dose > 0", "Metadata_moa.x == ''", "`Plate name` == 2"
    x, y, z = (where(text, COLUMNS, 5) for text in (a, b, c))
    for written, expected in (
        (f"{a} or {b} and {c}", x | (y & z)),
        (f"({a} or {b}) and {c}", (x | y) & z),
        (f"{a} and {b} or {c}", (x & y) | z),
        (f"{a} | {b} & {c}", x | (y & z)),
        (f"not {a} or {b}", ~x | y),
        (f"not ({a} or {b}) and {c}", ~(x | y) & z),
    ):
        np.testing.assert_array_equal(where(written, COLUMNS, 5), expected, err_msg=written)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("Metadata_treatmen == 'x'", "no column 'Metadata_treatmen' .did you mean 'Metadata_treat"),
        ("Metadata_treatment", "a comparison such as Metadata_treatment == 'b' expected, but it"),
        ("Metadata_treatment = 'x'", "compare with =="),
        ("Plate name == '1'", "no column 'Plate'"),
        ("Metadata_treat-ment == 'x'", "in backticks"),
        ("@pd.read_csv('x') == 1", "was not expected"),
        ("__import__('os').system('true') == 0", "was not expected"),
        ("Metadata_treatment == 3", "holds texts: 'DMSO@0', .*put a text in quotes"),
        ("Metadata_dose > '0'", "> compares numbers, '0' is a text"),
        ("Metadata_dose == 0 Metadata_dose", "found where the condition could end"),
        ("(Metadata_dose == 0", r"'\)' expected, but it ends"),
        ("Metadata_dose in 0", "a list such as"),
        ("Metadata_dose in [0 1]", "',' or ']' expected, '1' found"),
        ("Metadata_dose in [`Plate name`]", "texts and numbers expected in a list"),
        ("1 == 1", "compares no column"),
        ("Metadata_dose ==", "a column, 'text' or number expected, but it ends"),
        ("", "a column, 'text' or number expected"),
    ],
)
def test_what_cannot_be_read_is_named(expression, message):
    with pytest.raises(ConditionError, match=message):
        where(expression, COLUMNS, 5)


def test_numbers_of_texts():
    found = numbers_of(np.array(["1", "", "x", "-2.5e1", "1"]))
    np.testing.assert_array_equal(found, [1, np.nan, np.nan, -25, 1])


def test_no_row_is_an_error_that_names_the_values():
    metadata = pd.DataFrame({k: v for k, v in COLUMNS.items() if k != "Plate name"})
    table = ProfileTable(np.zeros((5, 1)), ("f",), metadata)
    assert table.matching("Metadata_dose == 0").sum() == 2
    assert not table.where("Metadata_dose == 7").any()
    with pytest.raises(UserError, match=r"no row matches; Metadata_moa.x is 'tubulin' .2., ") as e:
        table.matching("Metadata_moa.x == 'Tubulin'")
    assert "__init__" in str(e.value)
    assert columns_of("Metadata_dose == 'Metadata_moa.x'", list(metadata)) == ["Metadata_dose"]
