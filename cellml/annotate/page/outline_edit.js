/** Dragging outlines: handles at the corners that matter, the outline between them goes along. */

import { bounds, cornerIndices, nearestOnOutline, rectangle, round } from "./geometry.js";

const GRAB_PX = 9;
const HANDLES_PX = 5; // tolerance of the corners on the screen
const HANDLES_MIN = 1.3; // in image pixels: the steps of an outline along pixels are no corners

/** Handles of an outline: [{polygon, ring, index, point}]. Outlines traced from masks have a corner
 * at every pixel; handles are the corners that are left within a few screen pixels. */
export function handlesOf(polygons, scale) {
  const found = [];
  polygons.forEach((rings, polygon) => rings.forEach((points, ring) => {
    for (const index of cornerIndices(points, Math.max(HANDLES_MIN, HANDLES_PX / scale))) {
      found.push({ polygon, ring, index, point: points[index] });
    }
  }));
  return found;
}

function nearestHandle(handles, x, y) {
  let best = null;
  let distance = Infinity;
  for (const handle of handles) {
    const d = Math.hypot(handle.point[0] - x, handle.point[1] - y);
    if (d < distance) [best, distance] = [handle, d];
  }
  return { handle: best, distance };
}

function copyWithRing(polygons, polygon, ring, points) {
  return polygons.map((rings, p) => (p !== polygon ? rings
    : rings.map((old, r) => (r === ring ? points : old))));
}

/** Takes hold of the outline near a point; null if it is too far.
 *
 * Returns a function from the mouse's point to the changed polygons. The points between the taken
 * handle and its two neighbours move in proportion to their way along the outline.
 */
export function grab(polygons, [x, y], scale) {
  const handles = handlesOf(polygons, scale);
  let { handle, distance } = nearestHandle(handles, x, y);
  let rings = polygons;
  if (distance > GRAB_PX / scale) {
    const near = nearestOnOutline(polygons, x, y);
    if (near.distance > (GRAB_PX - 3) / scale) return null;
    // Between two handles: a new point where the mouse is.
    const points = [...polygons[near.polygon][near.ring]];
    points.splice(near.segment + 1, 0, [x, y]);
    rings = copyWithRing(polygons, near.polygon, near.ring, points);
    handle = { polygon: near.polygon, ring: near.ring, index: near.segment + 1, inserted: true };
  }
  const points = rings[handle.polygon][handle.ring];
  const corners = handles
    .filter((other) => other.polygon === handle.polygon && other.ring === handle.ring)
    .map(({ index }) => index + (handle.inserted && index >= handle.index ? 1 : 0));
  const weights = weightsAround(points, handle.index, corners);
  const start = points[handle.index];
  return ([mx, my]) => {
    const [dx, dy] = [mx - start[0], my - start[1]];
    const moved = points.map(([px, py], i) => (weights.has(i)
      ? [round(px + weights.get(i) * dx), round(py + weights.get(i) * dy)] : [px, py]));
    return copyWithRing(rings, handle.polygon, handle.ring, moved);
  };
}

/** Weight of every point between the neighbouring corners: 1 at `index`, 0 at the corners. */
function weightsAround(points, index, corners) {
  const n = points.length;
  const weights = new Map([[index, 1]]);
  for (const direction of [1, -1]) {
    const way = [];
    let length = 0;
    let i = index;
    do {
      const next = (i + direction + n) % n;
      length += Math.hypot(points[next][0] - points[i][0], points[next][1] - points[i][1]);
      i = next;
      if (corners.includes(i) || i === index) break;
      way.push([i, length]);
    } while (way.length < n);
    for (const [at, distance] of way) {
      weights.set(at, Math.max(weights.get(at) ?? 0, 1 - distance / length));
    }
  }
  return weights;
}

/** The outline without the handle near a point: straight between its neighbours; null if none. */
export function withoutHandle(polygons, [x, y], scale) {
  const handles = handlesOf(polygons, scale);
  const { handle, distance } = nearestHandle(handles, x, y);
  if (!handle || distance > GRAB_PX / scale) return null;
  const points = polygons[handle.polygon][handle.ring];
  const corners = handles
    .filter((other) => other.polygon === handle.polygon && other.ring === handle.ring)
    .map(({ index }) => index);
  if (corners.length < 4) return null;
  const at = corners.indexOf(handle.index);
  const before = corners[(at - 1 + corners.length) % corners.length];
  const after = corners[(at + 1) % corners.length];
  const kept = points.filter((_, i) => (before < after
    ? i <= before || i >= after : i <= before && i >= after));
  return kept.length < 3 ? null : copyWithRing(polygons, handle.polygon, handle.ring, kept);
}

/** Takes hold of a box: a corner, an edge, or, within it, the whole; null outside. */
export function grabBox(polygons, [x, y], scale, { width, height }) {
  const [x0, y0, x1, y1] = bounds(polygons);
  const near = GRAB_PX / scale;
  if (x < x0 - near || x > x1 + near || y < y0 - near || y > y1 + near) return null;
  const edges = {
    left: Math.abs(x - x0) <= near, right: Math.abs(x - x1) <= near,
    top: Math.abs(y - y0) <= near, bottom: Math.abs(y - y1) <= near,
  };
  const whole = !Object.values(edges).some(Boolean);
  const clip = (value, limit) => round(Math.min(limit, Math.max(0, value)));
  return ([mx, my]) => {
    let [dx, dy] = [mx - x, my - y];
    if (whole) {
      dx = Math.min(Math.max(dx, -x0), width - x1);
      dy = Math.min(Math.max(dy, -y0), height - y1);
    }
    const a = edges.left || whole ? x0 + dx : x0;
    const b = edges.right || whole ? x1 + dx : x1;
    const c = edges.top || whole ? y0 + dy : y0;
    const d = edges.bottom || whole ? y1 + dy : y1;
    return [[rectangle([clip(Math.min(a, b), width), clip(Math.min(c, d), height),
      clip(Math.max(a, b), width), clip(Math.max(c, d), height)])]];
  };
}
