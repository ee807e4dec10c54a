/** The tools that draw: contour, click, box. A tool has down, move, up, and perhaps hover. */

import { addObject } from "./annotations.js";
import { propose, setDraft } from "./draft.js";
import { boxBetween, closeLine, rectangle, round, smoothRing } from "./geometry.js";
import { showLive } from "./live.js";
import { say } from "./messages.js";
import { state } from "./state.js";
import { view } from "./view.js";

const CLICK_PX = 4; // a shorter drag is a click

/** Points of a line that stay within the image. */
function clipped([x, y]) {
  const { width, height } = state.image;
  return [round(Math.min(width, Math.max(0, x))), round(Math.min(height, Math.max(0, y)))];
}

function extent(points) {
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  return Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys));
}

/** What happens to an outline that was drawn: by assist, by auto-add, or by the user's word. */
function finish(ring, prompt) {
  if (state.modes.assist) propose(prompt);
  else if (state.modes.autoAdd) addObject([[ring]]);
  else setDraft({ polygons: [[ring]], score: null, source: "manual", prompt });
}

const contour = {
  cursor: "crosshair",
  hint: "Draw loosely around an object. ",
  down({ point }) {
    showLive({ line: [clipped(point)], closed: true });
    return { points: [clipped(point)] };
  },
  move(drag, { path }) {
    drag.points.push(...path.map(clipped));
    showLive({ line: drag.points });
  },
  up(drag) {
    showLive({ line: null, closed: false });
    if (extent(drag.points) * view.scale < CLICK_PX) {
      say("Hold the mouse button down while you draw around the object.", "info");
      return;
    }
    let ring = closeLine(drag.points, Math.max(0.5, 1.5 / view.scale));
    if (ring.length < 3) return;
    if (state.smooth) ring = smoothRing(ring);
    finish(ring, { polygon: ring });
  },
};

const point = {
  cursor: "crosshair",
  hint: "Click into the middle of an object. ",
  down({ point: at }) {
    const [x, y] = at;
    const { width, height } = state.image;
    if (x < 0 || y < 0 || x >= width || y >= height) return null;
    propose({ point: clipped(at) });
    return null;
  },
};

const box = {
  cursor: "crosshair",
  hint: "Draw a box around an object. ",
  down({ point: at }) {
    return { from: at, box: null };
  },
  move(drag, { point: at }) {
    drag.box = boxBetween(drag.from, at, state.image);
    showLive({ box: drag.box });
  },
  up(drag) {
    showLive({ box: null });
    if (!drag.box) return;
    const [x0, y0, x1, y1] = drag.box;
    if (Math.min(x1 - x0, y1 - y0) * view.scale < CLICK_PX || x1 - x0 < 1 || y1 - y0 < 1) return;
    const ring = rectangle(drag.box);
    if (state.kind === "box") addObject([[ring]], { kind: "box" });
    else finish(ring, { box: drag.box });
  },
};

export const drawingTools = { contour, point, box };
