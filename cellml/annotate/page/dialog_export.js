/** The export dialog: formats, images, into the folder or as a download. */

import { address, post } from "./api.js";
import { settled } from "./annotations.js";
import { byId, check, counted, dress, h } from "./dom.js";
import { imageChoice, openDialog } from "./dialogs.js";
import { say } from "./messages.js";
import { state } from "./state.js";

/** Names as the server knows them, and what they are good for. */
export const FORMATS = [
  ["roi_zip", "ImageJ ROIs (.zip)", "opens in Fiji and AnnotatorJ"],
  ["labels", "Label images", "16 bits, one number an object"],
  ["layered", "Layered masks", "stack, keeps overlaps"],
  ["binary", "Binary masks", "object or background"],
  ["boxes_csv", "Bounding boxes (CSV)", "x, y, width, height"],
  ["yolo", "YOLO", "boxes for detection"],
  ["coco", "COCO", "polygons and run lengths"],
  ["geojson", "GeoJSON", "opens in QuPath"],
  ["dsb_csv", "DSB 2018 (CSV)", "run lengths"],
  ["ome_tiff", "OME-TIFF labels", "with pixel size"],
  ["outlined", "Outlined pictures", "to look at"],
];
const STORED = "cellml-export";

function storedFormats() {
  try {
    return JSON.parse(localStorage.getItem(STORED)) ?? ["roi_zip", "labels"];
  } catch {
    return ["roi_zip", "labels"];
  }
}

export function showExport() {
  const before = storedFormats();
  const formats = h("div", { class: "formats" });
  for (const [name, text, use] of FORMATS) {
    const box = check(`format-${name}`, text, { checked: before.includes(name) });
    box.querySelector("input").value = name;
    box.append(h("span", { class: "muted" }, use));
    formats.append(box);
  }
  const setAll = (value) => () => formats.querySelectorAll("input").forEach((input) => {
    input.checked = value;
  });
  const images = imageChoice("export-image", (entry) => entry.n_objects > 0);
  const result = h("div", { id: "export-result", role: "status" });
  const chosen = () => [...formats.querySelectorAll("input:checked")].map((input) => input.value);
  const withChoice = (run) => async () => {
    const names = chosen();
    if (!names.length || !images.values().length) {
      result.replaceChildren(h("p", { class: "problem" }, "Choose at least one format and one image."));
      return;
    }
    localStorage.setItem(STORED, JSON.stringify(names));
    await settled();
    await run(names, images.values(), result);
  };
  const write = h("button", { type: "button", class: "primary", id: "export-write", onclick: withChoice(writeFiles) }, "Write into the folder");
  write.disabled = !state.folder.writable;
  openDialog("dialog-export", "Export", [
    h("div", { class: "columns wide" },
      h("div", {}, h("div", { class: "field-head" }, h("span", {}, "Formats"),
        h("div", { class: "row" },
          h("button", { type: "button", class: "ghost small", id: "formats-all", onclick: setAll(true) }, "All"),
          h("button", { type: "button", class: "ghost small", onclick: setAll(false) }, "None"))), formats),
      h("div", {}, h("div", { class: "field-head" }, h("span", {}, "Images"), images.tools), images.list)),
    result,
  ], [
    h("button", { type: "button", class: "plain", id: "export-zip", onclick: withChoice(download) }, "Download zip"),
    write,
  ]);
}

async function writeFiles(formats, images, result) {
  result.replaceChildren(h("p", { class: "muted" }, "Writing …"));
  try {
    const answer = await post("/api/export", { formats, images });
    result.replaceChildren(
      h("p", { class: "well" }, `${counted(answer.files.length, "file")} written to ${answer.folder}`),
      h("details", {}, h("summary", {}, "Files"), h("ul", {}, ...answer.files.map((name) => h("li", {}, name)))));
    result.dataset.files = answer.files.length;
  } catch (error) {
    result.replaceChildren(h("p", { class: "problem" }, error.message));
  }
}

async function download(formats, images, result) {
  const link = h("a", {
    href: address("/api/export.zip", { formats: formats.join(","), images: images.join(",") }),
    download: "annotations.zip",
  });
  link.click();
  result.replaceChildren(h("p", { class: "muted" }, "The download was started."));
}

export function startExport() {
  dress(byId("export"), "download", "Export").addEventListener("click", () => {
    if (state.image) showExport();
    else say("There is nothing to export yet.", "info");
  });
}
