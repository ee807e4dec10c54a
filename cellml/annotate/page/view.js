/** Where the image lies on the screen, and when the layers are drawn anew.
 *
 * `view.x, view.y` is the image point at the top left corner of the stage, `view.scale` the size of
 * an image pixel in CSS pixels.
 */

import { byId } from "./dom.js";
import { emit, on, state } from "./state.js";

export const view = { x: 0, y: 0, scale: 1, width: 0, height: 0, ratio: 1 };

const SCALE_MAX = 64;
const MARGIN_PX = 60; // of the image that stay visible when it is moved away
const remembered = new Map(); // image index -> view, so that going back shows the same place

const stage = byId("stage");
const layers = { image: null, objects: null, live: null };
const painters = {};
const dirty = new Set();
let scheduled = false;

export function registerLayer(name, painter) {
  layers[name] = byId(`layer-${name}`);
  painters[name] = painter;
}

/** Asks for a layer to be drawn in the next frame. */
export function redraw(...names) {
  for (const name of names.length ? names : Object.keys(painters)) dirty.add(name);
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    const todo = [...dirty];
    dirty.clear();
    for (const name of todo) painters[name](layers[name].getContext("2d"), layers[name]);
  });
}

export function toImage(px, py) {
  return [view.x + px / view.scale, view.y + py / view.scale];
}

export function toScreen(x, y) {
  return [(x - view.x) * view.scale, (y - view.y) * view.scale];
}

/** Image point under a mouse event. */
export function eventPoint(event) {
  const box = stage.getBoundingClientRect();
  return toImage(event.clientX - box.left, event.clientY - box.top);
}

function scaleMin() {
  const { width, height } = state.image;
  return Math.min(1, view.width / width, view.height / height) / 4;
}

function changed() {
  if (state.image && !state.image.broken) {
    const { width, height, index } = state.image;
    const margin = MARGIN_PX / view.scale;
    const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
    view.x = clamp(view.x, margin - view.width / view.scale, width - margin);
    view.y = clamp(view.y, margin - view.height / view.scale, height - margin);
    remembered.set(index, { x: view.x, y: view.y, scale: view.scale });
  }
  Object.assign(stage.dataset, { scale: view.scale, x: view.x, y: view.y });
  emit("view");
  redraw();
}

/** Zooms by a factor with the stage's point (px, py) fixed. */
export function zoomAt(px, py, factor) {
  if (!state.image || state.image.broken) return;
  const scale = Math.min(SCALE_MAX, Math.max(scaleMin(), view.scale * factor));
  const [x, y] = toImage(px, py);
  view.x = x - px / scale;
  view.y = y - py / scale;
  view.scale = scale;
  changed();
}

export function zoomCentre(factor) {
  zoomAt(view.width / 2, view.height / 2, factor);
}

export function panBy(dx, dy) {
  view.x -= dx / view.scale;
  view.y -= dy / view.scale;
  changed();
}

export function fit() {
  if (!state.image || state.image.broken || !view.width) return;
  const { width, height } = state.image;
  const pad = 24;
  const scale = Math.min((view.width - 2 * pad) / width, (view.height - 2 * pad) / height);
  view.scale = Math.min(scale, 8);
  view.x = (width - view.width / view.scale) / 2;
  view.y = (height - view.height / view.scale) / 2;
  changed();
}

/** Brings a box into sight, if it is not. */
export function reveal([x0, y0, x1, y1]) {
  const [left, top] = toScreen(x0, y0);
  const [right, bottom] = toScreen(x1, y1);
  if (left >= 0 && top >= 0 && right <= view.width && bottom <= view.height) return;
  view.x = (x0 + x1 - view.width / view.scale) / 2;
  view.y = (y0 + y1 - view.height / view.scale) / 2;
  changed();
}

function resize() {
  view.width = stage.clientWidth;
  view.height = stage.clientHeight;
  view.ratio = window.devicePixelRatio || 1;
  for (const canvas of Object.values(layers)) {
    canvas.width = Math.round(view.width * view.ratio);
    canvas.height = Math.round(view.height * view.ratio);
  }
  emit("resize");
  if (state.image) changed();
}

export function startView() {
  new ResizeObserver(resize).observe(stage);
  resize();
  on("image", () => {
    const before = remembered.get(state.image.index);
    if (before && !state.image.broken) {
      Object.assign(view, before);
      changed();
    } else fit();
  });
}
