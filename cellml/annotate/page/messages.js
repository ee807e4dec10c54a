/** The message bar over the image, and the banners that stay. */

import { byId, h, iconButton } from "./dom.js";
import { on, state } from "./state.js";

const SHOWN_MS = { info: 4500, success: 5000, warning: 12000, error: 15000 };

/** Shows a sentence; the same sentence is not shown twice at a time. */
export function say(sentence, tone = "info") {
  const messages = byId("messages");
  for (const shown of messages.children) if (shown.dataset.sentence === sentence) shown.remove();
  const bar = h("div", { class: `message ${tone}`, "data-sentence": sentence, "data-tone": tone },
    h("span", {}, sentence));
  bar.append(iconButton("close", { title: "Close", class: "icon ghost small", onclick: () => bar.remove() }));
  messages.append(bar);
  while (messages.children.length > 3) messages.firstChild.remove();
  setTimeout(() => bar.remove(), SHOWN_MS[tone]);
}

function banner(id, sentence, shown) {
  const existing = byId(id);
  if (!shown) existing?.remove();
  else if (!existing) byId("banners").append(h("div", { id, class: "banner" }, sentence));
}

on("folder", () => banner("banner-readonly",
  `You can look, but nothing can be saved: ${state.folder.why_read_only || state.folder.out}. `
  + "Start again with --out and a folder that you may write to.", !state.folder.writable));

on("connection", () => banner("banner-offline",
  "The server does not answer. Is cellml annotate still running? Trying again … "
  + "Everything up to here is saved.", state.offline));
