"""The page of `cellml annotate` in a real browser, against the real server and model."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
import tifffile
from shapely.geometry import Polygon

from cellml.annotate.exports import FORMATS
from tests.annotate.browser_fields import (
    ALL,
    BITS,
    BROKEN,
    MODES,
    SHAPE,
    STORY,
    TABS,
    TOOLS,
    draw_around,
    nuclei,
    write_fields,
)
from tests.annotate.browser_support import Hand, Served, area, circle, serving, wait_for

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """A folder of images, the last one broken, and the labels of the others."""
    folder = tmp_path_factory.mktemp("browser")
    return folder, write_fields(folder)


@pytest.fixture(scope="module")
def served(fields: tuple[Path, list[np.ndarray]]) -> Iterator[Served]:
    with serving(fields[0], class_names=("nucleus", "mitosis")) as running:
        yield running


def test_a_contour_becomes_a_proposal_is_refined_and_outlives_everything(
    hand: Hand, served: Served, fields: tuple[Path, list[np.ndarray]]
) -> None:
    truth = fields[1][STORY]
    first, second = nuclei(truth)[:2]
    hand.open(served, STORY)

    # The proposal, not the lazy contour, and not yet an object.
    draw_around(hand, first)
    hand.wait_draft()
    assert "Proposal 0." in hand.page.locator("#draft-score").inner_text()
    assert served.objects(STORY) == []
    hand.key("q")
    hand.count(1)
    (item,) = served.objects(STORY)
    mask = truth == truth[int(first[0][1]), int(first[0][0])]
    outline = Polygon(item["polygons"][0][0])
    assert (item["source"], item["class"]) == ("unet", "nucleus")
    assert abs(outline.area - mask.sum()) < 0.3 * mask.sum()
    assert outline.area < 0.8 * np.pi * (1.35 * first[1]) ** 2

    # The second one is refined by brush before it is accepted: it grows at its right edge.
    draw_around(hand, second)
    hand.wait_draft()
    hand.key("b")
    (x, y), radius = second
    hand.drag([(x, y), (x + radius + 6, y)])
    hand.page.wait_for_selector("#stage[data-assist='idle']")
    hand.key("q")
    hand.count(2)
    brushed = served.objects(STORY)[1]
    assert max(px for px, _ in brushed["polygons"][0][0]) > x + radius + 6

    # By vertex in edit mode: the outline is pulled out at the top.
    hand.key("Shift+E")
    hand.click((x, y))
    hand.page.wait_for_selector("#stage[data-selected='1']")
    ring = brushed["polygons"][0][0]
    top = min(ring, key=lambda point: point[1])
    hand.drag([tuple(top), (top[0], top[1] - 5), (top[0], top[1] - 9)])
    wait_for(lambda: served.objects(STORY)[1] != brushed)
    pulled = served.objects(STORY)[1]
    assert min(py for _, py in pulled["polygons"][0][0]) < top[1] - 6
    assert area(pulled) > area(brushed)
    hand.wait_saved()

    # Undo, undo, redo, redo; then a reload shows the same.
    hand.key("Control+z")
    wait_for(lambda: served.objects(STORY)[1] == brushed)
    hand.wait_saved()
    hand.key("Control+z")
    hand.count(1)
    hand.key("Control+Shift+Z")
    hand.count(2)
    hand.wait_saved()
    hand.key("Control+y")
    wait_for(lambda: served.objects(STORY)[1] == pulled)
    hand.page.reload()
    hand.count(2)
    assert served.objects(STORY) == [item, pulled]
    assert "2 objects" in hand.page.locator("#image-facts").inner_text()

    export_all(hand, served)
    rois = roifile.roiread(served.out / "exports" / "roi_zip" / "nucleus" / "a_story_ROIs.zip")
    assert isinstance(rois, list)
    for roi, stored in zip(rois, [item, pulled], strict=True):
        shape = Polygon(stored["polygons"][0][0])
        assert Polygon(roi.coordinates()).hausdorff_distance(shape) < 1


def export_all(hand: Hand, served: Served) -> None:
    """Writes every format into the folder, and downloads the same as a zip."""
    hand.page.click("#export")
    hand.page.click("#formats-all")
    hand.page.click("#export-write")
    hand.page.wait_for_selector("#export-result[data-files]")
    assert "written to" in hand.page.locator("#export-result").inner_text()
    exported = served.out / "exports"
    written = {path.relative_to(exported).as_posix() for path in exported.rglob("*.*")}
    assert len({name.split("/")[0] for name in written}) == len(FORMATS)
    with hand.page.expect_download() as download:
        hand.page.click("#export-zip")
    with zipfile.ZipFile(download.value.path()) as packed:
        assert set(packed.namelist()) == written
    hand.key("Escape")


def test_two_tabs_do_not_overwrite_each_other(
    hand: Hand, served: Served, fields: tuple[Path, list[np.ndarray]]
) -> None:
    first, second = nuclei(fields[1][TABS])[:2]
    other = Hand(hand.page.context.new_page())
    hand.open(served, TABS)
    other.open(served, TABS)
    for tab in (hand, other):
        tab.page.bring_to_front()
        tab.key("a")  # draw without the assistant
    hand.page.bring_to_front()
    draw_around(hand, first)
    hand.count(1)
    other.page.bring_to_front()
    draw_around(other, second)
    other.page.wait_for_selector(".message.warning")
    assert "another tab" in other.message()
    other.count(1)  # the first tab's object is shown now, nothing was lost
    draw_around(other, second)
    other.count(2)
    assert len(served.objects(TABS)) == 2


def test_objects_are_merged_split_deleted_and_classified(
    hand: Hand, served: Served, fields: tuple[Path, list[np.ndarray]]
) -> None:
    (x, y), radius = nuclei(fields[1][TOOLS])[0]
    hand.open(served, TOOLS)
    hand.key("a")
    hand.drag(circle((x, y), radius))
    hand.count(1)
    hand.key("k")  # split by a line from above to below
    hand.drag([(x, y - radius - 5), (x, y), (x, y + radius + 5)])
    hand.count(2)
    halves = served.objects(TOOLS)
    assert area(halves[0]) == pytest.approx(area(halves[1]), rel=0.05)

    hand.key("Shift+V", "2")  # class mode, the second class
    hand.click((x + radius / 2, y))
    wait_for(lambda: {item["class"] for item in served.objects(TOOLS)} == {"nucleus", "mitosis"})

    hand.key("Shift+E")
    hand.click((x - radius / 2, y))
    hand.page.keyboard.down("Shift")
    hand.click((x + radius / 2, y))
    hand.page.keyboard.up("Shift")
    hand.page.wait_for_selector("#stage[data-selected='2']")
    hand.key("m")
    hand.count(1)
    assert area(served.objects(TOOLS)[0]) == pytest.approx(np.pi * radius**2, rel=0.05)

    # Esc reverts what was done to the selected object since it was selected.
    before = served.objects(TOOLS)
    hand.key("e")
    hand.drag([(x, y), (x + 4, y)])
    wait_for(lambda: len(served.objects(TOOLS)[0]["polygons"][0]) == 2)  # a hole
    hand.wait_saved()
    hand.key("Escape")
    wait_for(lambda: served.objects(TOOLS) == before)
    hand.wait_saved()
    hand.key("Delete")
    hand.count(0)
    assert served.objects(TOOLS) == []


def test_areas_are_painted_and_boxes_drawn(hand: Hand, served: Served) -> None:
    hand.open(served, MODES)
    hand.page.click("label:has(#kind-semantic)")
    hand.drag([(60, 60), (120, 60)])
    hand.count(1)
    hand.drag([(60, 110), (120, 110)])
    wait_for(lambda: len(served.objects(MODES)[0]["polygons"]) == 2)
    painted = served.objects(MODES)[0]
    assert painted["kind"] == "semantic"  # one painted area a class
    hand.wait_saved()
    hand.page.keyboard.down("Alt")
    hand.drag([(60, 110), (120, 110)])
    hand.page.keyboard.up("Alt")
    wait_for(lambda: len(served.objects(MODES)[0]["polygons"]) == 1)

    hand.page.click("label:has(#kind-box)")
    hand.drag([(200, 80), (220, 100), (240, 130)])
    hand.count(2)
    corners = np.array(served.objects(MODES)[1]["polygons"][0][0])
    np.testing.assert_allclose(corners, [[200, 80], [240, 80], [240, 130], [200, 130]], atol=1)
    hand.key("Shift+E")
    hand.click((220, 100))
    hand.page.wait_for_selector("#stage[data-selected='1']")
    hand.drag([(240, 105), (250, 105), (260, 105)])  # the right edge
    wait_for(lambda: np.ptp(served.objects(MODES)[1]["polygons"][0][0], axis=0)[0] > 58)
    corners = np.array(served.objects(MODES)[1]["polygons"][0][0])
    np.testing.assert_allclose(corners, [[200, 80], [260, 80], [260, 130], [200, 130]], atol=1)


def test_a_proposal_outlives_a_reload_and_its_corrections_are_undone(
    hand: Hand, served: Served, fields: tuple[Path, list[np.ndarray]]
) -> None:
    nucleus = nuclei(fields[1][MODES])[0]
    hand.open(served, MODES)
    before = served.objects(MODES)
    drawn = "JSON.parse(Object.values(sessionStorage)[0] ?? 'null')?.polygons[0][0] ?? null"
    draw_around(hand, nucleus)
    hand.wait_draft()
    proposed = hand.page.evaluate(drawn)
    right = max(proposed, key=lambda point: point[0])
    hand.drag([tuple(right), (right[0] + 4, right[1]), (right[0] + 8, right[1])])
    pulled = hand.page.evaluate(drawn)
    assert max(x for x, _ in pulled) == pytest.approx(right[0] + 8, abs=1)
    hand.page.reload()
    hand.wait_draft()
    assert hand.page.evaluate(drawn) == pulled
    hand.key("b")
    hand.drag([nucleus[0], (nucleus[0][0], nucleus[0][1] + 30)])
    hand.page.wait_for_selector("#stage[data-assist='idle']")
    assert hand.page.evaluate(drawn) != pulled
    hand.key("Control+z")
    assert hand.page.evaluate(drawn) == pulled
    hand.key("Control+Delete")
    hand.wait_draft(shown=False)
    assert hand.page.evaluate(drawn) is None
    assert served.objects(MODES) == before


def test_classes_are_added_and_renamed_with_their_objects(
    hand: Hand, served: Served, fields: tuple[Path, list[np.ndarray]]
) -> None:
    hand.open(served, TABS)
    hand.page.click("#add-class")
    hand.page.wait_for_selector(".class-row input[type=text]")
    hand.page.keyboard.type("debris")
    hand.key("Enter")
    hand.page.wait_for_selector(".class-row.current[data-class='debris']")
    hand.key("a")
    draw_around(hand, nuclei(fields[1][TABS])[2])
    wait_for(lambda: any(item["class"] == "debris" for item in served.objects(TABS)))
    hand.wait_saved()
    hand.page.dblclick(".class-row[data-class='debris'] .class-name")
    hand.page.wait_for_selector(".class-row input[type=text]")
    hand.page.keyboard.type("dead cell")
    hand.key("Enter")
    hand.page.wait_for_selector(".class-row.current[data-class='dead cell']")
    assert [item["class"] for item in served.objects(TABS)].count("dead cell") == 1
    hand.page.dblclick(".class-row[data-class='dead cell'] .class-name")
    hand.page.click("[aria-label='Remove dead cell']")
    hand.page.wait_for_selector(".message.error")  # it has an object
    assert "1 object" in hand.message()
    hand.key("d")  # the page has followed the renaming: its next change is no conflict
    hand.page.wait_for_selector("#done[aria-pressed='true']")
    assert served.get("/api/folder")["images"][TABS]["done"]


def test_modes_exclude_each_other_as_in_annotatorj(hand: Hand, served: Served) -> None:
    hand.open(served, MODES)

    def modes() -> list[bool]:
        names = ("assist", "autoAdd", "edit", "class")
        return [hand.page.is_checked(f"#mode-{name}") for name in names]

    assert modes() == [True, False, False, False]
    hand.key("a")
    assert modes() == [False, True, False, False]
    hand.key("c")
    assert modes() == [True, False, False, False]
    hand.key("Shift+E")
    assert modes() == [False, False, True, False]
    hand.page.click("#mode-class")
    assert modes() == [False, False, False, True]
    hand.key("c")
    assert modes() == [True, False, False, False]
    hand.key("c")
    assert modes() == [False, False, False, False]


def test_the_keys_are_listed(hand: Hand, served: Served) -> None:
    hand.open(served, MODES)
    hand.key("?")
    dialog = hand.page.locator("#dialog-keys")
    text = dialog.inner_text()
    for what in ("Accept the proposal", "Invert", "Redo", "Contour assist", "Erase while held"):
        assert what in text
    hand.key("c")  # does nothing behind the dialog
    hand.key("Escape")
    hand.page.wait_for_selector("#dialog-keys", state="hidden")
    assert hand.page.is_checked("#mode-assist")


def test_a_broken_image_is_told_and_harms_no_other(hand: Hand, served: Served) -> None:
    hand.page.goto(f"{served.address}#{BROKEN + 1}")
    text = hand.page.wait_for_selector("#empty:not([hidden])").inner_text()
    assert "g_broken.png" in text
    assert "cannot be read" in hand.page.locator(".image-row").nth(BROKEN).inner_text()
    hand.key("ArrowLeft")
    hand.page.wait_for_selector(f"#stage[data-image='{BITS}'][data-tiles='drawn']")
    assert hand.page.locator("#empty").is_hidden()


def test_all_objects_are_proposed_in_one_step(hand: Hand, served: Served) -> None:
    hand.open(served, ALL)
    hand.page.click("#propose-all")
    hand.page.click("#propose-start")
    hand.page.wait_for_selector(".message.success", timeout=60_000)
    number = len(served.objects(ALL))
    assert number >= 5
    hand.count(number)
    assert {item["source"] for item in served.objects(ALL)} == {"proposed"}
    hand.key("Control+z")
    hand.count(0)


def test_a_lost_connection_is_shown_and_nothing_is_lost(
    hand: Hand, served: Served, fields: tuple[Path, list[np.ndarray]]
) -> None:
    hand.open(served, BITS)
    hand.key("a")
    hand.page.context.set_offline(True)
    draw_around(hand, nuclei(fields[1][BITS])[0])
    hand.page.wait_for_selector("#banner-offline")
    hand.page.context.set_offline(False)
    hand.page.wait_for_selector("#banner-offline", state="detached")
    hand.count(1)
    assert len(served.objects(BITS)) == 1


def test_a_folder_that_cannot_be_written_is_a_banner(hand: Hand, served: Served) -> None:
    def answer(route: Any) -> None:
        folder = route.fetch().json()
        route.fulfill(json={**folder, "writable": False, "why_read_only": "it is read-only"})

    hand.page.route("**/api/folder", answer)
    hand.open(served, MODES)
    assert "it is read-only" in hand.page.locator("#banner-readonly").inner_text()
    assert hand.page.is_disabled("#propose-all")


def test_files_are_imported_by_the_button(hand: Hand, served: Served, tmp_path: Path) -> None:
    labels = np.zeros(SHAPE, np.uint16)
    labels[20:50, 20:60], labels[100:120, 200:230] = 1, 2
    path = tmp_path / "c_tools.tif"
    tifffile.imwrite(path, labels)
    hand.open(served, TOOLS)
    before = len(served.objects(TOOLS))
    hand.page.set_input_files("#import-file", path)
    hand.count(before + 2)
    areas = sorted(area(item) for item in served.objects(TOOLS)[-2:])
    assert areas == [600, 1200]
    (tmp_path / "bad.txt").write_text("nothing")
    hand.page.set_input_files("#import-file", tmp_path / "bad.txt")
    hand.page.wait_for_selector(".message.error")
    assert "bad.txt" in hand.page.locator(".message.error").inner_text()


def test_contrast_is_applied_in_the_page(hand: Hand, served: Served) -> None:
    """The darkest maximum makes the brightest picture."""
    hand.open(served, BITS)
    mean = """() => { const c = document.getElementById("layer-image");
      const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
      let s = 0; for (let i = 0; i < d.length; i += 4) s += d[i]; return s / d.length * 4; }"""
    before = hand.page.evaluate(mean)
    hand.page.locator("#high-0").fill("1000")
    hand.page.wait_for_selector("#stage[data-tiles='drawn']")
    hand.page.wait_for_function(f"({mean})() > {before} * 1.5")
