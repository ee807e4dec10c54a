"""Takes the pictures of docs/annotate.md anew: `python -m docs.make_screenshots`.

With `--measure` it times the page's frames instead, while a large image with many objects is moved
and zoomed. Only simulated images are shown. Needs playwright and a chromium.
"""

import argparse
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cellml import platform

platform.select_device("cpu")
platform.configure()

import numpy as np  # noqa: E402
import tifffile  # noqa: E402
from jaxtyping import Int32, Shaped  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from cellml.annotate.outlines import labels_to_objects  # noqa: E402
from cellml.data.simulation import simulate_field  # noqa: E402
from tests.annotate.browser_support import (  # noqa: E402
    Hand,
    Served,
    circle,
    find_chromium,
    serving,
)

IMAGES = Path(__file__).parent / "images"
WINDOW = (1280, 800)
FRAMES = 120
LARGE_PX, BLOCK_PX, LARGE_OBJECTS = 8192, 1024, 2000

# Moves the image by the wheel event that a touch pad sends, one a frame, and returns the times
# between frames in ms.
MOVE = """async ([frames, zoom]) => {
  const stage = document.getElementById("stage");
  const box = stage.getBoundingClientRect();
  const times = [];
  for (let i = 0, last = performance.now(); i < frames; i++) {
    const back = i % 60 < 30 ? 1 : -1;
    stage.dispatchEvent(new WheelEvent("wheel", { bubbles: true, cancelable: true,
      clientX: box.left + box.width / 2, clientY: box.top + box.height / 2,
      shiftKey: !zoom, deltaX: zoom ? 0 : 50 * back, deltaY: zoom ? 24 * back : 12 * back }));
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  return times;
}"""


def write_fields(folder: Path) -> Int32[np.ndarray, "h w"]:
    """Writes a few fields; returns the labels of the first."""
    truth = np.zeros((1, 1), np.int32)
    for number, (modality, seed) in enumerate(
        [("fluorescence", 3), ("fluorescence", 5), ("tissue", 7), ("fluorescence", 8)]
    ):
        image, labels = simulate_field(
            np.random.default_rng(seed), modality=modality, shape=(420, 560), diameter_px=34.0,
            n_nuclei=58, touching=0.3,
        )  # fmt: skip
        Image.fromarray(np.squeeze(image)).save(folder / f"{modality}_{number + 1}.png")
        truth = labels if number == 0 else truth
    return truth


def write_large(folder: Path) -> Int32[np.ndarray, "h w"]:
    """Writes a large 16-bit image, one field repeated; returns the labels."""
    image, labels = simulate_field(
        np.random.default_rng(0), shape=(BLOCK_PX, BLOCK_PX), n_nuclei=32, diameter_px=60.0, bits=16
    )
    repeats = LARGE_PX // BLOCK_PX
    tifffile.imwrite(folder / "large.tif", np.tile(image[..., 0], (repeats, repeats)))
    blocks = np.arange(repeats**2, dtype=np.int32).reshape(repeats, repeats) * labels.max()
    offsets = np.kron(blocks, np.ones((BLOCK_PX, BLOCK_PX), np.int32))
    tiled = np.tile(labels, (repeats, repeats))
    return np.where(tiled > 0, tiled + offsets, 0).astype(np.int32)


def add_objects(served: Served, index: int, labels: Shaped[np.ndarray, "h w"], limit: int) -> int:
    """Adds the true outlines to an image as one step; returns how many."""
    objects = labels_to_objects(labels, "nucleus", "manual", 1)[:limit]
    records = [{k: v for k, v in item.to_json().items() if k != "id"} for item in objects]
    revision = served.get(f"/api/images/{index}")["revision"]
    steps = [{"op": "add", "object": record} for record in records]
    body = {"base_revision": revision, "operations": steps}
    served.get(f"/api/images/{index}/operations", body)
    return len(objects)


def take_pictures(page: Page, out: Path) -> None:
    """Takes the pictures of the manual."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "nuclei"
        folder.mkdir()
        truth = write_fields(folder)
        with serving(folder, class_names=("nucleus", "mitosis", "debris")) as served:
            numbers = [n for n in np.unique(truth) if n]
            kept = np.where(np.isin(truth, numbers[::2]), truth, 0)
            add_objects(served, 0, kept, len(numbers))
            hand = Hand(page)
            hand.open(served, 0)
            page.click("label:has(#filled)")
            hand.drag(circle(middle(truth, free_number(truth, numbers)), 26.0))
            hand.wait_draft()
            shoot(page, out / "annotate.png")
            hand.key("q", "Shift+E")
            hand.wait_saved()
            x, y = middle(truth, free_number(truth, numbers))
            hand.click((x, y))
            for _ in range(4):
                page.mouse.move(*hand.place((x, y)))
                page.mouse.wheel(0, -140)
            page.mouse.move(5, 400)
            page.wait_for_selector("#stage[data-tiles='drawn']")
            shoot(page, out / "annotate_edit.png")
            page.click("#export")
            shoot(page, out / "annotate_export.png")


def free_number(truth: Int32[np.ndarray, "h w"], numbers: list[int]) -> int:
    """Of the objects left out, a large one not far from the middle."""
    centre = np.array(truth.shape[::-1]) / 2
    far = {n: float(np.hypot(*(middle(truth, n) - centre))) for n in numbers[1::2]}
    near = sorted(far, key=far.__getitem__)[:8]
    return max(near, key=lambda n: int(np.count_nonzero(truth == n)))


def middle(truth: Int32[np.ndarray, "h w"], number: int) -> Any:
    """Centre (x, y) of an object."""
    y, x = np.nonzero(truth == number)
    return np.array([x.mean() + 0.5, y.mean() + 0.5])


def shoot(page: Page, path: Path) -> None:
    """Takes one picture once everything stands still."""
    page.wait_for_timeout(400)
    page.screenshot(path=path)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def measure(page: Page) -> None:
    """Prints the time between frames while a large image is moved and zoomed."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        labels = write_large(folder)
        with serving(folder) as served:
            hand = Hand(page)
            hand.open(served, 0)
            report(page, f"{LARGE_PX} px, no objects, whole image")
            number = add_objects(served, 0, labels, LARGE_OBJECTS)
            hand.open(served, 0)
            hand.count(number)
            report(page, f"{LARGE_PX} px, {number} objects, whole image")
            for _ in range(2):
                for _ in range(6):
                    hand.key("+")
                page.wait_for_selector("#stage[data-tiles='drawn']")
                report(page, f"{LARGE_PX} px, {number} objects, at {page.inner_text('#zoom-fit')}")


def report(page: Page, what: str) -> None:
    """Measures and prints one line."""
    for name, zoom in (("moving", False), ("zooming", True)):
        times = page.evaluate(MOVE, [FRAMES, zoom])
        ordered = sorted(times)
        print(
            f"{what}, {name}: median {statistics.median(times):.1f} ms, "
            f"95 % {ordered[int(0.95 * len(ordered))]:.1f} ms a frame"
        )


def main() -> None:
    """Starts a browser and does what was asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=IMAGES)
    parser.add_argument("--measure", action="store_true")
    options = parser.parse_args()
    path = find_chromium()
    if path is None:
        raise SystemExit("no chromium found")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WINDOW[0], "height": WINDOW[1]})
        page.set_default_timeout(120_000)
        if options.measure:
            measure(page)
        else:
            take_pictures(page, options.out)
        browser.close()


if __name__ == "__main__":
    main()
