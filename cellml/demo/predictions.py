"""Runs the shipped model once on every image of the tour, and scores it where truth is known.

The identity is the first of the eight transforms, so one pass gives the answers with and without
test-time augmentation (TTA).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from cellml import tta
from cellml.data.writers import write_labels, write_png
from cellml.demo.fields import Field, simulated_fields, tissue_section
from cellml.demo.settings import DemoRun, Stopwatch
from cellml.metrics import InstanceScores, evaluate_labels
from cellml.ops.overlap import overlap_pairs_host
from cellml.tasks.otsu import segment_otsu
from cellml.tasks.semantic import Segmenter, labels_from_maps, load_segmenter
from cellml.tasks.whole_image import predict_stack
from cellml.tta import InstanceMerge

OTSU, SINGLE, MEAN, VOTES = "Otsu + watershed", "Model", "Model, TTA", "Model, TTA by votes"
METHODS = (OTSU, SINGLE, MEAN, VOTES)
TRANSFORMS = "d4"


@dataclass(frozen=True)
class Prediction:
    """All that was computed of one field.

    Attributes:
      field: The image.
      foreground: Probability of nucleus under each transform.
      labels: Nuclei by method.
      merge: The vote of the transforms' nuclei; its labels are those of `VOTES`.
      scores: By method; empty without truth.
      seconds: Taken by the model under all transforms, without compilation.
    """

    field: Field
    foreground: Float[np.ndarray, "t h w"]
    labels: dict[str, Int[np.ndarray, "h w"]]
    merge: InstanceMerge
    scores: dict[str, InstanceScores]
    seconds: float

    @property
    def probability(self) -> Float[np.ndarray, "h w"]:
        """Mean probability of nucleus over the transforms."""
        return self.foreground.mean(axis=0)

    @property
    def spread(self) -> Float[np.ndarray, "h w"]:
        """Standard deviation of the probability over the transforms, at most 0.5."""
        return np.sqrt(np.asarray(tta.variance(self.foreground)))


def segmenter(run: DemoRun) -> Segmenter:
    """The model of the tour, loaded once."""
    return run.once("segmenter", lambda r: load_segmenter(r.model))


def predictions(run: DemoRun) -> list[Prediction]:
    """Predictions of the simulated fields, computed once."""
    return run.once("predictions", _predict_simulated)


def tissue_prediction(run: DemoRun) -> Prediction:
    """Prediction of scikit-image's tissue section, computed once."""
    return run.once("tissue", _predict_tissue)


def predict_field(model: Segmenter, field: Field) -> Prediction:
    """Segments one image by every method.

    Args:
      model: The segmenter.
      field: The image.
    Returns:
      Labels, votes and, with truth, scores by the rules of the 2018 Data Science Bowl.
    """
    watch = Stopwatch()
    stack = predict_stack(model, field.image, transforms=TRANSFORMS)
    seconds = watch.seconds
    copies = np.stack([labels_from_maps(maps, model.spec) for maps in stack])
    merge = tta.merge_instances_host(copies)
    labels = {
        OTSU: segment_otsu(field.image),
        SINGLE: copies[0],
        MEAN: labels_from_maps(stack.mean(axis=0), model.spec),
        VOTES: np.asarray(merge.labels),
    }
    truth = field.truth
    scores = {
        method: evaluate_labels(truth, labels[method]) for method in METHODS if truth is not None
    }
    return Prediction(field, stack[..., 0], labels, merge, scores, seconds)


def votes_and_hits(prediction: Prediction) -> list[tuple[int, bool]]:
    """For each nucleus of the vote: transforms that found it, and whether it is right.

    Args:
      prediction: Of a field with truth.
    Returns:
      (votes, IoU with a true nucleus above 0.5), in the order of the labels.
    """
    truth, merge = prediction.field.truth, prediction.merge
    if truth is None:
        raise ValueError(f"{prediction.field.name}: no truth to compare with")
    found = np.asarray(merge.labels)
    a, b, common = overlap_pairs_host(truth, found)
    area_a, area_b = np.bincount(truth.ravel()), np.bincount(found.ravel())
    right = set(b[common / (area_a[a] + area_b[b] - common) > 0.5].tolist())
    votes = np.round(np.asarray(merge.vote_share) * len(prediction.foreground)).astype(int)
    return [(int(votes[label]), label in right) for label in range(1, int(merge.n_objects) + 1)]


def _predict_simulated(run: DemoRun) -> list[Prediction]:
    model = segmenter(run)
    run.say("rendering simulated fields")
    fields = simulated_fields(run.out / "data", run.size)
    run.say(f"segmenting {len(fields)} simulated fields under 8 transforms (compiling first)")
    watch = Stopwatch()
    predict_stack(model, fields[0].image, transforms=TRANSFORMS)
    run.numbers["compile_s"] = watch.seconds
    made = [predict_field(model, field) for field in fields]
    _write(run, made)
    return made


def _predict_tissue(run: DemoRun) -> Prediction:
    field = tissue_section(run.size.tissue_side_px)
    run.say(f"segmenting the tissue section that scikit-image ships ({field.image.shape[0]} px)")
    made = predict_field(segmenter(run), field)
    _write(run, [made])
    return made


def _write(run: DemoRun, made: list[Prediction]) -> None:
    """Keeps images and labels, to be opened in any viewer."""
    for prediction in made:
        name = prediction.field.name
        write_png(run.out / "images" / f"{name}.png", prediction.field.shown)
        write_labels(run.out / "images" / f"{name}_labels.tif", prediction.labels[MEAN])
