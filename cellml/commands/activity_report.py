"""`cellml activity report`: tables 1 to 4 and figures 30 to 32 from scores per assay."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from cellml import __version__
from cellml.commands.activity_evaluate import FACTS, TRUST
from cellml.commands.activity_scores import SCORES, plain
from cellml.commands.long_work import say
from cellml.data.score_tables import ScoreTable, read_assay_types, read_score_tables
from cellml.data.writers import write_json
from cellml.errors import UsageError, UserError
from cellml.metrics.assay_summary import assay_overlap, count_above
from cellml.report.activity_report import write_activity_report
from cellml.report.activity_results import AssayStudy, Fusion
from cellml.report.activity_trust_results import Trust
from cellml.report.activity_values import ValueStudy, write_value_report
from cellml.report.html import Chapter

NUMBERS = "report.json"
SINGLES_MAX = 7
STATISTICS = ("median", "mean")
VALUE_KINDS = ("regression", "multiclass")
VALUE_TITLE = "Readouts predicted from structures and profiles"
OTHERS = ("ap", "pr_auc_trapezoid", "ef1", "ef5", "ef10")

STUDY_SINGLES = {"CS": "cp_es_op", "GE": "ge_es_op", "MO": "mobc_es_op"}
STUDY_FUSIONS = {
    "CS+GE": ("late_fusion_cs_ge", "ge_cp_es_op"),
    "CS+MO": ("late_fusion_cs_mobc", "mobc_cp_es_op"),
    "GE+MO": ("late_fusion_ge_mobc", "ge_mobc_es_op"),
    "CS+GE+MO": ("late_fusion_cs_ge_mobc", "ge_mobc_cp_es_op"),
}
STUDY_OTHERS = {
    "CS-MF": "cpcl_es_op",
    "GE-S": "ges_es_op",
    "MO, raw": "mo_es_op",
    "CS+MO, early, raw": "mo_cp_es_op",
    "GE+MO, early, raw": "ge_mo_es_op",
    "CS+GE+MO, early, raw": "ge_mo_cp_es_op",
}
"""What the study's files call its predictors. MO is MO-BC (batch-corrected), as in the
dissertation's table 2; raw is morphology before the correction."""


@dataclass(frozen=True)
class ReportOptions:
    """What the user asked for.

    Attributes:
      scores: Tables of scores, see `cellml.data.score_tables`. Where `evaluate` left its
        evaluation.json beside one, calibration and scores by similarity are shown, too.
      out: Folder to write into.
      statistic: Over the folds, "median" or "mean"; of tables that have both.
      published: Whether the predictors are those of the study, by its names.
      singles: `NAME=PREDICTOR` or `PREDICTOR` of one modality each; all without "+" in their names
        but for the linear baseline and those of `fusions` and `early`, if empty.
      fusions: `A+B=PREDICTOR` for late fusion; predictors called so, if empty.
      early: `A+B=PREDICTOR` for early fusion.
      assay_types: Table of assays and their types.
      title: Of the page.
    """

    scores: Sequence[Path]
    out: Path
    statistic: str = "median"
    published: bool = False
    singles: Sequence[str] = ()
    fusions: Sequence[str] = ()
    early: Sequence[str] = ()
    assay_types: Path | None = None
    title: str = "Assays predicted from structures and profiles"


def run(
    options: ReportOptions, console: Console, *, more: Sequence[Chapter] = ()
) -> dict[str, Any]:
    """Writes report.html, report.json and every figure as PNG and SVG.

    Args:
      options: See `ReportOptions`.
      console: Where to print.
      more: Chapters for the end of the page.

    Returns:
      What is written to report.json.

    Raises:
      UserError: A file or an option cannot be used.
    """
    if options.statistic not in STATISTICS:
        raise UsageError(f"--statistic {options.statistic}: median or mean expected")
    if options.published and (options.singles or options.fusions or options.early):
        raise UsageError("--published names the predictors: no --single, --fusion or --early")
    table = read_score_tables(options.scores)
    types = table.types
    if options.assay_types:
        types = read_assay_types(options.assay_types, table.assays)
    auroc = _score(table, "auroc", options.statistic)
    if not auroc and (kind := _kind_of_values(table)):
        return _report_values(options, table, types, kind, console, more)
    if not auroc:
        names = sorted({score for scores in table.scores.values() for score in scores})
        raise UsageError(f"no auroc of any predictor, found {', '.join(names)}")
    others = {name: _score(table, name, options.statistic) for name in OTHERS}
    shown, singles, fusions = _names(options, list(auroc))
    auroc = {name: auroc[name] for name in [*(n for n in shown if n in auroc), *auroc]}
    try:
        study = AssayStudy(
            table.assays,
            {shown.get(name, name): values for name, values in auroc.items()},
            options.statistic,
            singles,
            fusions,
            types,
            {
                name: {shown.get(who, who): values for who, values in found.items() if who in auroc}
                for name, found in others.items()
                if set(found) & set(auroc)
            },
        )
    except ValueError as error:
        raise UsageError(f"--single, --fusion and --early: {error}") from error
    facts = {
        "cellml": __version__,
        "scores": ", ".join(path.name for path in options.scores),
        "over the folds": options.statistic,
        "assays": str(len(study.assays)),
    }
    for name, label in shown.items():
        if name != label:
            facts[label] = name
    numbers = _numbers(study)
    trust = _trust(options.scores, shown)
    page = write_activity_report(
        options.out, study, title=options.title, facts=facts, trust=trust, more=more
    )
    write_json(options.out / NUMBERS, numbers)
    say(console, f"wrote {page}")
    return numbers


def _kind_of_values(table: ScoreTable) -> str | None:
    """Which kind of readouts that are no hits the scores are of."""
    there = {score for scores in table.scores.values() for score in scores}
    for kind in VALUE_KINDS:
        first = SCORES[kind][0]
        if first in there or any(f"{first}_{statistic}" in there for statistic in STATISTICS):
            return kind
    return None


def _report_values(
    options: ReportOptions,
    table: ScoreTable,
    types: tuple[str, ...],
    kind: str,
    console: Console,
    more: Sequence[Chapter],
) -> dict[str, Any]:
    """The report on values or classes, which have no counts above an AUROC."""
    if options.published or options.singles or options.fusions or options.early:
        raise UsageError(
            f"scores of {kind} readouts: --published, --single, --fusion and --early are for hits"
        )
    scores = {name: _score(table, name, options.statistic) for name in SCORES[kind]}
    predictors = [name for name in table.scores if name in scores[SCORES[kind][0]]]
    nothing = np.full(len(table.assays), np.nan)
    study = ValueStudy(
        kind,
        table.assays,
        {
            name: {who: found.get(who, nothing) for who in predictors}
            for name, found in scores.items()
            if found
        },
        options.statistic,
        types,
    )
    facts = {
        "cellml": __version__,
        "scores": ", ".join(path.name for path in options.scores),
        "over the folds": options.statistic,
        "assays": str(len(study.assays)),
    }
    numbers = {
        "assays": len(study.assays),
        "kind": kind,
        "statistic": study.statistic,
        "predictors": {
            who: {
                name: {"mean": plain(counts.mean), "median": plain(counts.median),
                       "undefined": counts.n_undefined}
                for name, by in study.scores.items()
                for counts in [count_above(by[who], ())]
            }
            for who in predictors
        },
    }  # fmt: skip
    title = VALUE_TITLE if options.title == ReportOptions.title else options.title
    page = write_value_report(
        options.out, study, title=title, facts=facts, trust=_trust(options.scores, {}), more=more
    )
    write_json(options.out / NUMBERS, numbers)
    say(console, f"wrote {page}")
    return numbers


def _trust(scores: Sequence[Path], shown: dict[str, str]) -> Trust:
    """Calibration, spread and similarity of the predictors, from beside their scores."""
    found = Trust()
    for folder in dict.fromkeys(path.parent for path in scores):
        path = folder / FACTS
        if not path.is_file():
            continue
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            more = Trust.from_json(record[TRUST]) if TRUST in record else Trust()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path}: not as `cellml activity evaluate` writes it ({error}); evaluate again"
            ) from error
        found = found.joined(more)
    return found.renamed(shown)


def _score(table: ScoreTable, name: str, statistic: str) -> dict[str, Any]:
    """A score of all predictors that have it, under its plain name or with the statistic's."""
    found = {}
    for predictor, scores in table.scores.items():
        values = scores.get(f"{name}_{statistic}", scores.get(name))
        if values is not None:
            found[predictor] = values
    return found


def _names(
    options: ReportOptions, predictors: list[str]
) -> tuple[dict[str, str], tuple[str, ...], tuple[Fusion, ...]]:
    """How predictors are called on the page, which are single, and what joins them."""
    late, early = _pairs(options.fusions, "--fusion"), _pairs(options.early, "--early")
    if options.published:
        single = STUDY_SINGLES
        late = {name: pair[0] for name, pair in STUDY_FUSIONS.items()}
        early = {name: pair[1] for name, pair in STUDY_FUSIONS.items()}
    elif options.singles:
        single = {}
        for text in options.singles:
            name, sign, predictor = text.partition("=")
            single[name] = predictor if sign else name
    else:
        fused = {*late.values(), *early.values(), "linear"}
        plain_names = [p for p in predictors if "+" not in p and p not in fused]
        single = {name: name for name in plain_names or predictors}
        if len(single) > SINGLES_MAX:
            raise UsageError(
                f"{len(single)} predictors: say with --single which stand for a modality"
            )
    if not options.published and not late:
        late = {p: p for p in predictors if "+" in p and set(p.split("+")) <= set(single)}
    for name in [*single.values(), *late.values(), *early.values()]:
        if name not in predictors:
            raise UsageError(f"no predictor {name!r}, found {', '.join(predictors)}")
    for name in single.values():
        if name in (*late.values(), *early.values()):
            raise UsageError(f"predictor {name!r}: --single and --fusion or --early exclude each "
                             "other")  # fmt: skip
    shown = {predictor: name for name, predictor in single.items()}
    fusions = {}
    for name in dict.fromkeys([*late, *early]):
        parts = tuple(part.strip() for part in name.split("+"))
        if len(parts) < 2 or not set(parts) <= set(single):
            raise UsageError(f"{name!r}: single predictors joined by + expected, as CS+MO")
        fusions[name] = parts
    shown |= {predictor: f"{name}, late" for name, predictor in late.items() if name != predictor}
    shown |= {predictor: f"{name}, early" for name, predictor in early.items()}
    if options.published:
        shown |= {predictor: name for name, predictor in STUDY_OTHERS.items()}
    found = []
    for name, parts in fusions.items():
        names = (shown.get(d[name], d[name]) if name in d else None for d in (late, early))
        found.append(Fusion(parts, *names))
    found.sort(key=lambda fusion: len(fusion.parts))
    return shown, tuple(single), tuple(found)


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        name, sign, predictor = text.partition("=")
        if not sign or "+" not in name:
            raise UsageError(f"{option} {text}: A+B=PREDICTOR expected")
        found[name] = predictor
    return found


def _numbers(study: AssayStudy) -> dict[str, Any]:
    """The numbers of the tables, as JSON."""
    predictors = {}
    for name, values in study.auroc.items():
        counts = count_above(values)
        predictors[name] = {
            "above": {f"{limit:g}": count for limit, count in counts.above.items()},
            "mean": plain(counts.mean),
            "median": plain(counts.median),
            "undefined": counts.n_undefined,
        }
    fusions = {}
    for fusion in study.fusions:
        joined = [*fusion.parts, *([fusion.late] if fusion.late else [])]
        fusions[study.label(fusion)] = {
            "union": {
                f"{limit:g}": assay_overlap(study.passed(fusion.parts, limit)).union
                for limit in (0.5, 0.7, 0.9)
            },
            "best_with_late_fusion": {
                f"{limit:g}": n for limit, n in count_above(study.best(joined)).above.items()
            },
        }
    overlap = {
        f"{limit:g}": {
            " & ".join(members): count
            for members, count in assay_overlap(
                study.passed(study.singles, limit)
            ).exclusive.items()
        }
        for limit in (0.7, 0.9)
    }
    return {
        "assays": len(study.assays),
        "statistic": study.statistic,
        "predictors": predictors,
        "fusions": fusions,
        "overlap": overlap,
    }
