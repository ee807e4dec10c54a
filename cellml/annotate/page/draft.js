/** The outline that is not added yet: asked from the assistant or drawn, refined, then accepted.
 *
 * It is kept for the time of the tab, also over a reload; only accepted outlines go to the journal.
 */

import { post } from "./api.js";
import { addObject, replaceObject, undo } from "./annotations.js";
import { ringArea, smoothPolygons } from "./geometry.js";
import { showLive } from "./live.js";
import { say } from "./messages.js";
import { emit, on, selected, set, state } from "./state.js";

let history = []; // drafts before the present one
let ticket = 0;
let lastDrawing = "contour";

const storageKey = () => `cellml-draft-${state.folder.out}-${state.image.index}`;

/** Replaces the draft; the former one can be had back by undo. */
export function setDraft(draft, { remember = true } = {}) {
  if (remember) history.push(state.draft);
  state.draft = draft;
  if (draft === null && !remember) history = [];
  try {
    if (draft) sessionStorage.setItem(storageKey(), JSON.stringify(draft));
    else sessionStorage.removeItem(storageKey());
  } catch {
    // A full or forbidden storage costs only the draft after a reload.
  }
  emit("draft");
}

/** Asks the assistant for the outline at a contour, point or box. */
export async function propose(prompt) {
  const mine = ++ticket;
  const target = state.image.index;
  const { method, invert } = state;
  showLive({ prompt });
  emit("assist", true);
  let answer = null;
  let failure = null;
  try {
    answer = await post(`/api/images/${target}/assist`, { ...prompt, method, invert });
  } catch (error) {
    failure = error;
  }
  if (mine !== ticket || state.image.index !== target) return;
  showLive({ prompt: null });
  emit("assist", false);
  if (answer) {
    if (method === "unet") state.lastInverted = answer.inverted;
    const polygons = state.smooth ? smoothPolygons(answer.polygons) : answer.polygons;
    setDraft({ polygons, score: answer.score, inverted: answer.inverted, source: method, prompt });
  } else if (prompt.polygon && failure.status === 422) {
    setDraft({ polygons: [[prompt.polygon]], score: null, source: "manual", prompt });
    say(`${failure.message} Your own contour is kept: correct it or accept it (q).`, "warning");
  } else say(failure.message, failure.status === 422 ? "warning" : "error");
}

/** Adds the draft as an object. */
export async function accept() {
  const { draft } = state;
  if (!draft) return;
  setDraft(null, { remember: false });
  const answer = await addObject(draft.polygons, { source: draft.source });
  // A refused outline is not lost.
  if (!answer && state.draft === null) setDraft(draft, { remember: false });
  if (answer && state.modes.assist && ["brush", "eraser"].includes(state.tool)) emit("tool", lastDrawing);
}

export function reject() {
  ticket += 1;
  showLive({ prompt: null });
  emit("assist", false);
  if (state.draft) setDraft(null);
}

/** Dark objects (true), bright ones (false), or the assistant decides (null), from now on. */
export function setInvert(value) {
  set("invert", value, "mode");
  repeat();
}

/** The other way round than now; where the assistant decides, than in its last proposal. */
export function invert() {
  setInvert(!(state.invert ?? state.draft?.inverted ?? false));
}

/** Asks again on the same contour, after the method was changed. */
export function repeat() {
  if (state.draft?.prompt) propose(state.draft.prompt);
}

function largestRing(polygons) {
  return polygons.map(([exterior]) => exterior).reduce((a, b) => (ringArea(a) >= ringArea(b) ? a : b));
}

/** Fits an active contour to the draft or the selected object. */
export async function fitContour() {
  const [object] = selected();
  const polygons = state.draft?.polygons ?? object?.polygons;
  if (!polygons) return say("Draw a contour or select an object to fit it to the image.", "info");
  const target = state.image.index;
  const { draft } = state;
  emit("assist", true);
  try {
    const body = { polygon: largestRing(polygons), method: "snake" };
    const answer = await post(`/api/images/${target}/assist`, body);
    if (state.image.index !== target || state.draft !== draft) return;
    if (draft) setDraft({ ...draft, polygons: answer.polygons, score: answer.score, source: "snake" });
    else await replaceObject(object, answer.polygons, "snake");
  } catch (error) {
    say(error.message, error.status === 422 ? "warning" : "error");
  } finally {
    emit("assist", false);
  }
}

/** Paints at the draft, or begins one; the stroke stays visible until the answer is there. */
export async function brushDraft(points, erase) {
  const { draft } = state;
  emit("assist", true);
  try {
    const answer = await post("/api/brush",
      { polygons: draft?.polygons ?? [], points, radius_px: state.brushRadius, erase });
    if (state.draft !== draft) return;
    if (answer.polygons.length) {
      setDraft({ score: null, source: "manual", prompt: null, ...draft, polygons: answer.polygons });
    } else setDraft(null);
  } catch (error) {
    say(error.message, "error");
  } finally {
    emit("assist", false);
  }
}

export function dragDraft(polygons) {
  setDraft({ ...state.draft, polygons });
}

/** Undo: first the steps of the draft, then those of the image. */
export function undoAny() {
  if (!history.length) return undo();
  const before = history.pop();
  const rest = history;
  setDraft(before, { remember: false });
  history = rest;
}

export function canUndoDraft() {
  return history.length > 0;
}

export function startDrafts() {
  on("leave", () => {
    ticket += 1;
    history = [];
    state.draft = null;
    showLive({ prompt: null });
    emit("draft");
  });
  on("image", () => {
    try {
      const stored = sessionStorage.getItem(storageKey());
      if (stored && !state.image.broken) state.draft = JSON.parse(stored);
    } catch {
      state.draft = null;
    }
    emit("draft");
  });
  on("mode", () => {
    if (["contour", "point", "box"].includes(state.tool)) lastDrawing = state.tool;
  });
}
