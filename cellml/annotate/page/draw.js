/** The object layer: outlines and fillings, culled, with simpler paths when zoomed out. */

import { byId } from "./dom.js";
import { bounds, inside, ringArea, simplify } from "./geometry.js";
import { on, state } from "./state.js";
import { redraw, registerLayer, view } from "./view.js";

const SLOW_MS = 9; // from here on the layer is moved as a picture while the view moves
const LINE_PX = 1.6;
const cache = new WeakMap(); // object -> {box, area, paths}; a changed object is a new object
let drawn = null; // view at which the layer was drawn
let cost = 0; // ms of the last drawing
let drawnAt = 0;
let timer = null;
let ordered = []; // large ones first, so that small ones lie on top

function shape(object) {
  let entry = cache.get(object);
  if (!entry) {
    const area = object.polygons.reduce((sum, [exterior]) => sum + ringArea(exterior), 0);
    entry = { box: bounds(object.polygons), area, paths: new Map() };
    cache.set(object, entry);
  }
  return entry;
}

export function boxOf(object) {
  return shape(object).box;
}

export function tracePath(polygons, tolerance = 0) {
  const path = new Path2D();
  for (const rings of polygons) {
    for (const ring of rings) {
      const points = tolerance ? simplify(ring, tolerance) : ring;
      path.moveTo(points[0][0], points[0][1]);
      for (let i = 1; i < points.length; i++) path.lineTo(points[i][0], points[i][1]);
      path.closePath();
    }
  }
  return path;
}

/** Path in image coordinates, exact to half a device pixel at this zoom. */
export function pathOf(object) {
  const entry = shape(object);
  const level = Math.max(-1, Math.floor(Math.log2(0.6 / (view.scale * view.ratio))));
  if (!entry.paths.has(level)) {
    entry.paths.set(level, tracePath(object.polygons, level < 0 ? 0 : 2 ** level));
  }
  return entry.paths.get(level);
}

export function applyTransform(context) {
  const scale = view.scale * view.ratio;
  context.setTransform(scale, 0, 0, scale, -view.x * scale, -view.y * scale);
}

function visible() {
  const [right, bottom] = [view.x + view.width / view.scale, view.y + view.height / view.scale];
  return ordered.filter((object) => {
    const [x0, y0, x1, y1] = boxOf(object);
    return x1 >= view.x && x0 <= right && y1 >= view.y && y0 <= bottom;
  });
}

function render(context, canvas) {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!state.overlay || !state.image || state.image.broken) return;
  applyTransform(context);
  context.lineJoin = "round";
  context.lineWidth = LINE_PX / view.scale;
  const colors = new Map(state.folder.classes.map(({ name, color }) => [name, color]));
  for (const object of visible()) {
    const color = colors.get(object.class) ?? "#ffffff";
    const [x0, y0, x1, y1] = boxOf(object);
    if (Math.max(x1 - x0, y1 - y0) * view.scale < 3) {
      context.fillStyle = color;
      context.fillRect(x0, y0, x1 - x0, y1 - y0);
      continue;
    }
    const path = pathOf(object);
    if (object.kind === "semantic" || (state.filled && object.kind !== "box")) {
      context.globalAlpha = 0.32;
      context.fillStyle = color;
      context.fill(path, "evenodd");
      context.globalAlpha = 1;
    }
    context.strokeStyle = color;
    context.stroke(path);
  }
}

function sameView() {
  return drawn && drawn.x === view.x && drawn.y === view.y && drawn.scale === view.scale;
}

/** Draws anew, or, where that is slow and the view is moving, moves what was drawn. */
function paint(context, canvas) {
  const now = performance.now();
  clearTimeout(timer);
  if (drawn && cost > SLOW_MS && !sameView() && now - drawnAt < 5 * cost) {
    const factor = view.scale / drawn.scale;
    const [dx, dy] = [(drawn.x - view.x) * view.scale, (drawn.y - view.y) * view.scale];
    canvas.style.transform = `translate(${dx}px, ${dy}px) scale(${factor})`;
    timer = setTimeout(() => redraw("objects"), 5 * cost - (now - drawnAt) + 1);
    return;
  }
  render(context, canvas);
  canvas.style.transform = "";
  drawn = { x: view.x, y: view.y, scale: view.scale };
  drawnAt = performance.now();
  cost = drawnAt - now;
  const stage = byId("stage");
  stage.dataset.objects = state.objects.size;
  stage.dataset.revision = state.revision;
  stage.dataset.image = state.image?.index ?? "";
}

/** The objects at an image point, the smallest first; hidden objects are not hit. */
export function objectsAt(x, y) {
  if (!state.overlay) return [];
  const near = 4 / view.scale;
  const hit = ordered.filter((object) => {
    const [x0, y0, x1, y1] = boxOf(object);
    if (x < x0 - near || x > x1 + near || y < y0 - near || y > y1 + near) return false;
    return inside(object.polygons, x, y);
  });
  return hit.sort((a, b) => shape(a).area - shape(b).area);
}

export function objectsWithin([x0, y0, x1, y1]) {
  return ordered.filter((object) => {
    const box = boxOf(object);
    return box[0] >= x0 && box[1] >= y0 && box[2] <= x1 && box[3] <= y1;
  });
}

export function startDrawing() {
  registerLayer("objects", paint);
  on("objects", () => {
    ordered = [...state.objects.values()].sort((a, b) => shape(b).area - shape(a).area);
  });
  on("objects display folder image resize", () => {
    drawn = null; // never show an outdated picture
    redraw("objects", "live");
  });
}

