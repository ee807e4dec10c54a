/** The list of images: counts, done marks, uncertainty, and what to annotate next. */

import { post } from "./api.js";
import { byId, counted, h, iconButton } from "./dom.js";
import { icon } from "./icons.js";
import { watchJobs } from "./jobs.js";
import { say } from "./messages.js";
import { goToIndex, nextToAnnotate } from "./navigation.js";
import { on, state } from "./state.js";

function row(entry) {
  const facts = entry.error ? "cannot be read" : counted(entry.n_objects, "object");
  const item = h("button", {
    type: "button", class: "image-row", "data-index": entry.index, title: entry.error ?? entry.name,
    "aria-current": String(entry.index === state.image?.index), onclick: () => goToIndex(entry.index),
  });
  const about = h("span", { class: "facts" }, h("span", {}, facts));
  if (entry.uncertainty !== null && !entry.done) about.append(meter(entry.uncertainty));
  const mark = h("span", { class: "mark", html: entry.done ? icon("check") : "" });
  if (entry.done) mark.append(h("span", { class: "hidden-text" }, "done"));
  item.append(mark, h("span", { class: "names" },
    h("span", { class: "name" }, entry.name), about));
  item.classList.toggle("broken", Boolean(entry.error));
  return item;
}

/** How much the model's answers differ among turned and mirrored copies of the image. */
function meter(value) {
  const percent = Math.round(value * 100);
  const most = Math.max(...state.folder.images.map((entry) => entry.uncertainty ?? 0), 1e-9);
  const bar = h("span", { class: "bar" });
  bar.style.setProperty("--part", value / most);
  return h("span", { class: "meter", title: `Uncertainty ${value.toFixed(3)}: the most uncertain image teaches the model most` },
    bar, h("span", { class: "number" }, `${percent} %`));
}

function build() {
  byId("images-panel").append(
    h("header", {}, h("h2", {}, "Images"), h("span", { id: "image-count", class: "muted" })),
    h("div", { id: "image-list", class: "image-list" }),
    h("footer", {},
      iconButton("sparkle", { text: "Next to annotate", title: "Opens the most uncertain image that is not done (n)", class: "plain", id: "next-uncertain", onclick: nextToAnnotate }),
      iconButton("train", { text: "Rank by uncertainty", title: "Lets the model look at all images that are not done", class: "ghost small", id: "rank", onclick: rank })),
  );
}

async function rank() {
  try {
    await post("/api/rank", { images: null });
    watchJobs();
  } catch (error) {
    say(error.message, "error");
  }
}

function show() {
  const { images } = state.folder;
  const list = byId("image-list");
  const top = list.scrollTop;
  list.replaceChildren(...images.map(row));
  list.scrollTop = top;
  showCount();
}

function showCount() {
  const { images } = state.folder;
  const done = images.filter((entry) => entry.done).length;
  byId("image-count").textContent = `${done} of ${images.length} done`;
}

/** Brings one row up to date; the list can be long. */
function showCurrent() {
  const list = byId("image-list");
  for (const item of list.querySelectorAll('[aria-current="true"]')) item.setAttribute("aria-current", "false");
  const { index } = state.image;
  const fresh = row(state.folder.images[index]);
  list.children[index]?.replaceWith(fresh);
  showCount();
}

function toggle() {
  const open = document.body.dataset.images !== "closed";
  document.body.dataset.images = open ? "closed" : "open";
  byId("images-toggle").setAttribute("aria-expanded", String(!open));
}

export function startImages() {
  build();
  if (window.innerWidth < 1180) toggle();
  byId("images-toggle").addEventListener("click", toggle);
  on("folder", show);
  on("image", () => {
    showCurrent();
    byId("image-list").children[state.image.index]?.scrollIntoView({ block: "nearest" });
  });
  on("objects", () => state.image && showCurrent());
}
