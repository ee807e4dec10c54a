/** The keyboard: AnnotatorJ's keys where it has one, and the table shown on '?'. */

import { mergeSelected, removeSelected, replaceObject, setDone } from "./annotations.js";
import { accept, fitContour, invert, reject, undoAny } from "./draft.js";
import { redo } from "./annotations.js";
import { goTo, nextToAnnotate } from "./navigation.js";
import { cancelDrag, holdSpace } from "./pointer.js";
import { showKeys } from "./dialog_keys.js";
import { clearSelection, emit, on, select, selected, set, setBrushRadius, setKind, setMode, setTool, state } from "./state.js";
import { fit, zoomCentre } from "./view.js";

let original = null; // the selected object as it was when it was selected

const toggleMode = (name) => () => setMode(name, !state.modes[name]);
const brushStep = (factor) => () => setBrushRadius(Math.round(state.brushRadius * factor * 2) / 2);

function remove() {
  if (state.draft) reject();
  else removeSelected();
}

/** Ctrl+q and Enter: what was proposed is accepted, what was edited is finished. */
function save() {
  if (state.draft) accept();
  else clearSelection();
}

/** Esc: gives up the drag, the proposal, the edits of the selected object, the selection. */
async function revert() {
  if (cancelDrag()) return;
  if (state.draft) return reject();
  const [object] = selected();
  if (original && object?.id === original.id && object.polygons !== original.polygons) {
    await replaceObject(object, original.polygons, original.source);
    original = state.objects.get(object.id);
    return;
  }
  clearSelection();
}

/** Groups of keys: [keys as shown and matched, what they do, action]. */
export const KEYS = [
  ["Annotate", [
    [["t"], "Add the outline", accept],
    [["q", "Enter"], "Accept the proposal", save],
    [["Ctrl+Delete"], "Reject the proposal, delete the selected objects", remove],
    [["u"], "Invert: dark objects on a bright ground", invert],
    [["g"], "Fit the outline (active contour)", fitContour],
    [["Ctrl+q"], "Save the edit", save],
    [["Esc"], "Reject, revert the edit, clear the selection", revert],
    [["m"], "Merge the selected objects", mergeSelected],
    [["Delete"], "Delete the selected objects", remove],
    [["Ctrl+z"], "Undo", undoAny],
    [["Ctrl+Shift+z", "Ctrl+y"], "Redo", redo],
  ]],
  ["Modes", [
    [["c"], "Contour assist on or off", toggleMode("assist")],
    [["a"], "Add automatically on or off", toggleMode("autoAdd")],
    [["Shift+e"], "Edit mode on or off", toggleMode("edit")],
    [["Shift+v"], "Class mode on or off", toggleMode("class")],
    [["s"], "Smooth outlines on or off", () => set("smooth", !state.smooth, "mode")],
    [["i"], "Instances, painted areas, boxes in turn", nextKind],
    [["1", "9"], "Choose a class", null],
  ]],
  ["Tools", [
    [["l"], "Lazy contour", () => setTool("contour")],
    [["p"], "Click", () => setTool("point")],
    [["x"], "Box", () => setTool("box")],
    [["b"], "Brush", () => setTool("brush")],
    [["e"], "Eraser", () => setTool("eraser")],
    [["k"], "Split by a line", () => setTool("split")],
    [["["], "Smaller brush", brushStep(1 / 1.25)],
    [["]"], "Larger brush", brushStep(1.25)],
    [["Alt"], "Erase while held", null],
  ]],
  ["View and images", [
    [["o"], "Show or hide the objects", () => set("overlay", !state.overlay)],
    [["h"], "Contours or filled", () => set("filled", !state.filled)],
    [["Space"], "Move the image while held", null],
    [["+"], "Zoom in (also the wheel)", () => zoomCentre(1.5)],
    [["-"], "Zoom out", () => zoomCentre(1 / 1.5)],
    [["0"], "Fit the image into the window", fit],
    [["←"], "Previous image", () => goTo(-1)],
    [["→"], "Next image", () => goTo(1)],
    [["n"], "Next image to annotate", nextToAnnotate],
    [["d"], "Mark the image as done", () => setDone(!state.image.done)],
    [["?"], "This list", showKeys],
  ]],
];

function nextKind() {
  const kinds = ["instance", "semantic", "box"];
  setKind(kinds[(kinds.indexOf(state.kind) + 1) % 3]);
}

const NAMES = { Escape: "esc", Backspace: "delete", ArrowLeft: "←", ArrowRight: "→", "=": "+" };
const actions = new Map(KEYS.flatMap(([, entries]) => entries.flatMap(([keys, , action]) => (
  action ? keys.map((key) => [key.toLowerCase(), action]) : []))));

function nameOf(event) {
  const key = (NAMES[event.key] ?? event.key).toLowerCase();
  const letter = /^[a-z]$/.test(key) || key.length > 1;
  return (event.ctrlKey || event.metaKey ? "ctrl+" : "")
    + (event.shiftKey && letter ? "shift+" : "") + key;
}

/** Keys belong to a field while one types there, or to an open dialog. */
function taken(event) {
  if (document.querySelector("dialog[open]")) return true;
  const field = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (!field) return false;
  if (field.type === "range") return event.key.startsWith("Arrow");
  return !["checkbox", "radio"].includes(field.type) || event.key.startsWith("Arrow") || event.key === " ";
}

function keyDown(event) {
  if (taken(event)) return;
  if (event.key === "Alt") event.preventDefault(); // keeps the browser's menu closed
  const onButton = event.target.closest?.("button, a, summary");
  if (event.key === " " && !onButton) {
    event.preventDefault();
    return holdSpace(true);
  }
  if (event.key === "Enter" && onButton) return;
  if (/^[1-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey) {
    const entry = state.folder?.classes[Number(event.key) - 1];
    if (entry) set("className", entry.name, "folder");
    return;
  }
  const action = actions.get(nameOf(event));
  if (!action || !state.image) return;
  event.preventDefault();
  action();
}

export function startKeys() {
  window.addEventListener("keydown", keyDown);
  window.addEventListener("keyup", (event) => event.key === " " && holdSpace(false));
  window.addEventListener("blur", () => holdSpace(false));
  on("selection", () => {
    const [object] = selected();
    if (state.selection.size !== 1) original = null;
    else if (original?.id !== object.id) original = object;
  });
  on("tool", setTool);
  emit("mode");
  select([]);
}
