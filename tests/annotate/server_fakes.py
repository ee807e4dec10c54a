"""A model that needs no network, and the application around it."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from cellml.annotate.app import make_app
from cellml.annotate.handlers import Handlers
from cellml.annotate.images import ImageFolder
from cellml.annotate.jobs import Jobs
from cellml.annotate.learning import Load, Models
from cellml.annotate.objects import Polygons, box_polygons
from cellml.annotate.workspace import Workspace
from cellml.errors import UsageError, UserError

TOKEN = "secret-of-the-test"


class FakeOutline(NamedTuple):
    polygons: Polygons
    score: float | None
    inverted: bool = False


class FakeAssistant:
    """Finds what is brighter than 100: the box around it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.warm = 0
        self.asked: list[dict[str, Any]] = []

    @classmethod
    def load(cls, name_or_path: str | Path) -> "FakeAssistant":
        if "nothing" in str(name_or_path):
            raise UsageError(f"{name_or_path}: no such model")
        return cls(str(name_or_path))

    def warm_up(self) -> None:
        self.warm += 1

    def outline(self, read_region, image_shape, **prompt):
        self.asked.append({"shape": tuple(image_shape), **prompt})
        pixels = read_region(0, 0, image_shape[0], image_shape[1])[..., 0]
        if pixels.max() <= 100:
            raise UserError("Nothing was found here.")
        y, x = np.nonzero(pixels > 100)
        corners = map(float, (x.min(), y.min(), x.max() + 1, y.max() + 1))
        return FakeOutline(box_polygons(*corners), 0.5)

    def propose(self, image, *, tta, invert, progress):
        progress(0.5, "half")
        labels = np.zeros(image.shape[:2], np.int32)
        labels[4:14, 4:14], labels[20:30, 10:30] = 1, 2
        return labels


def write_images(folder: Path) -> Path:
    """Three images of 40 x 60 px: a.png with a bright square, b.png and c.png dark."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.full((40, 60), 20, np.uint8)
    for name in ("b", "c"):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    pixels[10:20, 30:45] = 200
    Image.fromarray(pixels).save(folder / "a.png")
    return folder


class Page:
    """What a tab of the browser does: requests with the token, errors as status and sentence."""

    def __init__(
        self, folder: Path, out: Path | None = None, load: Load = FakeAssistant.load, **options: Any
    ) -> None:
        out = out or folder / "annotations"
        self.workspace = Workspace(ImageFolder.scan(folder), out, **options)
        models = Models(out, None, load, default="nuclei")
        self.handlers = Handlers(self.workspace, models, Jobs())
        app = make_app(self.handlers, TOKEN)
        self.client = TestClient(app, base_url="http://127.0.0.1:5000", headers={"X-Token": TOKEN})

    def close(self) -> None:
        self.handlers.jobs.close()
        self.workspace.close()

    def get(self, path: str, status: int = 200) -> Any:
        return self._json(self.client.get(path), status)

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        return self._json(self.client.post(path, json={} if body is None else body), status)

    def change(self, index: int, *operations: dict[str, Any], status: int = 200) -> Any:
        """Sends operations on top of what is there now."""
        revision = self.get(f"/api/images/{index}")["revision"]
        body = {"base_revision": revision, "operations": list(operations)}
        return self.post(f"/api/images/{index}/operations", body, status)

    def finish(self, job: int) -> dict[str, Any]:
        """Waits for a job and gives its line."""
        self.handlers.jobs.wait(job, 20.0)
        return next(line for line in self.get("/api/jobs") if line["id"] == job)

    def _json(self, response: Any, status: int) -> Any:
        assert response.status_code == status, response.text
        found = response.json()
        if status >= 400:
            assert set(found) <= {"error", "revision"}
            return found["error"]
        return found


def instance(x0: float, y0: float, x1: float, y1: float, **fields: Any) -> dict[str, Any]:
    """An object without id, as the page sends it."""
    ring = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    return {"kind": "instance", "class": "nucleus", "polygons": [[ring]], **fields}


def add(*box: float, **fields: Any) -> dict[str, Any]:
    return {"op": "add", "object": instance(*box, **fields)}
