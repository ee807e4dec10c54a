/** Plane geometry of outlines: polygons = [[exterior, hole, ...], ...], ring = [[x, y], ...]. */

export function bounds(polygons) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [exterior] of polygons) {
    for (const [x, y] of exterior) {
      if (x < x0) x0 = x;
      if (x > x1) x1 = x;
      if (y < y0) y0 = y;
      if (y > y1) y1 = y;
    }
  }
  return [x0, y0, x1, y1];
}

export function unite(boxes) {
  return boxes.reduce((a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]),
    Math.max(a[2], b[2]), Math.max(a[3], b[3])]);
}

/** Area of a ring, positive whichever way it turns. */
export function ringArea(ring) {
  let sum = 0;
  for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
    sum += ring[j][0] * ring[i][1] - ring[i][0] * ring[j][1];
  }
  return Math.abs(sum) / 2;
}

export function inside(polygons, x, y) {
  let found = false;
  for (const rings of polygons) {
    for (const ring of rings) {
      for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
        const [xi, yi] = ring[i];
        const [xj, yj] = ring[j];
        if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) found = !found;
      }
    }
  }
  return found;
}

function segmentDistance(x, y, [ax, ay], [bx, by]) {
  const dx = bx - ax;
  const dy = by - ay;
  const length = dx * dx + dy * dy;
  const t = length ? Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length)) : 0;
  return Math.hypot(x - ax - t * dx, y - ay - t * dy);
}

/** Indices of the points that keep an open line within `tolerance` (Douglas and Peucker). */
function keepIndices(points, first, last, tolerance, kept) {
  const stack = [[first, last]];
  while (stack.length) {
    const [from, to] = stack.pop();
    let worst = -1;
    let distance = tolerance;
    for (let i = from + 1; i < to; i++) {
      const [x, y] = points[i];
      const d = segmentDistance(x, y, points[from], points[to]);
      if (d > distance) [worst, distance] = [i, d];
    }
    if (worst >= 0) {
      kept.add(worst);
      stack.push([from, worst], [worst, to]);
    }
  }
}

/** Indices, ascending, of the corners of a closed ring to within `tolerance`; at least three. */
export function cornerIndices(ring, tolerance) {
  if (ring.length <= 4) return ring.map((_, i) => i);
  let far = 0;
  let distance = -1;
  for (let i = 1; i < ring.length; i++) {
    const d = Math.hypot(ring[i][0] - ring[0][0], ring[i][1] - ring[0][1]);
    if (d > distance) [far, distance] = [i, d];
  }
  const kept = new Set([0, far]);
  keepIndices(ring, 0, far, tolerance, kept);
  const wrapped = [...ring, ring[0]];
  keepIndices(wrapped, far, ring.length, tolerance, kept);
  kept.delete(ring.length);
  if (kept.size < 3) {
    for (const i of [Math.floor(far / 2), Math.floor((far + ring.length) / 2)]) kept.add(i);
  }
  return [...kept].sort((a, b) => a - b);
}

export function simplify(ring, tolerance) {
  return cornerIndices(ring, tolerance).map((i) => ring[i]);
}

/** A line drawn by hand becomes a ring: points at least `step` apart, the end joined to the start. */
export function closeLine(points, step) {
  const ring = [];
  for (const point of points) {
    const last = ring[ring.length - 1];
    if (!last || Math.hypot(point[0] - last[0], point[1] - last[1]) >= step) ring.push(point);
  }
  const tail = () => Math.hypot(ring[0][0] - ring.at(-1)[0], ring[0][1] - ring.at(-1)[1]);
  while (ring.length > 3 && tail() < step) ring.pop();
  return ring;
}

function resample(ring, spacing) {
  const result = [];
  let rest = 0;
  for (let i = 0; i < ring.length; i++) {
    const [ax, ay] = ring[i];
    const [bx, by] = ring[(i + 1) % ring.length];
    const length = Math.hypot(bx - ax, by - ay);
    for (; rest < length; rest += spacing) {
      const t = rest / length;
      result.push([ax + t * (bx - ax), ay + t * (by - ay)]);
    }
    rest -= length;
  }
  return result;
}

/** Rounds off pixel steps and the jitter of the hand: a running mean along the outline, some 4 px
 * wide, then only the points that matter. The mean pulls a circle inward by under 0.1 px. */
export function smoothRing(ring) {
  const even = resample(ring, 0.5);
  if (even.length < 16) return ring;
  const weights = [1, 3, 5, 6, 5, 3, 1];
  const n = even.length;
  const mean = even.map((_, i) => {
    let [x, y] = [0, 0];
    weights.forEach((weight, k) => {
      const [px, py] = even[(i + k - 3 + n) % n];
      x += weight * px;
      y += weight * py;
    });
    return [x / 24, y / 24];
  });
  return simplify(mean, 0.1).map(([x, y]) => [round(x), round(y)]);
}

export function smoothPolygons(polygons) {
  return polygons.map((rings) => rings.map(smoothRing));
}

export function round(value) {
  return Math.round(value * 100) / 100;
}

export function rectangle([x0, y0, x1, y1]) {
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

/** Box between two corners, in order and within the image. */
export function boxBetween([ax, ay], [bx, by], { width, height }) {
  const clip = (value, limit) => round(Math.min(limit, Math.max(0, value)));
  return [clip(Math.min(ax, bx), width), clip(Math.min(ay, by), height),
    clip(Math.max(ax, bx), width), clip(Math.max(ay, by), height)];
}

/** Nearest point of the outlines: {polygon, ring, segment, point, distance}. */
export function nearestOnOutline(polygons, x, y) {
  let best = { distance: Infinity };
  polygons.forEach((rings, polygon) => rings.forEach((points, ring) => {
    for (let i = 0; i < points.length; i++) {
      const a = points[i];
      const b = points[(i + 1) % points.length];
      const distance = segmentDistance(x, y, a, b);
      if (distance < best.distance) best = { polygon, ring, segment: i, distance };
    }
  }));
  return best;
}
