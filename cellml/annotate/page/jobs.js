/** Work that the server does in the background: shown with its progress, reported when it ends. */

import { get, OfflineError, online, post } from "./api.js";
import { loadFolder, reload, settled } from "./annotations.js";
import { byId, h, iconButton } from "./dom.js";
import { say } from "./messages.js";
import { set, state } from "./state.js";

const EVERY_MS = 500;
const NAMES = {
  propose: "Proposing all objects", train: "Training", rank: "Ranking by uncertainty", export: "Exporting",
};
const ENDED = {
  propose: "Correct them, or undo to remove them all.",
  train: "Ranks are of the model before: rank again to find the image to annotate next.",
  rank: "'Next to annotate' opens the most uncertain one.",
};

const running = new Set(); // ids that were seen running
let timer = null;

/** Starts to follow the server's jobs; call it after a job was started. */
export function watchJobs(started = null) {
  if (started !== null) running.add(started);
  clearTimeout(timer);
  poll();
}

async function poll() {
  let jobs;
  try {
    jobs = await get("/api/jobs");
  } catch (error) {
    if (error instanceof OfflineError) await online();
    timer = setTimeout(poll, EVERY_MS);
    return;
  }
  const active = jobs.filter((job) => job.state === "running");
  for (const job of active) running.add(job.id);
  show(active);
  for (const job of jobs) {
    if (job.state !== "running" && running.delete(job.id)) await ended(job);
  }
  if (active.length || running.size) timer = setTimeout(poll, EVERY_MS);
}

/** The server's last message as a sentence. */
function sentence(text) {
  if (!text) return "";
  return text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

async function ended(job) {
  if (job.state === "failed") say(job.message || `${NAMES[job.kind] ?? job.kind} failed.`, "error");
  else if (job.state === "cancelled") say(`${NAMES[job.kind] ?? job.kind} was cancelled.`, "info");
  else say(`${sentence(job.message)} ${ENDED[job.kind] ?? ""}`.trim(), "success");
  // The new model has learned the images as they are.
  if (job.kind === "train" && job.state === "done") {
    state.lastInverted = false;
    set("invert", null, "mode");
  }
  await loadFolder();
  if (job.kind === "propose") {
    await settled();
    await reload();
  }
}

async function cancel(id) {
  try {
    await post(`/api/jobs/${id}/cancel`);
    watchJobs();
  } catch (error) {
    say(error.message, "error");
  }
}

function card(job) {
  const percent = Math.round(100 * job.progress);
  const bar = h("div", {
    class: "progress", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100",
    "aria-valuenow": String(percent), "aria-label": NAMES[job.kind] ?? job.kind,
  }, h("div"));
  bar.style.setProperty("--part", job.progress);
  return h("div", { class: "job", "data-kind": job.kind },
    h("div", { class: "job-head" }, h("strong", {}, NAMES[job.kind] ?? job.kind),
      h("span", { class: "number" }, `${percent} %`),
      iconButton("close", { title: "Cancel", class: "icon ghost small", onclick: () => cancel(job.id) })),
    bar, h("div", { class: "muted" }, job.message || ""));
}

function show(active) {
  byId("jobs").replaceChildren(...active.map(card));
  byId("stage").dataset.jobs = active.length;
}

/** The name of the model in use, shortened from a path. */
export function modelName() {
  return (state.folder.model ?? "none").split(/[\\/]/).slice(-2).join("/");
}
