"""Which rows make which profile, and which profiles are right answers to each other.

Three levels. At `treatment`, rows of a well are averaged, then wells of a treatment, and treatments
that share a label find each other. At `well` and `site`, wells (or sites) of one treatment find
each other, or, if a label is asked for, those that share it and are of another treatment.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from cellml.data.profile_tables import ProfileTable
from cellml.errors import UserError
from cellml.metrics.relations import Relation, moshkov2024_labels, same_group, shared_labels
from cellml.profiling.aggregate import group_codes, group_mean
from cellml.profiling.normalize import quantile

LEVELS = ("treatment", "well", "site")
KEYS = ("Metadata_Plate", "Metadata_Well")


class Layout(NamedTuple):
    """How a table's rows become p profiles.

    Attributes:
      level: What a profile is.
      rows: Rows of the table that are used.
      well_of_row: Well of each of them.
      treatment_of_well: Treatment of each well, an index into `treatments`; -1 leaves it out.
      treatments: Names.
      treatment: Treatment of each profile.
      labels: Label of each profile, several joined by |; None at the levels well and site where
        treatments are looked for.
      exclude: Codes that a candidate must not share with the query.
      first_row: The first row behind each profile, to look up what all its rows share.
      how: In words.
    """

    level: str
    rows: Int[np.ndarray, " n"]
    well_of_row: Int[np.ndarray, " n"]
    treatment_of_well: Int[np.ndarray, " w"]
    treatments: Shaped[np.ndarray, " t"]
    treatment: Int[np.ndarray, " p"]
    labels: tuple[str, ...] | None
    exclude: Int[np.ndarray, "p g"]
    first_row: Int[np.ndarray, " p"]
    how: str

    def profiles(self, features: Float[np.ndarray, "m f"]) -> Float[np.ndarray, "p f"]:
        """Averages the features of all rows of the table into profiles, finite."""
        used = features[self.rows]
        if self.level != "site":
            used = self.wells(features)
        if self.level == "treatment":
            used = group_mean(used, self.treatment_of_well, n_groups=len(self.treatments))
        return completed(used)

    def wells(self, features: Float[np.ndarray, "m f"]) -> Float[np.ndarray, "w f"]:
        """Means of the rows of every well, NaN left out."""
        n_wells = len(self.treatment_of_well)
        return group_mean(features[self.rows], self.well_of_row, n_groups=n_wells)

    def relation(self, protocol: str = "strict") -> Relation:
        """Right answers; ValueError where a label is no regular expression, as moshkov2024 asks."""
        if self.labels is None:
            return same_group(self.treatment)
        if protocol == "moshkov2024":
            return moshkov2024_labels(self.labels)
        return shared_labels(self.labels)


def lay_out(
    table: ProfileTable,
    controls: Bool[np.ndarray, " m"],
    *,
    level: str,
    treatment_column: str,
    label_column: str | None,
) -> Layout:
    """Finds out which rows of a table make which profile.

    Args:
      table: One row a well or a site.
      controls: Rows that are no profiles.
      level: One of `LEVELS`.
      treatment_column: Treatment of a row; rows without one are left out.
      label_column: Label of a treatment; needed at the level "treatment". Treatments without one
        are left out where labels are looked for.

    Returns:
      The layout.

    Raises:
      UserError: No such column, nothing is left, a well has two treatments, or a treatment two
        labels.
    """
    treatment = table.column(treatment_column)
    kept = ~controls & (treatment != "")
    if not kept.any():
        raise UserError(f"every row is a control or has no {treatment_column}")
    label_of: dict[str, str] = {}
    n_unlabelled = 0
    if label_column is not None:
        label_of = _labels(table, kept, treatment, treatment_column, label_column)
        labelled = kept & np.array([bool(label_of.get(name)) for name in treatment.tolist()])
        if len(set(treatment[labelled].tolist())) < 2:
            raise UserError(f"fewer than two treatments have a {label_column}")
        n_unlabelled = len(set(treatment[kept].tolist())) - len(set(treatment[labelled].tolist()))
        kept = labelled
    rows = np.flatnonzero(kept)
    names, treatment_of_row = group_codes(treatment[rows])
    wells, well_of_row = group_codes(well_keys(table)[rows])
    first_of_well = np.unique(well_of_row, return_index=True)[1]
    treatment_of_well = treatment_of_row[first_of_well]
    if (bad := treatment_of_well[well_of_row] != treatment_of_row).any():
        row = int(np.flatnonzero(bad)[0])
        raise UserError(
            f"row {int(rows[row]) + 1}: well {wells[well_of_row[row]]} has two treatments"
        )
    without = "controls" if label_column is None else (
        f"controls and {n_unlabelled} treatments without {label_column}"
    )  # fmt: skip
    if level == "treatment":
        first = np.unique(treatment_of_row, return_index=True)[1]
        code = np.arange(len(names))
        exclude = np.full((len(names), 0), -1)
        how = f"rows of a well averaged, wells of a treatment averaged; {without} left out"
    else:
        first = first_of_well if level == "well" else np.arange(len(rows))
        code = treatment_of_row[first]
        own = code if label_column is not None else well_of_row[first]
        exclude = own[:, None]
        how = f"one profile a {level}; " + (
            "wells of a query's own treatment are no candidates; "
            if label_column is not None
            else "a query's own well is no candidate; "
        )
        how += f"{without} left out"
    if label_column is not None:
        how += "; several labels are separated by |"
    return Layout(
        level=level,
        rows=rows,
        well_of_row=well_of_row,
        treatment_of_well=treatment_of_well,
        treatments=names,
        treatment=code,
        labels=None if label_column is None else tuple(label_of[str(names[k])] for k in code),
        exclude=exclude,
        first_row=rows[first],
        how=how,
    )


def completed(profiles: Float[np.ndarray, "p f"]) -> Float[np.ndarray, "p f"]:
    """Puts the median over the profiles where a number is missing; 0 where all are."""
    if not np.isnan(profiles).any():
        return profiles
    median = np.nan_to_num(quantile(profiles, 0.5))
    return np.where(np.isnan(profiles), median, profiles)


def well_keys(table: ProfileTable) -> Shaped[np.ndarray, " n"]:
    """Plate and well of every row; rows of their own where the table has no such columns."""
    if not all(name in table.metadata.columns for name in KEYS):
        return np.array([f"row {i:09d}" for i in range(len(table.features))])
    plate, well = (table.column(name) for name in KEYS)
    return np.array([f"{p}/{w}" for p, w in zip(plate, well, strict=True)])


def _labels(
    table: ProfileTable,
    kept: np.ndarray,
    treatment: np.ndarray,
    treatment_column: str,
    label_column: str,
) -> dict[str, str]:
    """Label of each treatment; empty where none of its rows has one."""
    found: dict[str, str] = {}
    labels = table.column(label_column)
    for name, label in zip(treatment[kept].tolist(), labels[kept].tolist(), strict=True):
        before = found.get(name, "")
        if before not in ("", label) and label:
            raise UserError(
                f"{treatment_column} {name!r} has two values of {label_column}: {before!r} and "
                f"{label!r}"
            )
        found[name] = before or label
    return found
