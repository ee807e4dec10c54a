"""Chapter: which compound hits which assay, from its structure and from what it does to cells."""

import json
import shutil
from typing import Any

from rich.console import Console

from cellml.commands import activity_study
from cellml.commands.activity_evaluate import FACTS, LINEAR, TRUST
from cellml.commands.activity_inputs import CompoundSource
from cellml.data.assay_simulation import simulate_screen, write_screen
from cellml.data.assay_tables import read_assays
from cellml.demo.settings import DemoRun
from cellml.report.activity_study import draw_means, study_table
from cellml.report.activity_trust import draw_reliability, reliability_table
from cellml.report.activity_trust_results import Trust
from cellml.report.html import Chapter, Figure, Headline, Section

FOLDER, MODELS = "assays", "models"
SOURCES = ("structure", "morphology", "structure+morphology")
HELD_OUT = "0"


def activity_chapter(run: DemoRun) -> Chapter:
    """Assays are simulated and predicted from structures, from profiles, and from both.

    Args:
      run: The tour.
    Returns:
      The chapter.
    """
    folder, size = run.out / FOLDER, dict(run.size.assays)
    # Trained anew each time: what another size of the tour left would not fit.
    shutil.rmtree(folder / MODELS, ignore_errors=True)
    facts = _study(run, size)
    late = facts["late"]
    names = {
        LINEAR: "structure, linear baseline",
        "CS": "structure (CS), network",
        "MO": "morphology (MO), network",
        "early": "early fusion",
        late: "late fusion",
        "best of single ones and late": "best for each assay",
    }
    run.numbers["activity"] = facts
    mean = {name: facts["predictors"][name]["mean"] for name in names}
    return Chapter(
        "From structures and cells to assays",
        f"{facts['assays']} simulated assays. Some depend on the structure of a compound, some on "
        "what it does to cells, some on both; each is measured for a part of the compounds alone.",
        [_fusion_section(run, facts, names), _trust_section(run, late)],
        [
            Headline(
                "-" if mean[late] is None else f"{mean[late]:.2f}",
                "mean AUROC of held-out compounds by structure and morphology together "
                f"({_shown(mean['CS'])} by structure, {_shown(mean['MO'])} by morphology alone)",
            )
        ],
    )


def _study(run: DemoRun, size: dict[str, Any]) -> dict[str, Any]:
    folder = run.out / FOLDER
    screen = simulate_screen(
        n_compounds=size["n_compounds"], n_assays=size["n_assays"], sources=SOURCES, mistaken=0.03,
    )  # fmt: skip
    assays, morphology = write_screen(folder / "screen", screen)
    types = activity_study.write_types(folder / "screen", screen.assays)
    options = activity_study.StudyOptions(
        CompoundSource(assays),
        {"MO": morphology},
        folder,
        folds=size["folds"],
        holdout=(HELD_OUT,),
        preset=size["preset"],
        epochs=size["epochs"],
        changes=size["changes"],
        assay_types=types,
    )
    facts = activity_study.run(options, Console(quiet=True))
    return facts | {"compounds": len(read_assays(assays).smiles)}


def _fusion_section(run: DemoRun, facts: dict[str, Any], names: dict[str, str]) -> Section:
    late = facts["late"]
    drawn = (LINEAR, "CS", "MO", "early", late)
    return Section(
        "Structure, morphology, and both",
        [
            f"{facts['compounds']:,} compounds are split so that no ring system (Bemis-Murcko "
            "scaffold) stands on both sides; one part is held out. A graph network reads "
            "structures, a small network reads profiles. Early fusion trains one network on both; "
            "late fusion joins the probabilities of the two by the mean of their log odds.",
        ],
        [
            Figure(
                draw_means(facts, drawn, run.out / FOLDER / "means"),
                "Mean AUROC of the held-out compounds by what the assays depend on: .5 is chance. "
                "A modality predicts the assays that depend on it; fusion predicts all kinds.",
            ),
            study_table(facts, names),
        ],
    )


def _trust_section(run: DemoRun, late: str) -> Section:
    record = json.loads((run.out / FOLDER / "scores" / FACTS).read_text(encoding="utf-8"))
    trust = Trust.from_json(record[TRUST])
    shown = {name: trust.reliability[name] for name in (LINEAR, "CS", "MO", late)}
    return Section(
        "Can the probabilities be believed?",
        [
            "A model that ranks well may still promise too much. Of all readouts to which it gives "
            "a probability of .2, one in five should be a hit.",
        ],
        [
            Figure(
                draw_reliability(shown, run.out / FOLDER / "reliability"),
                "Share of hits against probability, all assays together: on the diagonal, "
                "probabilities can be taken at their word. Bars: 95 % intervals.",
            ),
            reliability_table(shown),
        ],
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
