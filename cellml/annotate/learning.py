"""The model at work: the one in use, what it proposes, how it learns, and how unsure it is."""

import json
import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cellml.annotate import geometry
from cellml.annotate.assist import MODEL_FILE
from cellml.annotate.import_records import plural
from cellml.annotate.jobs import Cancelled, Job
from cellml.annotate.outlines import labels_to_objects, objects_to_labels
from cellml.annotate.workspace import Workspace
from cellml.data.writers import write_json
from cellml.errors import UserError

IOU_MAX = 0.3
"""A proposal that covers an object there already by more than this is left out."""
MODELS, CURRENT, TRAINED = "models", "current.json", "trained-"


Assistant = Any
"""`cellml.annotate.assist.Assistant`, or in tests whatever has its methods."""

Load = Callable[[str | Path], Assistant]


class Models:
    """The model that came with the command, and those that were trained here.

    Attributes:
      current: Name of the one in use.
      assistant: The one in use.
    """

    def __init__(self, out: Path, asked: str | None, load: Load, *, default: str) -> None:
        """Loads the model that was asked for, else the one used last, else the default.

        Args:
          out: Folder of the annotations.
          asked: Name, file, or name of a model trained here.
          load: `Assistant.load`.
          default: A name that `load` knows.

        Raises:
          UsageError: There is no such model.
        """
        self._folder, self._load = out / MODELS, load
        self._lock = threading.Lock()
        remembered = self._remembered()
        is_trained = asked in self._trained()
        self._base = default if asked is None or is_trained else asked
        self.current = asked if is_trained and asked else self.base_name
        if asked is None and remembered in self._trained():
            self.current = remembered
        self.assistant = load(self._place(self.current))

    @property
    def base_name(self) -> str:
        """Name of the model that was not trained here."""
        return Path(self._base).name

    def names(self) -> list[str]:
        """All models, the latest last."""
        return [self.base_name, *self._trained()]

    def choose(self, name: Any) -> None:
        """Uses another model from now on, also after a restart.

        Args:
          name: One of `names`.

        Raises:
          UserError: There is no such model.
        """
        if name not in self.names():
            raise UserError(f"model {name!r} found, one of {', '.join(self.names())} expected")
        self.use(name, self._load(self._place(name)))

    def use(self, name: str, assistant: Assistant) -> None:
        """Puts a loaded model in use."""
        with self._lock:
            self.assistant, self.current = assistant, name
        write_json(self._folder / CURRENT, {"model": name})

    def new_folder(self) -> tuple[str, Path]:
        """Makes the folder of the next model: its name and path; drops what killed ones left."""
        for path in self._unfinished():
            shutil.rmtree(path, ignore_errors=True)
        taken = [int(p.name) for p in self._folder.glob("*") if p.name.isdecimal()]
        number = max(taken, default=0) + 1
        path = self._folder / str(number)
        path.mkdir(parents=True)
        return f"{TRAINED}{number}", path

    def warm_up(self) -> threading.Thread:
        """Compiles in the background, so that the first proposal is as fast as the others."""

        def work() -> None:
            try:
                self.assistant.warm_up()
            except Exception:  # the first proposal will say what is wrong
                logging.getLogger(__name__).exception("warming up failed")

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def _folders(self) -> list[Path]:
        return [p for p in self._folder.glob("*") if p.name.isdecimal() and p.is_dir()]

    def _unfinished(self) -> list[Path]:
        return [p for p in self._folders() if not (p / MODEL_FILE).is_file()]

    def _trained(self) -> list[str]:
        whole = [int(p.name) for p in self._folders() if (p / MODEL_FILE).is_file()]
        return [f"{TRAINED}{number}" for number in sorted(whole)]

    def _place(self, name: str) -> str | Path:
        is_trained = name in self._trained()
        return self._folder / name.removeprefix(TRAINED) if is_trained else self._base

    def _remembered(self) -> str | None:
        try:
            return json.loads((self._folder / CURRENT).read_text(encoding="utf-8"))["model"]
        except (OSError, ValueError, KeyError, TypeError):
            return None


def propose(
    workspace: Workspace,
    models: Models,
    job: Job,
    index: int,
    *,
    class_name: str,
    tta: bool,
    invert: bool = False,
) -> str:
    """Puts what the model finds in an image into its journal, as one step.

    Args:
      workspace: Where the image is.
      models: The one in use is asked.
      job: To report progress to.
      index: Of the image.
      class_name: Of the new objects.
      tta: Whether test-time augmentation is used.
      invert: Whether bright and dark are exchanged first.

    Returns:
      How many objects were added and left out.

    Raises:
      UserError: The image cannot be read or the journal not be written.
    """
    image = workspace.images.open(index)
    report = job.part(0.0, 0.9)
    labels = models.assistant.propose(image.pixels, tta=tta, invert=invert, progress=report)
    job.progress(0.9, "outlining")
    found = labels_to_objects(np.asarray(labels, np.int32), class_name, "proposed", 1)
    with workspace.document(index) as document, document.lock:
        there = [o.polygons for o in document.objects.values() if o.kind != "semantic"]
        covered = geometry.overlapping([o.polygons for o in found], there, iou_max=IOU_MAX)
        new = [item for item, known in zip(found, covered, strict=True) if not known]
        job.progress(0.95, "saving")
        document.add(new)
    workspace.add_classes([class_name])
    left_out = f", {int(covered.sum())} left out: there already" if covered.any() else ""
    return f"{plural(len(new), 'object')} proposed{left_out}"


def train(
    workspace: Workspace,
    models: Models,
    job: Job,
    indices: Sequence[int],
    *,
    class_name: str | None,
    steps: int,
) -> str:
    """Fine-tunes the model in use on annotated images; the new one is used from then on.

    Args:
      workspace: Where the images are.
      models: Gets the new model.
      job: To report progress to.
      indices: Of the images.
      class_name: Whose instances are learned; of all classes if None.
      steps: Of training.

    Returns:
      The name of the new model.

    Raises:
      UserError: An image has no such objects or cannot be read.
    """
    from cellml.annotate.fine_tuning import fine_tune

    samples = []
    for index in indices:
        name = workspace.images.entries[index].name
        image = workspace.images.open(index)
        with workspace.document(index) as document:
            objects = [
                item
                for item in document.sorted_objects()
                if item.kind == "instance" and class_name in (None, item.class_name)
            ]
        if not objects:
            kind = f"of class {class_name!r} " if class_name else ""
            raise UserError(f"{name} has no instances {kind}to train on")
        samples.append((image.pixels, objects_to_labels(objects, image.size)))
    name, folder = models.new_folder()
    trained = fine_tune(
        models.assistant,
        samples,
        steps=steps,
        workdir=folder,
        progress=job.part(0.0, 0.95),
        cancelled=lambda: job.cancelled,
    )
    if job.cancelled:
        raise Cancelled
    score = job.message
    job.progress(0.95, "compiling the new model")
    trained.warm_up()
    models.use(name, trained)
    return f"the model {name} is in use: {score}"


def rank(workspace: Workspace, models: Models, job: Job, indices: Sequence[int]) -> str:
    """Asks how unsure the model is about images, so that the most unsure one can come next.

    Args:
      workspace: Where the images are; keeps the answers.
      models: The one in use is asked.
      job: To report progress to.
      indices: Of the images; those that cannot be read are left out.

    Returns:
      How many were ranked.
    """
    from cellml.annotate.uncertainty import image_uncertainty

    ranked = 0
    for place, index in enumerate(indices):
        name = workspace.images.entries[index].name
        job.progress(place / len(indices), f"{name} ({place + 1} of {len(indices)})")
        report = job.part(place / len(indices), (place + 1) / len(indices), f"{name}: ")
        try:
            pixels = workspace.images.open(index).pixels
        except UserError:
            continue
        value = float(image_uncertainty(models.assistant, pixels, progress=report))
        workspace.set_uncertainty(index, value)
        ranked += 1
    return f"{plural(ranked, 'image')} ranked"
