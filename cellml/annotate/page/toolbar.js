/** The bar at the top, the rail of tools, the status line, and the bars that float over the image. */

import { mergeSelected, redo, removeSelected, setDone } from "./annotations.js";
import { accept, canUndoDraft, fitContour, invert, reject, undoAny } from "./draft.js";
import { showKeys } from "./dialog_keys.js";
import { byId, counted, dress, h, iconButton } from "./dom.js";
import { bounds } from "./geometry.js";
import { goTo } from "./navigation.js";
import { tools } from "./pointer.js";
import { clearSelection, on, setTool, state, toolAllowed } from "./state.js";
import { selectionBox } from "./tools_edit.js";
import { fit, toScreen, view, zoomCentre } from "./view.js";

const RAIL = [
  [["contour", "Lazy contour", "l"], ["point", "Click", "p"], ["box", "Box", "x"]],
  [["brush", "Brush", "b"], ["eraser", "Eraser", "e"]],
  [["select", "Select and edit", "Shift+E"], ["label", "Give class", "Shift+V"], ["split", "Split by a line", "k"]],
];

function buildRail() {
  for (const group of RAIL) {
    const box = h("div", { class: "rail-group" });
    for (const [name, text, key] of group) {
      box.append(iconButton(name, {
        title: `${text} (${key})`, class: "tool", "data-tool": name, "aria-pressed": "false",
        onclick: () => setTool(name),
      }));
    }
    byId("tools").append(box);
  }
}

function showTools() {
  for (const button of byId("tools").querySelectorAll("button")) {
    const { tool } = button.dataset;
    button.setAttribute("aria-pressed", String(tool === state.tool));
    button.disabled = !toolAllowed(tool) || !state.folder?.writable;
  }
  byId("hint").textContent = hint();
}

function hint() {
  if (!state.image || state.image.broken) return "";
  if (state.draft) return "q accepts, Esc rejects; drag the outline or paint to correct it.";
  const { assist, autoAdd } = state.modes;
  const drawing = ["contour", "point", "box"].includes(state.tool) && state.kind === "instance";
  const rest = !drawing ? "" : assist ? "The assistant proposes its outline."
    : autoAdd ? "It is added at once." : "Then t adds it.";
  return tools[state.tool].hint + rest;
}

function showImage() {
  const { image, objects } = state;
  byId("image-name").textContent = image.name;
  byId("image-name").title = image.name;
  const facts = image.broken ? "cannot be read"
    : [`${image.width.toLocaleString("en")} × ${image.height.toLocaleString("en")} px`, counted(objects.size, "object")].join(", ");
  byId("image-facts").textContent = facts;
  document.title = `${image.name} · cellml annotate`;
  byId("done").setAttribute("aria-pressed", String(Boolean(image.done)));
  byId("done").querySelector("span").textContent = image.done ? "Done" : "Mark as done";
  const fixed = Boolean(image.broken) || !state.folder.writable;
  byId("done").disabled = fixed;
  byId("undo").disabled = fixed || !(image.can_undo || canUndoDraft());
  byId("redo").disabled = fixed || !image.can_redo;
  byId("import").disabled = fixed;
  byId("propose-all").disabled = fixed;
  byId("previous-image").disabled = image.index === 0;
  byId("next-image").disabled = image.index >= state.folder.images.length - 1;
  byId("empty").hidden = !image.broken;
  if (image.broken) {
    byId("empty").replaceChildren(h("h2", {}, "This image cannot be opened"), h("p", {}, image.broken),
      h("p", { class: "muted" }, "The other images of the folder are not affected."));
  }
}

function showSaving() {
  const saved = byId("saved");
  const text = state.offline ? "Not connected" : state.busy ? "Saving …" : "All changes saved";
  saved.textContent = state.folder?.writable === false ? "Read-only" : text;
  saved.dataset.state = state.offline ? "offline" : state.busy ? "saving" : "saved";
}

function showPixel(pixel) {
  byId("pixel").textContent = pixel && pixel.samples
    ? `x ${pixel.x}  y ${pixel.y}   ${pixel.samples.join(" ")}` : "";
}

/** Puts a bar above a box of the image, or below where there is no room. */
function place(bar, box) {
  bar.hidden = !box;
  if (!box) return;
  const [left, top] = toScreen(box[0], box[1]);
  const [right, bottom] = toScreen(box[2], box[3]);
  const [width, height] = [bar.offsetWidth, bar.offsetHeight];
  const x = Math.min(Math.max(8, (left + right - width) / 2), view.width - width - 8);
  let y = top - height - 12;
  if (y < 8) y = Math.min(bottom + 12, view.height - height - 8);
  bar.style.transform = `translate(${Math.round(x)}px, ${Math.round(Math.max(8, y))}px)`;
}

function placeDraftBar() {
  place(byId("draft-bar"), state.draft ? bounds(state.draft.polygons) : null);
}

function placeSelectionBar() {
  const shown = !state.draft && state.selection.size && state.folder?.writable;
  place(byId("selection-bar"), shown ? selectionBox() : null);
}

function buildDraftBar() {
  byId("draft-bar").append(
    h("span", { id: "draft-score" }),
    iconButton("check", { text: "Accept", title: "Accept (q)", class: "primary small", id: "accept", onclick: accept }),
    iconButton("close", { text: "Reject", title: "Reject (Esc, Ctrl+Del)", class: "plain small", id: "reject", onclick: reject }),
    iconButton("invert", { title: "Invert: dark objects on a bright ground (u)", class: "icon ghost small", id: "invert", onclick: invert }),
    iconButton("fit", { title: "Fit the outline (g)", class: "icon ghost small", id: "fit", onclick: fitContour }),
  );
}

function showDraft() {
  const { draft } = state;
  byId("stage").dataset.draft = draft ? "yes" : "no";
  if (draft) {
    const scored = typeof draft.score === "number";
    byId("draft-score").textContent = scored ? `Proposal ${draft.score.toFixed(2)}`
      : draft.source === "manual" ? "Your contour" : "Proposal";
    byId("draft-score").title = scored ? "How sure the model is, from 0 to 1" : "";
    byId("invert").hidden = !draft.prompt;
  }
  placeDraftBar();
  placeSelectionBar();
  if (state.image) showImage();
  showTools();
}

function buildSelectionBar() {
  byId("selection-bar").append(
    h("span", { id: "selection-text" }),
    iconButton("merge", { text: "Merge", title: "Merge (m)", class: "plain small", id: "merge", onclick: mergeSelected }),
    iconButton("fit", { title: "Fit the outline (g)", class: "icon ghost small", id: "fit-selected", onclick: fitContour }),
    iconButton("trash", { title: "Delete (Del)", class: "icon ghost small", id: "delete", onclick: removeSelected }),
    iconButton("check", { title: "Finish (Ctrl+q)", class: "icon ghost small", id: "finish", onclick: clearSelection }),
  );
}

function showSelection() {
  const { size } = state.selection;
  const [id] = state.selection;
  byId("stage").dataset.selected = size;
  byId("selection-text").textContent = size === 1 ? state.objects.get(id)?.class ?? "" : `${size} objects`;
  byId("merge").hidden = size < 2;
  byId("fit-selected").hidden = size !== 1;
  placeSelectionBar();
}

export function startToolbar() {
  buildRail();
  buildDraftBar();
  buildSelectionBar();
  dress(byId("images-toggle"), "images", "Images");
  const buttons = [
    ["previous-image", "left", "", () => goTo(-1)], ["next-image", "right", "", () => goTo(1)],
    ["undo", "undo", "", undoAny], ["redo", "redo", "", redo],
    ["done", "done", "Mark as done", () => setDone(!state.image.done)],
    ["help", "help", "", showKeys],
    ["zoom-in", "plus", "", () => zoomCentre(1.5)], ["zoom-out", "minus", "", () => zoomCentre(1 / 1.5)],
  ];
  for (const [id, name, text, action] of buttons) dress(byId(id), name, text).addEventListener("click", action);
  byId("zoom-fit").addEventListener("click", fit);
  on("mode folder", showTools);
  on("image objects folder", () => state.image && showImage());
  on("image", showTools);
  on("saving connection folder", showSaving);
  on("pixel", showPixel);
  on("draft", showDraft);
  on("selection objects", showSelection);
  on("assist", (running) => {
    byId("stage").dataset.assist = running ? "waiting" : "idle";
  });
  on("view", () => {
    byId("zoom-fit").textContent = `${Math.round(view.scale * 100)} %`;
    placeDraftBar();
    placeSelectionBar();
  });
}
