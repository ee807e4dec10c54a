"""What an activity model is besides its weights: inputs, network, assays; stored with them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from cellml.models.mlp import Mlp
from cellml.models.mpnn import PRESETS, ActivityNet, make_mpnn
from cellml.ops.kernel_machine import LEVELS

KINDS = ("binary", "regression", "multiclass")
REPRESENTATIONS = ("graph", "morgan", "both", "features_only", "tanimoto")
EVIDENCE = {"binary": 2, "regression": 4}
"""Outputs of an evidential network for each assay, by kind."""


class Fingerprint(NamedTuple):
    """A fingerprint; arguments of `cellml.data.fingerprints.structure_fingerprints`."""

    radius: int = 2
    size: int = 2048
    counts: bool = False
    chirality: bool = False
    kinds: str = "morgan"

    @property
    def n_kinds(self) -> int:
        """How many fingerprints of `size` are side by side."""
        return self.kinds.count("+") + 1


MORGAN = Fingerprint()


class Modality(NamedTuple):
    """Features that a compound has all or none of.

    Attributes:
      name: Such as `morphology`.
      columns: Names of the features, in order.
    """

    name: str
    columns: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ActivitySpec:
    """Everything besides the weights that turns a compound into predictions; stored with them.

    Attributes:
      name: Name of the model.
      kind: One of `KINDS`, of all assays.
      assays: Their names.
      n_classes: Classes of each assay, for `multiclass`.
      representation: One of `REPRESENTATIONS`; modalities come on top of each.
      preset: A key of `cellml.models.mpnn.PRESETS`; it also gives the initialisation.
      mpnn: Fields of `Mpnn` that differ from the preset, as (name, value) pairs.
      fingerprint: For `morgan`, `both` and `tanimoto`.
      modalities: In the order of the columns of a batch's `features`.
      presence: Whether the network is told which modalities are there, one input each.
      may_lack: Whether it can do without a modality: compounds that it was trained on lacked some,
        by themselves or by modality dropout.
      largest_fragment: Whether salts lose their counter-ions, see `read_molecules`.
      hidden: Widths of the head's hidden layers.
      dropout: Of the head, see `Mlp`.
      input_dropout: Likewise.
      activation: Of the head.
      uncertainty_weights: Whether each assay's loss has a learned weight.
      evidential: Whether the network gives a distribution, see `cellml.losses_evidential`.
      members: Networks of the ensemble; from 2 on, every array of the variables has a leading axis.
    """

    name: str = "unnamed"
    kind: str = "binary"
    assays: tuple[str, ...] = ()
    n_classes: int = 0
    representation: str = "graph"
    preset: str = "cellml"
    mpnn: tuple[tuple[str, Any], ...] = ()
    fingerprint: Fingerprint = MORGAN
    modalities: tuple[Modality, ...] = ()
    presence: bool = True
    may_lack: bool = False
    largest_fragment: bool = False
    hidden: tuple[int, ...] = (300,)
    dropout: float = 0.0
    input_dropout: float = 0.0
    activation: str = "relu"
    uncertainty_weights: bool = False
    evidential: bool = False
    members: int = 1

    def __post_init__(self) -> None:
        """Checks the options.

        Raises:
          ValueError: One is unknown, or they contradict each other.
        """
        for what, value, known in (
            ("kind", self.kind, KINDS),
            ("representation", self.representation, REPRESENTATIONS),
            ("preset", self.preset, tuple(PRESETS)),
        ):
            if value not in known:
                raise ValueError(f"activity: {what} {value!r}, expected one of {', '.join(known)}")
        if self.is_kernel and (self.modalities or self.members > 1 or self.kind == "multiclass"):
            raise ValueError(
                "activity: representation 'tanimoto' is for structures alone, one member, readouts "
                f"binary or real; found {len(self.modalities)} feature files, {self.members} "
                f"members, kind {self.kind!r}; late fusion joins it with others"
            )
        if self.representation == "features_only" and not self.modalities:
            raise ValueError("activity: representation 'features_only' needs features")
        if (self.kind == "multiclass") != (self.n_classes > 1) or self.members < 1:
            raise ValueError(
                f"activity: kind {self.kind!r} with {self.n_classes} classes and {self.members} "
                "members: two classes or more go with 'multiclass', and one member is the least"
            )
        if self.evidential and self.kind not in EVIDENCE:
            raise ValueError(f"activity: evidential goes with {' and '.join(EVIDENCE)} alone")

    @property
    def uses_graph(self) -> bool:
        """Whether batches hold graphs."""
        return self.representation in ("graph", "both")

    @property
    def uses_fingerprint(self) -> bool:
        """Whether batches hold fingerprints."""
        return self.representation in ("morgan", "both", "tanimoto")

    @property
    def is_kernel(self) -> bool:
        """Whether the model weighs similarities to its training compounds, without a network."""
        return self.representation == "tanimoto"

    @property
    def levels(self) -> int:
        """Counts of a fingerprint that a kernel tells apart, see `cellml.ops.kernel_machine`."""
        return LEVELS if self.fingerprint.counts else 1

    @property
    def n_features(self) -> int:
        """Columns of all modalities."""
        return sum(len(modality.columns) for modality in self.modalities)

    @property
    def n_outputs(self) -> int:
        """Outputs of the network for each assay, where that is an axis of its own; else 0."""
        return EVIDENCE[self.kind] if self.evidential else self.n_classes

    def network(self, **mpnn_changes: Any) -> ActivityNet:
        """The module of one member, with further fields of its graph network if given."""
        initializer = PRESETS[self.preset].fields["initializer"]
        head = Mlp(
            out=len(self.assays) * max(self.n_outputs, 1),
            hidden=self.hidden,
            dropout=self.dropout,
            input_dropout=self.input_dropout,
            activation=self.activation,
            initializer=initializer,
        )
        fields = dict(self.mpnn) | mpnn_changes
        return ActivityNet(head, make_mpnn(self.preset, **fields) if self.uses_graph else None)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_json` is its inverse."""
        return {
            **dataclasses.asdict(self),
            "mpnn": [list(pair) for pair in self.mpnn],
            "fingerprint": self.fingerprint._asdict(),
            "modalities": [modality._asdict() for modality in self.modalities],
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "ActivitySpec":
        """Reads what `to_json` gave.

        Raises:
          ValueError: Unknown field, as of a later version.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := set(fields) - known:
            raise ValueError(f"activity: unknown fields {sorted(unknown)}; known {sorted(known)}")
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()
        }
        values["mpnn"] = tuple((name, value) for name, value in values.get("mpnn", ()))
        values["fingerprint"] = Fingerprint(**values.get("fingerprint", {}))
        values["modalities"] = tuple(
            Modality(m["name"], tuple(m["columns"])) for m in values.get("modalities", ())
        )
        return cls(**values)
