/** The tools that change: brush and eraser, select (vertices, boxes), class, split. */

import { operate, replaceObject } from "./annotations.js";
import { brushDraft, dragDraft } from "./draft.js";
import { boxOf, objectsAt, objectsWithin } from "./draw.js";
import { showLive } from "./live.js";
import { say } from "./messages.js";
import { grab, grabBox, withoutHandle } from "./outline_edit.js";
import { boxBetween } from "./geometry.js";
import { clearSelection, select, selected, state } from "./state.js";
import { view } from "./view.js";

const CLICK_PX = 4;

/** What a stroke changes: the draft, the painted area, the selected object, the one under it. */
function brushTarget(at, erase) {
  if (state.kind === "semantic") return { id: null };
  if (state.draft) return "draft";
  let [object] = selected();
  if (!object || state.selection.size > 1) {
    object = objectsAt(...at).find(({ kind }) => kind === "instance");
    if (object) select([object.id]);
  }
  if (object?.kind === "box") {
    say("A box is not painted: drag its corners in edit mode.", "info");
    return null;
  }
  if (object) return { id: object.id };
  if (!erase) return "draft";
  say("There is nothing to erase here: begin on an object.", "info");
  return null;
}

async function paintStroke(target, points, erase) {
  if (target === "draft") await brushDraft(points, erase);
  else {
    await operate([{
      op: "brush", id: target.id, class: state.className, kind: state.kind === "semantic" ? "semantic" : "instance",
      points, radius_px: state.brushRadius, erase,
    }]);
  }
}

function brushTool(erases) {
  return {
    cursor: "none",
    hint: erases ? "Erase parts of an object. " : "Paint; hold Alt to erase. ",
    down({ point, alt }) {
      const erase = erases || alt;
      const target = brushTarget(point, erase);
      if (!target) return null;
      const drag = { target, erase, points: [point] };
      showLive({ stroke: { points: drag.points, radius: state.brushRadius, erase } });
      return drag;
    },
    move(drag, { path }) {
      for (const next of path) {
        const last = drag.points.at(-1);
        if (Math.hypot(next[0] - last[0], next[1] - last[1]) * view.scale >= 1) drag.points.push(next);
      }
      showLive({});
    },
    async up(drag) {
      const points = drag.points.map(([x, y]) => [Math.round(x * 100) / 100, Math.round(y * 100) / 100]);
      await paintStroke(drag.target, points, drag.erase);
      showLive({ stroke: null });
    },
  };
}

/** A drag of an outline: of the draft or of the selected object. */
function outlineDrag(id, polygons, take) {
  return { id, move: take, polygons, changed: null };
}

function moveOutline(drag, { point }) {
  drag.changed = drag.move(point);
  showLive({ preview: { id: drag.id, polygons: drag.changed } });
}

async function dropOutline(drag) {
  if (drag.changed && drag.id === "draft") dragDraft(drag.changed);
  else if (drag.changed) {
    const object = state.objects.get(drag.id);
    if (object) await replaceObject(object, drag.changed);
  }
  showLive({ preview: null });
}

/** Takes hold of the draft's outline, whatever tool draws; null if the mouse is elsewhere. */
export function grabDraft({ point, alt }) {
  const { polygons } = state.draft;
  if (alt) {
    const rest = withoutHandle(polygons, point, view.scale);
    if (rest) dragDraft(rest);
    return rest ? { drag: null } : null;
  }
  const take = grab(polygons, point, view.scale);
  return take && { drag: outlineDrag("draft", polygons, take) };
}

export const outlineTool = { move: moveOutline, up: dropOutline };

function grabObject(object, { point, alt }) {
  if (alt && object.kind !== "box") {
    const rest = withoutHandle(object.polygons, point, view.scale);
    if (rest) replaceObject(object, rest);
    return rest ? "done" : null;
  }
  const take = object.kind === "box"
    ? grabBox(object.polygons, point, view.scale, state.image)
    : grab(object.polygons, point, view.scale);
  return take && outlineDrag(object.id, object.polygons, take);
}

function pick({ point, shift }) {
  const hits = objectsAt(...point);
  if (!hits.length) return false;
  // Clicking again at the same place goes to the object below.
  const current = hits.findIndex(({ id }) => state.selection.has(id));
  if (shift) {
    const [{ id }] = hits;
    const ids = new Set(state.selection);
    if (!ids.delete(id)) ids.add(id);
    select([...ids]);
  } else select([hits[(current + 1) % hits.length].id]);
  return true;
}

/** A frame selects what lies within it, a click what lies under it. */
function chooseWithin({ band, click }) {
  const [x0, y0, x1, y1] = band ?? [0, 0, 0, 0];
  showLive({ box: null });
  if (Math.max(x1 - x0, y1 - y0) * view.scale >= CLICK_PX) {
    const kept = click.shift ? state.selection : [];
    select([...kept, ...objectsWithin(band).map(({ id }) => id)]);
  } else if (!pick(click) && !click.shift) clearSelection();
}

const selectTool = {
  cursor: "default",
  hint: "Click an object, then drag its outline (Alt+click removes a point). Shift+click adds to the selection. ",
  down(event) {
    const [object] = selected();
    if (object && state.selection.size === 1 && !event.shift) {
      const taken = grabObject(object, event);
      if (taken === "done") return null;
      if (taken) return { ...taken, click: event };
    }
    return { from: event.point, band: null, click: event };
  },
  move(drag, event) {
    if (drag.move) {
      const [dx, dy] = [event.point[0] - drag.click.point[0], event.point[1] - drag.click.point[1]];
      if (!drag.changed && Math.hypot(dx, dy) * view.scale < 2) return;
      moveOutline(drag, event);
    } else {
      drag.band = boxBetween(drag.from, event.point, state.image);
      showLive({ box: drag.band });
    }
  },
  async up(drag) {
    if (drag.move && drag.changed) await dropOutline(drag);
    else if (drag.move) pick(drag.click);
    else chooseWithin(drag);
  },
  hover({ point }) {
    showLive({ hover: objectsAt(...point)[0] ?? null });
  },
};

const labelTool = {
  cursor: "pointer",
  hint: "Click an object to give it the current class. ",
  down({ point }) {
    const [object] = objectsAt(...point);
    if (object && object.class !== state.className) {
      operate([{ op: "class", ids: [object.id], class: state.className }]);
    }
    return null;
  },
  hover: selectTool.hover,
};

/** The object that a line runs through most: the selected one goes first. */
function crossed(line) {
  const [object] = selected();
  if (object && state.selection.size === 1) return object;
  const votes = new Map();
  for (let i = 1; i < line.length; i++) {
    for (let step = 0; step <= 20; step++) {
      const t = step / 20;
      const [x, y] = [0, 1].map((k) => line[i - 1][k] * (1 - t) + line[i][k] * t);
      for (const hit of objectsAt(x, y)) votes.set(hit, (votes.get(hit) ?? 0) + 1);
    }
  }
  return [...votes].filter(([hit]) => hit.kind !== "box").sort((a, b) => b[1] - a[1])[0]?.[0];
}

const split = {
  cursor: "crosshair",
  hint: "Draw a line across an object to split it. ",
  down({ point }) {
    showLive({ line: [point], closed: false });
    return { points: [point] };
  },
  move(drag, { path }) {
    drag.points.push(...path);
    showLive({ line: drag.points });
  },
  async up(drag) {
    showLive({ line: null });
    if (drag.points.length < 2) return;
    const object = crossed(drag.points);
    if (!object) return say("The line crosses no object.", "info");
    const answer = await operate([{ op: "split", id: object.id, line: drag.points }]);
    if (answer && state.modes.edit) select(answer.objects.map(({ id }) => id));
  },
};

export const editingTools = {
  brush: brushTool(false),
  eraser: brushTool(true),
  select: selectTool,
  label: labelTool,
  split,
};

/** Box around the selected objects, or null. */
export function selectionBox() {
  const boxes = selected().map(boxOf);
  if (!boxes.length) return null;
  return boxes.reduce((a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]),
    Math.max(a[2], b[2]), Math.max(a[3], b[3])]);
}
