/** The list of keyboard keys. */

import { openDialog } from "./dialogs.js";
import { h } from "./dom.js";

let table = [];

/** Gives the dialog the keys to show; the keyboard module owns them. */
export function describeKeys(keys) {
  table = keys;
}

function keyName(text) {
  return text.split("+").map((part) => (part === "" ? "+" : part)).map((part, i, all) => {
    const shown = part.length === 1 ? part.toUpperCase() : part;
    return i < all.length - 1 || all[i] !== "+" || all.length === 1 ? shown : null;
  }).filter(Boolean);
}

function entry([keys, text]) {
  const shown = h("dt");
  keys.forEach((key, i) => {
    if (i) shown.append(key === "9" ? " … " : keys[0].length > 6 ? h("br") : " or ");
    keyName(key).forEach((part, k) => shown.append(k ? " " : "", h("kbd", {}, part)));
  });
  return [shown, h("dd", {}, text)];
}

export function showKeys() {
  const groups = table.map(([title, entries]) => h("section", {},
    h("h3", {}, title), h("dl", {}, ...entries.flatMap(entry))));
  openDialog("dialog-keys", "Keyboard and mouse", [
    h("div", { class: "key-groups" }, ...groups),
    h("p", { class: "muted" }, "Mouse: wheel zooms, middle button moves the image. "
      + "Where the browser takes Ctrl+Q for itself, press Enter or Q."),
  ], []);
}
