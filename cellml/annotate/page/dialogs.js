/** Dialogs: a title, a body, buttons; and the three that start work: propose, train, import. */

import { post } from "./api.js";
import { importFile } from "./annotations.js";
import { byId, check, counted, dress, h, iconButton } from "./dom.js";
import { modelName, watchJobs } from "./jobs.js";
import { say } from "./messages.js";
import { on, state } from "./state.js";

/** Fills and opens a dialog; `actions` are its buttons, the first closes nothing by itself. */
export function openDialog(id, title, body, actions) {
  const dialog = byId(id);
  const close = () => dialog.close();
  const name = id.replace("dialog-", "title-");
  dialog.replaceChildren(
    h("header", {}, h("h2", { id: name }, title), iconButton("close", { title: "Close", class: "icon ghost small", onclick: close })),
    h("div", { class: "body" }, ...body),
    h("footer", {}, ...actions));
  // A click beside the dialog closes it, as Esc does.
  dialog.onclick = (event) => event.target === dialog && close();
  dialog.showModal();
  return dialog;
}

function action(text, tone, id, onclick) {
  return h("button", { type: "button", class: tone, id, onclick }, text);
}

async function start(path, body, dialog) {
  try {
    const { job } = await post(path, body);
    watchJobs(job);
    dialog.close();
  } catch (error) {
    dialog.close();
    say(error.message, "error");
  }
}

function classChoice(id, text) {
  const options = state.folder.classes.map(({ name }) => h("option", { value: name, selected: name === state.className }, name));
  return h("label", { class: "field" }, h("span", {}, text), h("select", { id }, ...options));
}

/** As the switch says; if it is on auto, as the last proposal was made. */
const seemsInverted = () => state.invert ?? state.lastInverted;

export function showPropose() {
  const dialog = openDialog("dialog-propose", "Propose all objects", [
    h("p", {}, `The model ‘${modelName()}’ looks at the whole image and adds every object it finds. `
      + "Objects that you annotated stay; what overlaps them is left out. One undo removes all."),
    classChoice("propose-class", "Class"),
    check("propose-tta", "More careful (test-time augmentation: eight views, takes eight times as long)", { checked: false }),
    check("propose-invert", "Dark objects on a bright ground (invert)", { checked: seemsInverted() }),
  ], [
    action("Cancel", "plain", "propose-cancel", () => byId("dialog-propose").close()),
    action("Propose all", "primary", "propose-start", () => start(
      `/api/images/${state.image.index}/propose`,
      { tta: byId("propose-tta").checked, class: byId("propose-class").value, invert: byId("propose-invert").checked }, dialog)),
  ]);
}

/** Check boxes for images; done ones are chosen at first, or all that have objects. */
export function imageChoice(idPrefix, chosen) {
  const list = h("div", { class: "choice-list" });
  for (const entry of state.folder.images) {
    if (entry.error) continue;
    const text = `${entry.name} · ${counted(entry.n_objects, "object")}${entry.done ? " · done" : ""}`;
    const box = check(`${idPrefix}-${entry.index}`, text, { checked: chosen(entry) });
    box.querySelector("input").value = entry.index;
    list.append(box);
  }
  const set = (value) => () => list.querySelectorAll("input").forEach((input) => {
    input.checked = value;
  });
  const tools = h("div", { class: "row" },
    h("button", { type: "button", class: "ghost small", onclick: set(true) }, "All"),
    h("button", { type: "button", class: "ghost small", onclick: set(false) }, "None"));
  const values = () => [...list.querySelectorAll("input:checked")].map((input) => Number(input.value));
  return { list, tools, values };
}

export function showTrain() {
  const anyDone = state.folder.images.some((entry) => entry.done);
  const images = imageChoice("train-image", (entry) => entry.n_objects > 0 && (entry.done || !anyDone));
  const steps = h("input", { type: "number", id: "train-steps", min: 10, max: 5000, step: 10, value: 200 });
  const dialog = openDialog("dialog-train", "Train on these", [
    h("p", {}, `Trains a copy of the model ‘${modelName()}’ on these images, in the background: go on annotating. `
      + "The new model is used as soon as it is there, unless it turns out worse."),
    h("p", { id: "train-complete", class: "notice" }, h("strong", {}, "Every object of the chosen images must be outlined. "),
      "What is not outlined counts as background: the model learns not to see it."),
    h("div", { class: "field-head" }, h("span", {}, "Images"), images.tools),
    images.list,
    h("div", { class: "columns" }, classChoice("train-class", "Class"),
      h("label", { class: "field" }, h("span", {}, "Steps"), steps)),
  ], [
    action("Cancel", "plain", "train-cancel", () => byId("dialog-train").close()),
    action("Train", "primary", "train-start", () => {
      if (!images.values().length) return say("Choose at least one image with objects.", "warning");
      start("/api/train", { images: images.values(), steps: Number(steps.value), class: byId("train-class").value }, dialog);
    }),
  ]);
}

async function importFiles(files) {
  for (const file of files) {
    const answer = await importFile(file);
    if (answer) say(answer.message || `${counted(answer.objects.length, "object")} imported from ${file.name}.`, "success");
  }
}

function startImport() {
  const field = byId("import-file");
  byId("import").addEventListener("click", () => field.click());
  field.addEventListener("change", async () => {
    await importFiles([...field.files]);
    field.value = "";
  });
  const drop = byId("drop");
  const carriesFiles = (event) => [...event.dataTransfer.types].includes("Files");
  window.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    drop.hidden = !state.image || Boolean(state.image.broken);
  });
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    drop.hidden = true;
    if (!carriesFiles(event)) return;
    event.preventDefault();
    importFiles([...event.dataTransfer.files]);
  });
}

export function startDialogs() {
  dress(byId("propose-all"), "sparkle", "Propose all").addEventListener("click", showPropose);
  dress(byId("train"), "train", "Train").addEventListener("click", showTrain);
  dress(byId("import"), "upload", "Import");
  startImport();
  on("folder", () => {
    const none = !state.folder.writable;
    byId("train").disabled = none;
    byId("propose-all").title = `Find all objects with the model ${modelName()}`;
  });
}
