"""The contour assist: from a lazy polygon, a box or a click to an outline.

The part of the image around the prompt is brought into a window of one fixed size, so that the
network is compiled once; its maps are decoded into instances, so that nuclei that touch stay apart,
and the instances that fit the prompt best become the proposal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Bool, Float, Int, Shaped

from cellml.annotate.active_contour import fit_contour
from cellml.annotate.objects import Polygons
from cellml.annotate.region_growing import contrast_map, grow_region, largest_piece, middle_of
from cellml.annotate.whole_image import label_whole_image
from cellml.annotate.windows import Points, ReadRegion, View, cut_view, make_prompt
from cellml.errors import UsageError, UserError
from cellml.ops.instance_maps import labels_from_maps
from cellml.tasks.semantic import Segmenter, load_segmenter
from cellml.tasks.whole_image import stack_predictor

METHODS = ("unet", "classic", "snake")
WINDOW_PX = 256
MODEL_FILE = "model.safetensors"
"""The model's name in a folder that `cellml.annotate.fine_tuning` wrote."""

FOREGROUND_MIN = (1.0, 0.6, 0.3)
"""Thresholds of the foreground tried in turn, as shares of the model's own: where the user says
that there is something, the network may be less sure of it."""
FIT_ENOUGH = 0.6
"""An IoU with the prompt that ends the search."""
INSIDE_MIN = 0.7
"""A further instance joins the best one if this share of it lies inside the polygon or box."""
NEAR_SHARE = 0.15
"""A proposal leaves a polygon or box by at most this share of the root of its area."""
NEAR_MIN_PX = 2.0
RING_PX = 8.0
"""Width of the ring around a prompt from which the colour of the surroundings is taken."""
NEAR_POINT_PX = 4.0
"""A click beside an object still means it, up to this distance."""


class NothingFoundError(UserError):
    """No object was found at the prompt; the message is one sentence for the user."""


class Outline(NamedTuple):
    """A proposal.

    Attributes:
      polygons: In the image's coordinates, holes filled.
      score: Within [0, 1]. unet: mean foreground probability inside. classic and snake: mean
        likeness to the middle of the prompt (`contrast_map`, clipped).
      inverted: Whether the network saw bright and dark exchanged.
    """

    polygons: Polygons
    score: float
    inverted: bool = False


class _Found(NamedTuple):
    """What a method found in a window.

    Attributes:
      view: The window.
      mask: The object; empty if there is none.
      likeness: Foreground probability, or likeness to the middle of the prompt.
    """

    view: View
    mask: Bool[np.ndarray, "h w"]
    likeness: Float[np.ndarray, "h w"]

    @property
    def score(self) -> float:
        """Mean likeness inside the mask, within [0, 1]; 0 if the mask is empty."""
        inside = self.likeness[self.mask]
        return float(np.clip(inside.mean(), 0, 1)) if inside.size else 0.0


@dataclass(frozen=True)
class Assistant:
    """Proposes outlines with one model. Immutable, and may be used by several threads.

    Attributes:
      name: Name or path that the model was loaded by.
      segmenter: A U-Net with its thresholds.
    """

    name: str
    segmenter: Segmenter

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Assistant":
        """Loads a model and compiles nothing yet.

        Args:
          name_or_path: Name of a shipped model, a weights file, or the folder of a fine-tuned one.

        Returns:
          The assistant.

        Raises:
          UsageError: Unknown, missing or damaged, or not a U-Net.
        """
        path = Path(name_or_path)
        inner = path / MODEL_FILE
        try:
            segmenter = load_segmenter(inner if path.is_dir() else name_or_path)
        except (ValueError, OSError) as error:
            raise UsageError(str(error)) from error
        return cls(path.name if path.is_dir() else str(name_or_path), segmenter)

    def warm_up(self) -> None:
        """Compiles the window's network and imports what the methods need; takes seconds."""
        side = WINDOW_PX
        y, x = np.mgrid[:side, :side]
        disc = 200 * np.exp(-((np.hypot(y - side / 2, x - side / 2) / 12) ** 4))
        picture = disc.astype(np.uint8)[..., None]
        box = (side / 2 - 14.0, side / 2 - 14.0, side / 2 + 14.0, side / 2 + 14.0)
        for method in METHODS:
            try:
                self.outline(
                    lambda y0, x0, y1, x1: picture[y0:y1, x0:x1],
                    (side, side),
                    box=box,
                    method=method,
                )
            except NothingFoundError:  # a model of something else need not find a disc
                continue

    def outline(
        self,
        read_region: ReadRegion,
        image_shape: tuple[int, ...],
        *,
        polygon: Points | None = None,
        point: Sequence[float | int] | None = None,
        box: Sequence[float | int] | None = None,
        method: str = "unet",
        invert: bool | None = None,
        channel: int | None = None,
    ) -> Outline:
        """Proposes the outline of the object that a prompt points at.

        Args:
          read_region: `(y0, x0, y1, x1) -> raw values [h w c]`.
          image_shape: Height and width of the image first.
          polygon: Lazy contour, points (x, y). Give this or one of the next two.
          point: (x, y) on the object.
          box: (x0, y0, x1, y1) around it.
          method: One of `METHODS`.
          invert: For the network: dark objects on a bright ground. None: where the object is
            darker than its surroundings, both ways are tried and the better one is taken. The
            other methods see either.
          channel: Channel to look at, from 0; see `cellml.annotate.windows.model_channels`.

        Returns:
          The proposal: one object, possibly of several parts.

        Raises:
          NothingFoundError: There is no object.
          UserError: A prompt that cannot be used, see `make_prompt`.
          UsageError: Unknown method.
        """
        if method not in METHODS:
            raise UsageError(f"method {method!r}: one of {', '.join(METHODS)} expected")
        spec = self.segmenter.spec
        prompt = make_prompt(image_shape, polygon=polygon, point=point, box=box)
        is_point = not prompt.polygons

        def look(inverted: bool) -> View:
            return cut_view(
                read_region,
                image_shape,
                prompt,
                side_px=WINDOW_PX,
                channels=spec.in_channels,
                percentiles=spec.percentiles,
                invert=inverted,
                channel=channel,
            )

        inverted = method == "unet" and bool(invert)
        if method == "unet":
            view = look(inverted)
            found = self._by_network(view, is_point=is_point)
            if invert is None and self._is_darker(view, is_point=is_point):
                other = self._by_network(look(True), is_point=is_point)
                inverted = _quality(other, is_point) > _quality(found, is_point)
                found = other if inverted else found
        else:
            found = self._by_pixels(look(bool(invert)), method, is_point=is_point)
        polygons = found.view.outline(found.mask) if found.mask.any() else ()
        if not polygons:
            raise NothingFoundError(
                f"Nothing was found here by the method {method}: draw around the object more "
                "closely, try another method, or invert."
            )
        return Outline(polygons, found.score, inverted)

    def propose(
        self,
        image: Shaped[np.ndarray, "h w c"],
        *,
        tta: bool = False,
        progress: Callable[[float, str], None] = lambda share, message: None,
        channel: int | None = None,
        invert: bool = False,
    ) -> Int[np.ndarray, "h w"]:
        """Finds all objects of an image, as `cellml segment` does.

        Args:
          image: Raw values; may be a memory map.
          tta: Predict under all eight turns and mirrorings (eight times as slow).
          progress: Called with the share done and a message; what it raises ends the work.
          channel: As in `outline`.
          invert: Likewise.

        Returns:
          int32 labels 1..n, 0 is background.

        Raises:
          UserError: There is no such channel.
        """
        return label_whole_image(
            self.segmenter,
            image,
            transforms="d4" if tta else "none",
            progress=progress,
            channel=channel,
            invert=invert,
        )

    def maps(
        self, window: Float[np.ndarray, "h w c"], *, transforms: str = "none"
    ) -> Float[np.ndarray, "t h w k"]:
        """The network's maps of one normalised window under every transform of a preset."""
        run = stack_predictor(self.segmenter.spec, transforms)
        return np.asarray(run(self.segmenter.variables, jnp.asarray(window)))

    def _by_network(self, view: View, *, is_point: bool) -> _Found:
        """The object, and foreground probability."""
        spec = self.segmenter.spec
        maps = np.array(self.maps(view.image)[0])
        maps[view.seen[0] :], maps[:, view.seen[1] :] = 0, 0
        near = around(view.prompt)
        found, fit = np.zeros(view.prompt.shape, bool), 0.0
        for share in FOREGROUND_MIN:
            labels = labels_from_maps(
                maps,
                spec.heads,
                foreground_min=share * spec.foreground_min,
                seed_distance_min=spec.seed_distance_min,
                seed_boundary_max=spec.seed_boundary_max,
                smooth_px=spec.smooth_px,
            )
            if is_point:
                found = largest_piece(at_point(labels, view.prompt))
                fit = float(found.any())
            else:
                mask = largest_piece(best_fit(labels, view.prompt) & near)
                iou = mask_iou(mask, view.prompt) if mask.any() else 0.0
                found, fit = (mask, iou) if iou > fit else (found, fit)
            if fit >= FIT_ENOUGH:
                break
        return _Found(view, np.asarray(ndi.binary_fill_holes(found), bool), maps[..., 0])

    def _by_pixels(self, view: View, method: str, *, is_point: bool) -> _Found:
        """The object, and likeness to its middle."""
        prompt, near, ring = self._surroundings(view, is_point=is_point)
        likeness = contrast_map(view.image, prompt, ring)
        fit = grow_region if method == "classic" else fit_contour
        return _Found(view, fit(likeness, prompt, near), likeness)

    def _is_darker(self, view: View, *, is_point: bool) -> bool:
        """Whether the middle of the prompt is darker than its surroundings."""
        prompt, _, ring = self._surroundings(view, is_point=is_point)
        light = view.image.mean(axis=-1)
        return bool(ring.any() and np.median(light[middle_of(prompt)]) < np.median(light[ring]))

    def _surroundings(
        self, view: View, *, is_point: bool
    ) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
        """Where the object surely is, where it may reach to, and a ring of its surroundings."""
        prompt, near = view.prompt, around(view.prompt)
        away = ndi.distance_transform_edt(~prompt)
        ring = (away > 1) & (away <= 1 + RING_PX)
        if is_point:  # a disc inside a typical nucleus, and room for a large one
            diameter = self.segmenter.spec.diameter_px
            prompt, near = away <= diameter / 4, away <= diameter
            ring = (away > 0.75 * diameter) & (away <= 0.75 * diameter + RING_PX)
        near[view.seen[0] :], near[:, view.seen[1] :] = False, False
        return prompt, near, ring


def _quality(found: _Found, is_point: bool) -> float:
    """Which of two proposals for one prompt is better: the score, times the IoU with a contour."""
    return found.score * (1.0 if is_point else mask_iou(found.mask, found.view.prompt))


def mask_iou(a: Bool[np.ndarray, "h w"], b: Bool[np.ndarray, "h w"]) -> float:
    """Intersection over union of two masks; 1 if both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def around(prompt: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The prompt and a rim, in proportion to its size, that the object may reach into."""
    reach = max(NEAR_MIN_PX, NEAR_SHARE * float(np.sqrt(prompt.sum())))
    return np.asarray(ndi.distance_transform_edt(~prompt) <= reach, bool)


def best_fit(
    labels: Int[np.ndarray, "h w"], prompt: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """The instance that fits a lazy contour or box best, with what belongs to it.

    Args:
      labels: Instances, 0 is background.
      prompt: Inside of the contour or box.

    Returns:
      The instance of the highest IoU with the prompt, and those that lie mostly inside the prompt
      as well and make the IoU higher: pieces of one object that the network took apart. Empty if
      no instance overlaps the prompt.
    """
    count = int(labels.max(initial=0)) + 1
    area = np.bincount(labels.ravel(), minlength=count)
    inside = np.bincount(labels[prompt], minlength=count)
    inside[0] = 0
    if not inside.any():
        return np.zeros(labels.shape, bool)
    total = int(prompt.sum())
    iou = inside / (area + total - inside)
    order = [int(i) for i in np.argsort(-iou, kind="stable") if inside[i]]
    chosen, shared, covered = order[:1], int(inside[order[0]]), int(area[order[0]])
    for i in order[1:]:
        joined = (shared + inside[i]) / (covered + area[i] + total - shared - inside[i])
        if inside[i] >= INSIDE_MIN * area[i] and joined > shared / (covered + total - shared):
            chosen.append(i)
            shared, covered = shared + int(inside[i]), covered + int(area[i])
    return np.isin(labels, chosen)


def at_point(
    labels: Int[np.ndarray, "h w"], prompt: Bool[np.ndarray, "h w"]
) -> Bool[np.ndarray, "h w"]:
    """The instance under a click, or the nearest one within `NEAR_POINT_PX`; may be empty."""
    away = ndi.distance_transform_edt(~prompt)
    near = (labels > 0) & (away <= NEAR_POINT_PX)
    if not near.any():
        return np.zeros(labels.shape, bool)
    return labels == labels.ravel()[np.where(near, away, np.inf).argmin()]
