"""Conditions on metadata, such as `Metadata_role == "control" and Metadata_dose > 0.5`.

A small language of its own, read by a parser of its own: nothing is evaluated as Python, so that
any text may stand in a condition, `"DMSO@0"` as well as `"__init__"`.

    condition  = all, {"or", all}                     also | and ||
    all        = part, {"and", part}                  also & and &&
    part       = ("not" | "~" | "!"), part | "(", condition, ")" | comparison
    comparison = value, relation, value, {relation, value}
               | value, ["not"], "in", ("[" | "("), literal, {",", literal}, ("]" | ")")
    relation   = "==" | "!=" | "<" | "<=" | ">" | ">="
    value      = column | literal
    column     = name with letters, digits, _ and .  | anything between backticks
    literal    = "text" | 'text' | number

A column is compared with a text as text, and with a number as a number: `Metadata_dose == 0` holds
for `0`, `0.0` and `0e0`. An empty value, or one that is no number, equals no number.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from cellml.data.text_tables import suggestion

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | `(?P<quoted>[^`]+)`
    | (?P<name>[^\W\d][\w.]*)
    | (?P<sign>==|!=|<=|>=|&&|\|\||[<>()\[\],|&~!])
    )""",
    re.VERBOSE,
)
_ORDER: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
RELATIONS = ("==", "!=", *_ORDER)


class ConditionError(ValueError):
    """A condition cannot be read; the message says what was found and what was expected."""


@dataclass(frozen=True)
class _Value:
    """A side of a comparison: a column's texts, or one text or number."""

    shown: str
    texts: np.ndarray | None = None
    literal: str | float | None = None

    @property
    def is_number(self) -> bool:
        return isinstance(self.literal, float)


def where(
    expression: str, columns: Mapping[str, np.ndarray], n_rows: int
) -> Bool[np.ndarray, " n"]:
    """Rows for which a condition holds.

    Args:
      expression: See the top of the file.
      columns: Texts of every column, by name.
      n_rows: Length of the columns.

    Returns:
      A mask.

    Raises:
      ConditionError: The condition cannot be read, names a column that is not there, or compares
        with a number a column that has none.
    """
    reader = _Reader(expression, columns, n_rows)
    found = reader.condition()
    if reader.token:
        raise ConditionError(f"{reader.token!r} found where the condition could end")
    return found


def columns_of(expression: str, columns: Sequence[str]) -> list[str]:
    """The columns that a condition names, in its order; those that are not there left out."""
    names = (match["quoted"] or match["name"] for match in _TOKEN.finditer(expression))
    return list(dict.fromkeys(name for name in names if name in columns))


def numbers_of(texts: np.ndarray) -> np.ndarray:
    """Texts as float64; NaN where there is none."""
    found = np.full(len(texts), np.nan)
    for value in np.unique(texts):
        try:
            number = float(value)
        except ValueError:
            continue
        found[texts == value] = number
    return found


class _Reader:
    """Recursive descent; every method consumes what it names."""

    def __init__(self, expression: str, columns: Mapping[str, np.ndarray], n_rows: int) -> None:
        self._columns, self._n = columns, n_rows
        self._tokens = _tokens(expression)
        self._at = 0

    @property
    def token(self) -> str:
        """The next token as it was written; empty at the end."""
        return self._tokens[self._at][1]

    @property
    def kind(self) -> str:
        return self._tokens[self._at][0]

    def take(self, *words: str) -> bool:
        """Consumes the next token if it is one of these words or signs."""
        found = self.kind in ("name", "sign") and self.token in words
        self._at += found
        return found

    def condition(self) -> np.ndarray:
        found = self._all()
        while self.take("or", "|", "||"):
            found = self._all() | found
        return found

    def _all(self) -> np.ndarray:
        found = self._part()
        while self.take("and", "&", "&&"):
            found = self._part() & found
        return found

    def _part(self) -> np.ndarray:
        if self.take("not", "~", "!"):
            return ~self._part()
        if self.take("("):
            found = self.condition()
            if not self.take(")"):
                raise ConditionError(f"')' expected, {self._found()}")
            return found
        return self._comparison()

    def _comparison(self) -> np.ndarray:
        left = self._value()
        if self.take("in"):
            return self._among(left)
        if self.take("not"):
            if not self.take("in"):
                raise ConditionError(f"'in' expected behind 'not', {self._found()}")
            return ~self._among(left)
        found, relation = np.ones(self._n, bool), self._relation()
        if not relation:
            raise ConditionError(
                f"a comparison such as {left.shown} == 'b' expected, {self._found()}"
            )
        while relation:
            right = self._value()
            found &= _compared(left, relation, right, self._n)
            left, relation = right, self._relation()
        return found

    def _relation(self) -> str:
        """Consumes ==, < and so on; empty where there is none."""
        found = self.token
        return found if self.take(*RELATIONS) else ""

    def _among(self, left: _Value) -> np.ndarray:
        if not self.take("[", "("):
            raise ConditionError(f"a list such as ['a', 'b'] expected, {self._found()}")
        found = np.zeros(self._n, bool)
        while True:
            right = self._value()
            if right.texts is not None:
                raise ConditionError(f"texts and numbers expected in a list, {right.shown} found")
            found |= _compared(left, "==", right, self._n)
            if self.take("]", ")"):
                return found
            if not self.take(","):
                raise ConditionError(f"',' or ']' expected, {self._found()}")

    def _value(self) -> _Value:
        kind, shown = self._tokens[self._at]
        if kind == "text":
            value = _Value(shown, literal=re.sub(r"\\(.)", r"\1", shown[1:-1]))
        elif kind == "number":
            value = _Value(shown, literal=float(shown))
        elif kind == "quoted" or (kind == "name" and shown not in ("and", "or", "not", "in")):
            if shown not in self._columns:
                raise ConditionError(f"no column {shown!r}{suggestion(shown, self._columns)}")
            value = _Value(shown, texts=self._columns[shown])
        else:
            raise ConditionError(f"a column, 'text' or number expected, {self._found()}")
        self._at += 1
        return value

    def _found(self) -> str:
        return f"{self.token!r} found" if self.token else "but it ends"


def _tokens(expression: str) -> list[tuple[str, str]]:
    found, at = [], 0
    end = len(expression.rstrip())
    while at < end:
        match = _TOKEN.match(expression, at)
        if match is None:
            rest = expression[at:].strip()
            hint = " (compare with ==)" if rest.startswith("=") else ""
            if found and found[-1][0] == "name" and not hint:
                hint = " (put a name with other signs than letters, digits, _ and . in backticks)"
            raise ConditionError(f"{rest!r} was not expected{hint}")
        kind = str(match.lastgroup)
        found.append((kind, match[kind]))
        at = match.end()
    return [*found, ("end", "")]


def _compared(left: _Value, relation: str, right: _Value, n: int) -> np.ndarray:
    if left.texts is None and right.texts is None:
        raise ConditionError(f"{left.shown} {relation} {right.shown} compares no column")
    if relation in _ORDER:
        for side in (left, right):
            if isinstance(side.literal, str):
                raise ConditionError(f"{relation} compares numbers, {side.shown} is a text")
    elif not (left.is_number or right.is_number):
        texts = [np.full(n, v.literal) if v.texts is None else v.texts for v in (left, right)]
        same = texts[0] == texts[1]
        return same if relation == "==" else ~same
    first, second = _as_numbers(left, right, n), _as_numbers(right, left, n)
    if relation in _ORDER:
        return _ORDER[relation](first, second)
    same = first == second
    return same if relation == "==" else ~same


def _as_numbers(value: _Value, other: _Value, n: int) -> np.ndarray:
    if value.texts is None:
        if isinstance(value.literal, str):
            raise ConditionError(
                f"the text {value.shown} is compared with the number {other.shown}"
            )
        return np.full(n, value.literal, np.float64)
    numbers = numbers_of(value.texts)
    if np.isnan(numbers).all() and (value.texts != "").any():
        some = ", ".join(repr(str(t)) for t in np.unique(value.texts[value.texts != ""])[:3])
        raise ConditionError(
            f"{value.shown} is compared with the number {other.shown} but holds texts: {some}; put "
            "a text in quotes"
        )
    return numbers
