/** The layer on top that changes with every movement: proposal, selection, brush, rubber bands. */

import { handlesOf } from "./outline_edit.js";
import { bounds } from "./geometry.js";
import { applyTransform, pathOf, tracePath } from "./draw.js";
import { classColor, on, state } from "./state.js";
import { redraw, registerLayer, view } from "./view.js";

/** What the tool in use shows; tools write here and call `showLive`. */
export const live = {
  line: null, // points of a line being drawn
  closed: false, // whether it will be closed
  box: null, // rubber band [x0, y0, x1, y1]
  stroke: null, // brush stroke {points, radius, erase}
  cursor: null, // [x, y] of the mouse, for the brush's circle
  hover: null, // object under the mouse
  preview: null, // {id, polygons} of an object being dragged
  prompt: null, // what was sent to the assistant, while it works
};

export const PROPOSAL = "#ffd43b";

export function showLive(changes) {
  Object.assign(live, changes);
  redraw("live");
}

export function clearLive() {
  showLive({ line: null, closed: false, box: null, stroke: null, hover: null, preview: null });
}

function px(size) {
  return size / view.scale;
}

/** A line with a dark rim: it is seen on black and on white. */
function rimmed(context, path, color, width, dash = []) {
  context.setLineDash([]);
  context.strokeStyle = "rgba(0, 0, 0, .6)";
  context.lineWidth = px(width + 2);
  context.stroke(path);
  context.setLineDash(dash.map(px));
  context.strokeStyle = color;
  context.lineWidth = px(width);
  context.stroke(path);
  context.setLineDash([]);
}

function boxPath([x0, y0, x1, y1]) {
  const path = new Path2D();
  path.rect(x0, y0, x1 - x0, y1 - y0);
  return path;
}

function linePath(points, closed) {
  const path = new Path2D();
  points.forEach(([x, y], i) => (i ? path.lineTo(x, y) : path.moveTo(x, y)));
  if (closed) path.closePath();
  return path;
}

function drawHandles(context, points, color) {
  context.fillStyle = "#ffffff";
  context.strokeStyle = color;
  context.lineWidth = px(1.4);
  for (const [x, y] of points) {
    context.beginPath();
    context.rect(x - px(3.2), y - px(3.2), px(6.4), px(6.4));
    context.fill();
    context.stroke();
  }
}

/** Handles only where the outline is large enough on the screen for them to be useful. */
function handlePoints(polygons, kind) {
  const [x0, y0, x1, y1] = bounds(polygons);
  if (Math.max(x1 - x0, y1 - y0) * view.scale < 28) return [];
  if (kind === "box") {
    const [mx, my] = [(x0 + x1) / 2, (y0 + y1) / 2];
    return [[x0, y0], [mx, y0], [x1, y0], [x1, my], [x1, y1], [mx, y1], [x0, y1], [x0, my]];
  }
  return handlesOf(polygons, view.scale).map(({ point }) => point);
}

function drawSelection(context) {
  const single = state.selection.size === 1;
  for (const id of state.selection) {
    const object = state.objects.get(id);
    if (!object) continue;
    const moving = live.preview?.id === id;
    const polygons = moving ? live.preview.polygons : object.polygons;
    const color = classColor(object.class);
    rimmed(context, moving ? tracePath(polygons) : pathOf(object), "#ffffff", 2.6);
    context.strokeStyle = color;
    context.lineWidth = px(1.2);
    context.stroke(moving ? tracePath(polygons) : pathOf(object));
    if (single && state.tool === "select") drawHandles(context, handlePoints(polygons, object.kind), "#0b6e7f");
  }
}

function drawDraft(context) {
  const polygons = live.preview?.id === "draft" ? live.preview.polygons : state.draft.polygons;
  const path = tracePath(polygons);
  context.fillStyle = PROPOSAL;
  context.globalAlpha = 0.16;
  context.fill(path, "evenodd");
  context.globalAlpha = 1;
  rimmed(context, path, PROPOSAL, 2, [6, 4]);
  if (!["brush", "eraser"].includes(state.tool)) drawHandles(context, handlePoints(polygons, "instance"), "#8a6a00");
}

function drawPrompt(context) {
  const { polygon, point, box } = live.prompt;
  if (polygon) rimmed(context, linePath(polygon, true), "#ffffff", 1.4, [3, 4]);
  if (box) rimmed(context, boxPath(box), "#ffffff", 1.4, [3, 4]);
  if (point) {
    const path = new Path2D();
    path.arc(point[0], point[1], px(6), 0, 2 * Math.PI);
    rimmed(context, path, "#ffffff", 1.6);
  }
}

function drawStroke(context) {
  const { points, radius, erase } = live.stroke;
  context.globalAlpha = 0.42;
  context.strokeStyle = erase ? "#ff6b6b" : state.draft ? PROPOSAL : classColor(state.className);
  context.lineWidth = 2 * radius;
  context.lineCap = "round";
  const dot = points.length === 1 ? [points[0], [points[0][0] + 1e-3, points[0][1]]] : points;
  context.stroke(linePath(dot, false));
  context.globalAlpha = 1;
  context.lineCap = "butt";
}

function drawBrushCursor(context) {
  const [x, y] = live.cursor;
  const path = new Path2D();
  path.arc(x, y, state.brushRadius, 0, 2 * Math.PI);
  const erase = state.tool === "eraser" || live.alt;
  rimmed(context, path, erase ? "#ff8787" : "#ffffff", 1.2, erase ? [4, 3] : []);
}

function paint(context, canvas) {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!state.image || state.image.broken) return;
  applyTransform(context);
  context.lineJoin = "round";
  if (live.hover && state.overlay && !state.selection.has(live.hover.id)) {
    rimmed(context, pathOf(live.hover), "#ffffff", 1.6);
  }
  if (state.overlay) drawSelection(context);
  if (live.prompt) drawPrompt(context);
  if (state.draft) drawDraft(context);
  if (live.stroke) drawStroke(context);
  if (live.line) rimmed(context, linePath(live.line, false), live.closed ? PROPOSAL : "#ffffff", 1.8);
  if (live.line && live.closed && live.line.length > 2) {
    rimmed(context, linePath([live.line.at(-1), live.line[0]], false), PROPOSAL, 1, [2, 5]);
  }
  if (live.box) rimmed(context, boxPath(live.box), "#ffffff", 1.4, [5, 4]);
  if (live.cursor && ["brush", "eraser"].includes(state.tool)) drawBrushCursor(context);
}

export function startLive() {
  registerLayer("live", paint);
  on("selection draft mode brush folder", () => redraw("live"));
  on("leave", clearLive);
}
