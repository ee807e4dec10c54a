"""cellml's own models as records of the list, with the scores that were measured.

Scores of shipped models are read from the file that their release wrote, so that no number is
typed twice; those of models that are not shipped stand in `data/own_models.json`, and a test holds
them against `benchmarks/RESULTS.md`.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from cellml.assistant.methods import read_data
from cellml.assistant.microscopy_tree import CHALLENGES, LINKS

METRIC = "ap_dsb2018"
RELEASED = "cellml/weights/pretrained/{}.json"


def own_records() -> list[dict[str, Any]]:
    """Records as `cellml.assistant.methods.parse_methods` takes them."""
    return [_record(model) for model in read_data("own_models.json")]


def _record(model: dict[str, Any]) -> dict[str, Any]:
    same = ("id", "name", "authors", "year", "venue", "two_d", "three_d", "modalities")
    challenges: dict[str, bool | None] = {**dict.fromkeys(CHALLENGES)}
    challenges["overlapping"] = model["overlapping"]
    measured = _measured(model["scores"])
    return {
        **{key: model[key] for key in same},
        "source_id": None,
        "also_for": [],
        "challenges": challenges,
        "links": dict.fromkeys(LINKS),
        "pretrained": [
            {
                "name": f"cellml segment --model {model['pretrained']}",
                "modality": m["modality"],
                "dimension": "2d",
                "links": [],
            }
            for m in measured
            if model["pretrained"] and m["modality"]
        ],
        "github_stars": None,
        "licence": {"name": "Apache-2.0", "evidence": "LICENSE of cellml"},
        "last_checked": None,
        "measured_by_cellml": measured,
    }


def _measured(scores: dict[str, Any]) -> list[dict[str, Any]]:
    if "shipped" not in scores:
        return [
            {
                "modality": scores["modality"],
                "images": scores["images"],
                "n_images": scores["n_images"],
                "metric": METRIC,
                "value": scores[METRIC],
                "setting": scores["setting"],
                "source": scores["table"],
            }
        ]
    file = resources.files("cellml.weights") / "pretrained" / f"{scores['shipped']}.json"
    released = json.loads(Path(str(file)).read_text(encoding="utf-8"))["validation"]
    return [
        {
            "modality": modality,
            "images": images,
            "n_images": released[images][scores["setting"]]["n_images"],
            "metric": METRIC,
            "value": released[images][scores["setting"]][METRIC],
            "setting": scores["setting"],
            "source": RELEASED.format(scores["shipped"]),
        }
        for images, modality in scores["modalities"].items()
    ]
