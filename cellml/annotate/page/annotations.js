/** The objects of the open image and their changes: every change is a request, one at a time.
 *
 * The server's journal is the truth. A change is shown when it is on disk there, so that what is
 * seen is safe.
 */

import { get, OfflineError, online, post, ServerError, upload } from "./api.js";
import { say } from "./messages.js";
import { emit, select, state } from "./state.js";

let queue = Promise.resolve();
let opening = 0;

/** Runs changes one after the other; each needs the revision that the one before it made. */
export function inTurn(change) {
  const run = async () => {
    state.busy += 1;
    emit("saving");
    try {
      return await change();
    } catch (error) {
      say(error.message, "error");
      return null;
    } finally {
      state.busy -= 1;
      emit("saving");
    }
  };
  queue = queue.then(run, run);
  return queue;
}

export async function loadFolder() {
  state.folder = await get("/api/folder");
  const names = state.folder.classes.map((entry) => entry.name);
  if (!names.includes(state.className)) state.className = names[0] ?? null;
  emit("folder");
}

/** Opens an image by its index; the last call wins. */
export async function openImage(index) {
  const ticket = ++opening;
  await queue;
  const entry = state.folder.images[index];
  emit("leave");
  try {
    const image = await get(`/api/images/${index}`);
    if (ticket === opening) show(image);
  } catch (error) {
    if (ticket !== opening) return;
    if (error instanceof OfflineError) {
      await online();
      return openImage(index);
    }
    showBroken(entry, error.message);
  }
}

function show(image, { keepView = false } = {}) {
  const { objects, ...rest } = image;
  state.image = { ...rest, broken: null };
  state.revision = image.revision;
  state.objects = new Map(objects.map((object) => [object.id, object]));
  const kept = keepView ? [...state.selection].filter((id) => state.objects.has(id)) : [];
  state.selection = new Set(kept);
  if (!keepView) {
    emit("image");
    for (const note of image.notes ?? []) tell(`${image.name}: ${note}`);
  }
  emit("objects");
  emit("selection");
}

const told = new Set();

/** What reading the image or its journal met, said once. */
function tell(note) {
  if (told.has(note)) return;
  told.add(note);
  say(note, "info");
}

function showBroken(entry, sentence) {
  entry.error = sentence; // the list says so too; opening it again tries again
  state.image = { index: entry.index, name: entry.name, broken: sentence, channels: [], levels: 0 };
  state.revision = 0;
  state.objects = new Map();
  state.selection = new Set();
  emit("image");
  emit("objects");
  emit("selection");
}

/** Reads the objects again from the server and leaves the view where it is. */
export async function reload() {
  if (!state.image || state.image.broken) return;
  const image = await get(`/api/images/${state.image.index}`);
  if (image.index === state.image.index) show(image, { keepView: true });
}

function apply(answer) {
  state.revision = answer.revision;
  for (const id of answer.removed) {
    state.objects.delete(id);
    state.selection.delete(id);
  }
  for (const object of answer.objects) state.objects.set(object.id, object);
  state.image.can_undo = answer.can_undo;
  state.image.can_redo = answer.can_redo;
  if ("done" in answer) state.image.done = answer.done;
  const entry = state.folder.images[state.image.index];
  entry.n_objects = state.objects.size;
  entry.done = state.image.done;
  emit("objects");
  emit("selection");
}

/** Sends one change and shows its result.
 *
 * 409 means that another tab was faster: its state is loaded and said. After a lost connection the
 * revision tells whether the change had arrived; if not, it is sent again.
 */
async function change(path, body, target) {
  for (;;) {
    // The image may have been changed to another one while this change waited.
    if (state.image?.index !== target) return null;
    try {
      const answer = await post(path, { ...body, base_revision: state.revision });
      apply(answer);
      return answer;
    } catch (error) {
      if (error instanceof ServerError && error.status === 409) {
        await reload();
        say("This image was changed in another tab or window. Its current objects are shown now; "
          + "your last change was not made.", "warning");
        return null;
      }
      if (!(error instanceof OfflineError)) throw error;
      const before = state.revision;
      await online();
      await reload();
      if (state.revision !== before) return null;
    }
  }
}

function editable() {
  return Boolean(state.image && !state.image.broken);
}

/** Sends operations as one undo step; returns the server's answer or null. */
export function operate(operations) {
  if (!editable()) return Promise.resolve(null);
  const target = state.image.index;
  return inTurn(() => change(`/api/images/${target}/operations`, { operations }, target));
}

export function undo() {
  return step("undo", "can_undo");
}

export function redo() {
  return step("redo", "can_redo");
}

function step(name, flag) {
  if (!editable()) return Promise.resolve(null);
  const target = state.image.index;
  return inTurn(() => (state.image[flag] ? change(`/api/images/${target}/${name}`, {}, target) : null));
}

/** Adds an object of the current class and selects nothing. */
export function addObject(polygons, { kind = "instance", source = "manual" } = {}) {
  const object = { kind, class: state.className, polygons, source };
  return operate([{ op: "add", object }]);
}

export function replaceObject(object, polygons, source = object.source) {
  const { id, kind } = object;
  const next = { kind, class: object.class, polygons, source };
  return operate([{ op: "replace", id, object: next }]);
}

export async function removeSelected() {
  const ids = [...state.selection];
  if (ids.length) await operate([{ op: "remove", ids }]);
}

export async function mergeSelected() {
  const ids = [...state.selection];
  if (ids.length < 2) return say("Select two or more objects to merge them (Shift+click).", "info");
  const answer = await operate([{ op: "merge", ids }]);
  if (answer) select(answer.objects.map((object) => object.id));
}

export function setDone(value) {
  return operate([{ op: "done", value }]);
}

export function importFile(file) {
  if (!editable()) return Promise.resolve(null);
  const target = state.image.index;
  return inTurn(async () => {
    const answer = await upload(`/api/images/${target}/import`, file);
    if (state.image?.index === target) apply(answer);
    return answer;
  });
}

/** Resolves when all changes so far are on disk. */
export function settled() {
  return queue;
}
