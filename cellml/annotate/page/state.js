/** What the page knows, and who wants to hear of changes. No drawing and no requests here. */

export const state = {
  folder: null, // answer of /api/folder
  image: null, // answer of /api/images/{i} without the objects
  objects: new Map(), // id -> object
  revision: 0,
  selection: new Set(), // ids
  draft: null, // outline not added yet: {polygons, score, source, prompt}
  tool: "contour",
  kind: "instance",
  modes: { assist: true, autoAdd: false, edit: false, class: false },
  method: "unet",
  invert: null, // for the assistant: true for dark objects on a bright ground, null to let it see
  lastInverted: false, // how the last proposal was made
  smooth: false,
  className: null,
  brushRadius: 8, // in image pixels
  overlay: true,
  filled: false,
  channels: [], // {name, color, visible, low, high, maximum}
  keepContrast: false,
  busy: 0, // requests that change something
  offline: false,
};

const listeners = new Map();

/** Calls `listener(detail)` at every event of one of the names (separated by blanks). */
export function on(names, listener) {
  for (const name of names.split(" ")) {
    if (!listeners.has(name)) listeners.set(name, []);
    listeners.get(name).push(listener);
  }
}

export function emit(name, detail) {
  for (const listener of listeners.get(name) ?? []) listener(detail);
}

/** Modes after one was switched, as in AnnotatorJ: of assist, auto-add, edit and class at most one
 * is on. Turning one off leaves the others as they are. */
export function interlock(modes, name, value) {
  if (!value) return { ...modes, [name]: false };
  return { assist: false, autoAdd: false, edit: false, class: false, [name]: true };
}

const DRAWING = ["contour", "point", "box"];

export function setMode(name, value) {
  const before = state.modes;
  state.modes = interlock(before, name, value);
  const leaves = (before.edit && !state.modes.edit) || (before.class && !state.modes.class);
  if (leaves && ["select", "label", "split"].includes(state.tool)) state.tool = firstTool();
  if (name === "edit" && value) state.tool = "select";
  if (name === "class" && value) state.tool = "label";
  if (name === "assist" && value) {
    if (state.kind !== "instance") setKind("instance");
    if (!DRAWING.includes(state.tool)) state.tool = "contour";
  }
  if (!state.modes.edit && before.edit) clearSelection();
  emit("mode");
}

export function setTool(tool) {
  if (!toolAllowed(tool)) return;
  const { modes } = state;
  if (tool === "select") state.modes = interlock(modes, "edit", true);
  else if (tool === "label") state.modes = interlock(modes, "class", true);
  else if (DRAWING.includes(tool)) {
    if (modes.edit) clearSelection();
    state.modes = { ...modes, edit: false, class: false };
    // A click says where, not how large: it needs the assistant.
    if (tool === "point") state.modes = interlock(state.modes, "assist", true);
  } else state.modes = { ...modes, class: false };
  state.tool = tool;
  emit("mode");
}

export function setKind(kind) {
  state.kind = kind;
  if (kind !== "instance" && state.modes.assist) state.modes = { ...state.modes, assist: false };
  if (!toolAllowed(state.tool) || DRAWING.includes(state.tool) || state.tool === "brush") {
    state.tool = firstTool();
  }
  emit("mode");
}

function firstTool() {
  return { instance: "contour", semantic: "brush", box: "box" }[state.kind];
}

/** Painted areas are brushed, boxes are drawn as boxes, instances by everything. */
export function toolAllowed(tool) {
  if (["select", "label"].includes(tool)) return true;
  if (state.kind === "semantic") return ["brush", "eraser"].includes(tool);
  if (state.kind === "box") return tool === "box";
  return true;
}

export function select(ids) {
  state.selection = new Set(ids.filter((id) => state.objects.has(id)));
  emit("selection");
}

export function clearSelection() {
  if (state.selection.size) select([]);
}

export function selected() {
  return [...state.selection].map((id) => state.objects.get(id)).filter(Boolean);
}

export function setBrushRadius(radius) {
  state.brushRadius = Math.min(200, Math.max(0.5, radius));
  emit("brush");
}

export function classColor(name) {
  return state.folder?.classes.find((entry) => entry.name === name)?.color ?? "#ffffff";
}

export function set(name, value, event = "display") {
  state[name] = value;
  emit(event);
}
