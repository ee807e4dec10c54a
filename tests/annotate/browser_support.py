"""A real server on a folder of simulated images, and a hand on the mouse of a real browser."""

import json
import math
import shutil
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn

from cellml.annotate import server
from cellml.annotate.app import make_app
from cellml.annotate.assist import Assistant
from cellml.annotate.handlers import Handlers
from cellml.annotate.images import ImageFolder
from cellml.annotate.jobs import Jobs
from cellml.annotate.learning import Load, Models
from cellml.annotate.workspace import Workspace

Point = tuple[float, float]


@dataclass(frozen=True)
class Served:
    """A running server: its address with the token, and the folder of annotations."""

    address: str
    out: Path

    def get(self, path: str, body: Any = None) -> Any:
        """Asks the server beside the page, by POST if there is a body."""
        root, token = self.address.split("/?token=")
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{root}{path}", data, {"X-Token": token})
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return json.load(answer)

    def objects(self, index: int) -> list[dict[str, Any]]:
        """The objects of an image as they are on disk."""
        return self.get(f"/api/images/{index}")["objects"]


@contextmanager
def serving(
    folder: Path, *, class_names: Sequence[str] = (), load: Load = Assistant.load
) -> Iterator[Served]:
    """Runs the application in a thread, with the model already compiled."""
    out = folder / "annotations"
    workspace = Workspace(ImageFolder.scan(folder), out, class_names=class_names)
    models = Models(out, None, load, default="nuclei")
    models.warm_up().join()
    token = server.make_token()
    listener = server.bind(0)
    app = make_app(Handlers(workspace, models, Jobs()), token)
    running = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield Served(server.address(listener, token), out)
    finally:
        running.should_exit = True
        thread.join(15)
        listener.close()


def find_chromium() -> str | None:
    """Path of Debian's chromium or of a Chrome, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


class Hand:
    """Uses a page as a person does, in coordinates of the image."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.stage = page.locator("#stage")

    def open(self, served: Served, index: int) -> None:
        """Opens an image and waits until it is drawn."""
        self.page.goto("about:blank")
        self.page.goto(f"{served.address}#{index + 1}")
        self.page.wait_for_selector(f"#stage[data-image='{index}'][data-tiles='drawn']")

    def place(self, point: Point) -> Point:
        """Where a point of the image is on the screen."""
        box = self.stage.bounding_box()
        x0, y0, scale = (float(self.stage.get_attribute(f"data-{n}")) for n in ("x", "y", "scale"))
        return box["x"] + (point[0] - x0) * scale, box["y"] + (point[1] - y0) * scale

    def drag(self, points: Sequence[Point]) -> None:
        """Draws a line with the button held."""
        self.page.mouse.move(*self.place(points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.place(point))
        self.page.mouse.up()

    def click(self, point: Point, **options: Any) -> None:
        """Clicks at a point of the image."""
        self.page.mouse.click(*self.place(point), **options)

    def key(self, *names: str) -> None:
        """Presses keys one after the other."""
        for name in names:
            self.page.keyboard.press(name)

    def wait_saved(self) -> None:
        """Waits until nothing is on its way to the server."""
        self.page.wait_for_selector("#saved[data-state='saved']")

    def wait_draft(self, shown: bool = True) -> None:
        """Waits for a proposal, or for its end."""
        state = "yes" if shown else "no"
        self.page.wait_for_selector(f"#stage[data-draft='{state}']")

    def count(self, number: int) -> None:
        """Waits until the page shows this many objects."""
        self.page.wait_for_selector(f"#stage[data-objects='{number}']")

    def message(self) -> str:
        """The text of the first message bar."""
        return self.page.locator(".message").first.inner_text()


def circle(centre: Point, radius: float, n: int = 24) -> list[Point]:
    """A closed line around a point, drawn clockwise."""
    angles = [2 * math.pi * k / n for k in range(n + 1)]
    x, y = centre
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


def ring_area(ring: Sequence[Sequence[float]]) -> float:
    """Area by the shoelace formula."""
    x, y = np.asarray(ring, float).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def area(item: dict[str, Any]) -> float:
    """Area of an object without holes."""
    return sum(ring_area(polygon[0]) for polygon in item["polygons"])


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Waits until something holds on the server."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        time.sleep(0.05)
