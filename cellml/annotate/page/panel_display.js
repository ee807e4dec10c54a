/** How the image and the objects look: overlay, channels, contrast. */

import { defaultChannels } from "./colors.js";
import { byId, check, dress, h } from "./dom.js";
import { emit, on, set, state } from "./state.js";

const STORED = "cellml-display";
let previous = null; // channels of the image before

function build() {
  const panel = byId("panel-display");
  panel.append(h("h2", { id: "h-display" }, "Display"));
  panel.append(h("div", { class: "checks" },
    check("overlay", "Show objects", { key: "O", checked: state.overlay, onchange: (event) => set("overlay", event.target.checked) }),
    check("filled", "Filled", { key: "H", checked: state.filled, onchange: (event) => set("filled", event.target.checked) })));
  panel.append(h("div", { id: "channels" }));
  panel.append(h("div", { class: "row" },
    check("keep-contrast", "Same contrast for all images", {
      checked: state.keepContrast,
      onchange: (event) => {
        state.keepContrast = event.target.checked;
        store();
      },
    }),
    dress(h("button", { type: "button", class: "plain small", id: "auto-contrast", title: "Contrast from the image's own range", onclick: auto }), "sparkle", "Auto")));
}

function slider(channel, index, end, text) {
  const steps = channel.limit > 255 ? Math.max(1, Math.round(channel.limit / 1000)) : 1;
  return h("label", { class: "slider" }, h("span", {}, text),
    h("input", {
      type: "range", min: 0, max: channel.limit, step: steps, value: channel[end],
      id: `${end}-${index}`, "aria-label": `${text} of ${channel.name}`,
      oninput: (event) => changeRange(index, end, Number(event.target.value)),
    }), h("output", { class: "number" }, shown(channel[end])));
}

/** A served sample as the file has it: floats and signed numbers are served in 16 bits. */
function shown(value) {
  const { offset = 0, step = 1 } = state.image;
  return step === 1 ? String(value + offset) : (value * step + offset).toPrecision(4);
}

/** Minimum stays below maximum: the other end gives way. */
function changeRange(index, end, value) {
  const channel = state.channels[index];
  channel[end] = value;
  if (end === "low" && channel.high <= value) channel.high = Math.min(channel.limit, value + 1);
  if (end === "high" && channel.low >= value) channel.low = Math.max(0, value - 1);
  for (const which of ["low", "high"]) {
    const input = byId(`${which}-${index}`);
    input.value = channel[which];
    input.nextSibling.textContent = shown(channel[which]);
  }
  colorsChanged();
}

function channelBox(channel, index) {
  const box = h("div", { class: "channel" });
  const head = h("div", { class: "channel-head" },
    h("input", {
      type: "color", value: channel.color, "aria-label": `Colour of ${channel.name}`, title: "Colour",
      oninput: (event) => {
        channel.color = event.target.value;
        colorsChanged();
      },
    }),
    h("span", { class: "channel-name" }, channel.name));
  if (state.channels.length > 1) {
    head.append(check(`visible-${index}`, "Show", {
      checked: channel.visible,
      onchange: (event) => {
        channel.visible = event.target.checked;
        colorsChanged();
      },
    }));
  }
  box.append(head, slider(channel, index, "low", "Min"), slider(channel, index, "high", "Max"));
  return box;
}

function show() {
  byId("channels").replaceChildren(...state.channels.map(channelBox));
}

function colorsChanged() {
  store();
  emit("colors");
}

function auto() {
  for (const channel of state.channels) [channel.low, channel.high] = channel.auto;
  show();
  colorsChanged();
}

function store() {
  const { channels, keepContrast } = state;
  try {
    localStorage.setItem(STORED, JSON.stringify({ channels, keepContrast }));
  } catch {
    // Without storage the settings last as long as the page.
  }
}

/** Colours and visibility stay from image to image, contrast if the user wants so. */
function adopt(channels) {
  const same = previous && previous.length === channels.length
    && previous.every(({ name }, i) => name === channels[i].name);
  if (!same) return channels;
  return channels.map((channel, i) => {
    const { color, visible, low, high } = previous[i];
    const fits = state.keepContrast && high <= channel.limit * 4;
    const limit = fits ? Math.max(channel.limit, high) : channel.limit;
    return { ...channel, color, visible, limit, ...(fits ? { low, high } : {}) };
  });
}

export function startDisplay() {
  try {
    const stored = JSON.parse(localStorage.getItem(STORED) ?? "{}");
    previous = stored.channels ?? null;
    state.keepContrast = Boolean(stored.keepContrast);
  } catch {
    previous = null;
  }
  build();
  on("image", () => {
    if (state.image.broken) state.channels = [];
    else {
      state.channels = adopt(defaultChannels(state.image));
      previous = state.channels;
    }
    show();
    byId("auto-contrast").disabled = !state.channels.length;
    emit("colors");
  });
  on("display", () => {
    byId("overlay").checked = state.overlay;
    byId("filled").checked = state.filled;
  });
}
