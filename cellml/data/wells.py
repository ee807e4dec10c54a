"""Names of wells: `a1`, `A1`, `a01` and `A01` are one well, written `A01`.

Rows run A-Z and then AA-AF, as on a plate of 1,536 wells (32 x 48), the largest in use.
"""

import re

ROWS_MAX = 32
COLUMNS_MAX = 48
WELL = re.compile(r"([A-Za-z]{1,2})0*(\d{1,2})")


def normalise_well(name: str) -> str:
    """Returns a well's name as capital letters and at least two digits.

    Raises:
      ValueError: `name` is no well of a plate of up to 32 x 48.
    """
    row, column = well_position(name)
    return well_name(row, column)


def well_position(name: str) -> tuple[int, int]:
    """Returns row and column of a well, both from 0: `B03` is (1, 2).

    Raises:
      ValueError: As in `normalise_well`.
    """
    match = WELL.fullmatch(name.strip())
    if match is not None:
        letters, column = match[1].upper(), int(match[2]) - 1
        row = ord(letters[-1]) - ord("A")
        if len(letters) == 2:
            row += 26 * (ord(letters[0]) - ord("A") + 1)
        if row < ROWS_MAX and 0 <= column < COLUMNS_MAX:
            return row, column
    raise ValueError(f"{name!r} is no well; a row A-AF and a column 1-48 expected, such as A01")


def well_name(row: int, column: int) -> str:
    """Returns the name of a well; `row` and `column` count from 0.

    Raises:
      ValueError: The position is not on a plate of 32 x 48.
    """
    if not (0 <= row < ROWS_MAX and 0 <= column < COLUMNS_MAX):
        raise ValueError(f"row {row}, column {column}: expected within {ROWS_MAX} x {COLUMNS_MAX}")
    letters = chr(ord("A") + row) if row < 26 else "A" + chr(ord("A") + row - 26)
    return f"{letters}{column + 1:02d}"
