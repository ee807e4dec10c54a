/** What is annotated and how: kind, AnnotatorJ's checkboxes, method, brush; the classes. */

import { inTurn, reload } from "./annotations.js";
import { post } from "./api.js";
import { repeat, setInvert } from "./draft.js";
import { byId, check, h, iconButton, segmented } from "./dom.js";
import { say } from "./messages.js";
import { emit, on, set, setBrushRadius, setKind, setMode, state } from "./state.js";

const KINDS = [
  ["instance", "Objects", "One outline for every object (instance)"],
  ["semantic", "Area", "Painted area of a class (semantic)"],
  ["box", "Boxes", "Bounding boxes"],
];
const METHODS = [
  ["unet", "U-Net", "The model finds the object in your contour"],
  ["classic", "Classic", "Region growing from the grey values inside your contour"],
  ["snake", "Snake", "Active contour: your contour is pulled to the nearest edge"],
];
const INVERT = [
  ["null", "Auto", "Bright or dark: the model sees for itself"],
  ["false", "Bright", "Objects are brighter than their surroundings, as in fluorescence (U)"],
  ["true", "Dark", "Objects are darker than their surroundings: stained tissue, bright field (U inverts)"],
];
const MODES = [
  ["assist", "Contour assist", "C"], ["autoAdd", "Add automatically", "A"],
  ["edit", "Edit mode", "⇧E"], ["class", "Class mode", "⇧V"],
];
const COLORS = ["#3ddc84", "#ff8fab", "#4dabf7", "#ffa94d", "#b197fc", "#63e6be", "#f783ac", "#a9e34b"];

function buildAnnotate() {
  const panel = byId("panel-annotate");
  panel.append(h("h2", { id: "h-annotate" }, "Annotate"));
  panel.append(segmented("kind", "What is annotated", KINDS, state.kind, setKind));
  const boxes = h("div", { class: "checks" });
  for (const [name, text, key] of MODES) {
    boxes.append(check(`mode-${name}`, text, { key, onchange: (event) => setMode(name, event.target.checked) }));
  }
  boxes.append(check("smooth", "Smooth", {
    key: "S", title: "Rounds off pixel steps and the jitter of the hand",
    onchange: (event) => set("smooth", event.target.checked, "mode"),
  }));
  panel.append(boxes);
  panel.append(h("div", { id: "method-row", class: "row" }, h("span", { class: "label" }, "Method"),
    segmented("method", "Method of the assistant", METHODS, state.method, (method) => {
      state.method = method;
      emit("mode");
      repeat();
    })));
  panel.append(h("div", { id: "model-row", class: "row" },
    h("label", { class: "label", for: "model" }, "Model"),
    h("select", { id: "model", onchange: (event) => chooseModel(event.target.value) })));
  panel.append(h("div", { id: "invert-row", class: "row" }, h("span", { class: "label" }, "Objects"),
    segmented("invert", "Brightness of the objects", INVERT, "null", (value) => setInvert(JSON.parse(value)))));
  panel.append(h("div", { class: "row" }, h("label", { class: "label", for: "brush-size" }, "Brush"),
    h("input", {
      id: "brush-size", type: "range", min: 0, max: 100, step: 1,
      oninput: (event) => setBrushRadius(radiusOf(Number(event.target.value))),
    }), h("output", { id: "brush-value", class: "number" })));
}

/** The slider's steps grow with the size: 0.5 to 200 px radius. */
const radiusOf = (position) => Math.round(0.5 * 400 ** (position / 100) * 2) / 2;
const positionOf = (radius) => (100 * Math.log(radius / 0.5)) / Math.log(400);

function showModes() {
  for (const [name] of MODES) byId(`mode-${name}`).checked = state.modes[name];
  byId("smooth").checked = state.smooth;
  byId(`kind-${state.kind}`).checked = true;
  byId(`method-${state.method}`).checked = true;
  byId(`invert-${state.invert}`).checked = true;
  byId("method-row").hidden = !state.modes.assist;
  byId("invert-row").hidden = !state.modes.assist || state.method !== "unet";
  byId("model-row").hidden = !state.modes.assist || (state.folder?.models.length ?? 0) < 2;
  byId("mode-assist").disabled = state.kind !== "instance";
  byId("mode-autoAdd").disabled = state.kind !== "instance";
}

/** The models, where there is a choice: the one that came along and those trained here. */
function showModels() {
  const { model, models } = state.folder;
  byId("model").replaceChildren(...models.map((name) => h("option", { value: name, selected: name === model }, name)));
}

async function chooseModel(model) {
  try {
    state.folder = await post("/api/model", { model });
    emit("folder");
    repeat();
  } catch (error) {
    say(error.message, "error");
    showModels();
  }
}

function showBrush() {
  byId("brush-size").value = positionOf(state.brushRadius);
  byId("brush-size").setAttribute("aria-valuetext", `${2 * state.brushRadius} pixels wide`);
  byId("brush-value").textContent = `${2 * state.brushRadius} px`;
}

async function saveClasses(classes) {
  try {
    state.folder = await post("/api/classes", { classes });
    if (!classes.some(({ name }) => name === state.className)) state.className = classes[0]?.name ?? null;
    emit("folder");
    return true;
  } catch (error) {
    say(error.message, "error");
    emit("folder");
    return false;
  }
}

async function changeClass(index, change) {
  const classes = state.folder.classes.map((entry, i) => (i === index ? { ...entry, ...change } : entry));
  const old = state.folder.classes[index].name;
  if (change.name && state.className === old) state.className = change.name;
  await inTurn(async () => {
    // Objects follow a new name, which is a step in the journal of every image that has some.
    if (await saveClasses(classes) && change.name) await reload();
  });
}

async function addClass() {
  const names = state.folder.classes.map(({ name }) => name);
  let number = names.length + 1;
  while (names.includes(`class ${number}`)) number += 1;
  const name = `class ${number}`;
  const color = COLORS.find((one) => !state.folder.classes.some((entry) => entry.color === one)) ?? COLORS[number % COLORS.length];
  if (!await saveClasses([...state.folder.classes, { name, color }])) return;
  set("className", name, "folder");
  rename(state.folder.classes.length - 1);
}

/** Turns a row's name into a field: Enter keeps, Esc leaves the old name, the bin removes. */
function rename(index) {
  const row = byId("class-list").children[index];
  const old = state.folder.classes[index].name;
  const field = h("input", { type: "text", value: old, maxLength: 60, "aria-label": "Name of the class" });
  let open = true;
  const close = (keep) => {
    if (!open) return;
    open = false;
    const name = field.value.trim();
    field.blur(); // a focused field would keep its row
    showClasses();
    byId("stage").focus({ preventScroll: true });
    if (keep && name && name !== old) changeClass(index, { name });
  };
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter") close(true);
    if (event.key === "Escape") close(false);
  });
  const bin = iconButton("trash", {
    title: `Remove ${old}`, class: "icon ghost small", disabled: state.folder.classes.length < 2,
    onclick: () => {
      close(false);
      saveClasses(state.folder.classes.filter((_, i) => i !== index));
    },
  });
  field.addEventListener("blur", (event) => event.relatedTarget === bin || close(true));
  bin.addEventListener("blur", () => close(false));
  row.querySelector(".class-name").replaceWith(field);
  row.querySelector("button.icon").replaceWith(bin);
  field.focus();
  field.select();
}

function classRow(entry, index) {
  const count = [...state.objects.values()].filter((object) => object.class === entry.name).length;
  const color = h("input", {
    type: "color", value: entry.color, title: "Colour", "aria-label": `Colour of ${entry.name}`,
    disabled: !state.folder.writable, onchange: (event) => changeClass(index, { color: event.target.value }),
  });
  const choose = h("button", {
    type: "button", class: "class-name", "aria-pressed": String(entry.name === state.className),
    title: `${entry.name}: for new objects${index < 9 ? ` (${index + 1})` : ""}; double click to rename`,
    onclick: () => set("className", entry.name, "folder"), ondblclick: () => rename(index),
  }, h("span", {}, entry.name), h("span", { class: "muted number" }, count || ""));
  const row = h("div", { class: "class-row", "data-class": entry.name }, color, choose);
  if (index < 9) row.append(h("kbd", { "aria-hidden": "true" }, String(index + 1)));
  row.append(iconButton("more", { title: `Rename ${entry.name}`, class: "icon ghost small", disabled: !state.folder.writable, onclick: () => rename(index) }));
  row.classList.toggle("current", entry.name === state.className);
  return row;
}

function buildClasses() {
  byId("panel-classes").append(
    h("header", {}, h("h2", { id: "h-classes" }, "Classes"),
      iconButton("plus", { title: "Add a class", class: "icon ghost small", id: "add-class", onclick: addClass })),
    h("div", { id: "class-list" }));
}

function showClasses() {
  const list = byId("class-list");
  // A name being typed is not taken away by a change elsewhere.
  if (list.querySelector("input[type=text]:focus")) return;
  list.replaceChildren(...state.folder.classes.map(classRow));
  byId("add-class").disabled = !state.folder.writable;
}

export function startAnnotatePanel() {
  buildAnnotate();
  buildClasses();
  on("folder", showModels);
  on("mode folder", showModes);
  on("brush", showBrush);
  on("folder objects", () => state.folder && showClasses());
  showModes();
  showBrush();
}
