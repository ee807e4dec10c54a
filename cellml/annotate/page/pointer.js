/** Mouse and pen over the image: panning and zooming, and handing the rest to the tool. */

import { byId } from "./dom.js";
import { live, clearLive, showLive } from "./live.js";
import { emit, on, state } from "./state.js";
import { samplesAt } from "./tiles.js";
import { drawingTools } from "./tools.js";
import { editingTools, grabDraft, outlineTool } from "./tools_edit.js";
import { eventPoint, panBy, zoomAt } from "./view.js";

export const tools = { ...drawingTools, ...editingTools };

const stage = byId("stage");
let active = null; // {tool, drag} or {pan: [x, y]}
let spaceHeld = false;

function details(event) {
  const events = event.getCoalescedEvents?.() ?? [];
  return {
    point: eventPoint(event),
    path: (events.length ? events : [event]).map(eventPoint),
    shift: event.shiftKey,
    alt: event.altKey,
  };
}

function usable() {
  return state.image && !state.image.broken;
}

function down(event) {
  if (event.target.closest(".floating, .message, #jobs, .empty")) return;
  stage.focus({ preventScroll: true });
  if (!usable() || active) return;
  if (event.button === 1 || (event.button === 0 && spaceHeld)) {
    active = { pan: [event.clientX, event.clientY] };
    stage.dataset.panning = "yes";
  } else if (event.button === 0 && state.folder.writable) {
    active = begin(details(event));
  }
  if (!active) return;
  event.preventDefault();
  stage.setPointerCapture(event.pointerId);
}

function begin(event) {
  const paints = ["brush", "eraser"].includes(state.tool);
  if (state.draft && !paints) {
    const taken = grabDraft(event);
    if (taken) return taken.drag && { tool: outlineTool, drag: taken.drag };
  }
  const tool = tools[state.tool];
  const drag = tool.down(event);
  return drag && { tool, drag };
}

function move(event) {
  if (active?.pan) {
    const [x, y] = active.pan;
    panBy(event.clientX - x, event.clientY - y);
    active.pan = [event.clientX, event.clientY];
    return;
  }
  if (!usable()) return;
  const what = details(event);
  if (live.cursor || ["brush", "eraser"].includes(state.tool)) showLive({ cursor: what.point, alt: what.alt });
  if (active) active.tool.move(active.drag, what);
  else tools[state.tool].hover?.(what);
  const [x, y] = what.point;
  emit("pixel", { x: Math.floor(x), y: Math.floor(y), samples: samplesAt(Math.floor(x), Math.floor(y)) });
}

function up(event) {
  if (!active) return;
  const { tool, drag } = active;
  active = null;
  delete stage.dataset.panning;
  if (tool) tool.up(drag, details(event));
}

/** Gives up what the mouse is doing; true if it was doing something. */
export function cancelDrag() {
  if (!active) return false;
  active = null;
  delete stage.dataset.panning;
  clearLive();
  return true;
}

export function holdSpace(held) {
  spaceHeld = held;
  stage.dataset.space = held ? "yes" : "no";
}

/** Two-finger movements pan on touch pads (they come with small or sideways steps), wheels zoom. */
function wheel(event) {
  event.preventDefault();
  if (!usable()) return;
  const box = stage.getBoundingClientRect();
  if (event.shiftKey || (event.deltaX && !event.ctrlKey)) {
    panBy(-(event.deltaX || event.deltaY), event.deltaX ? -event.deltaY : 0);
    return;
  }
  const lines = event.deltaMode === 1 ? 33 : 1;
  const factor = 2 ** (-Math.max(-240, Math.min(240, event.deltaY * lines)) / 240);
  zoomAt(event.clientX - box.left, event.clientY - box.top, factor);
}

/** After a click on a button or switch the keys belong to the image again: Space moves it. */
function giveBackFocus(event) {
  if (!event.detail) return; // chosen by the keyboard
  setTimeout(() => {
    const holder = document.activeElement;
    const isSwitch = holder?.matches("button, input[type=checkbox], input[type=radio], input[type=range]");
    if (isSwitch && !holder.closest("dialog")) stage.focus({ preventScroll: true });
  });
}

export function startPointer() {
  document.addEventListener("click", giveBackFocus);
  stage.addEventListener("pointerdown", down);
  stage.addEventListener("pointermove", move);
  stage.addEventListener("pointerup", up);
  stage.addEventListener("pointercancel", cancelDrag);
  stage.addEventListener("pointerleave", () => {
    showLive({ cursor: null, hover: null });
    emit("pixel", null);
  });
  stage.addEventListener("wheel", wheel, { passive: false });
  stage.addEventListener("auxclick", (event) => event.preventDefault());
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  on("mode", () => {
    stage.dataset.tool = state.tool;
    stage.style.setProperty("--cursor", tools[state.tool].cursor);
    showLive({ hover: null });
  });
  on("leave", cancelDrag);
}
