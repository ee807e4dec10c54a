/** Small means to build the page: elements, icons, buttons. */

import { icon } from "./icons.js";

export const byId = (id) => document.getElementById(id);

/** Makes an element: properties that start with "on" are listeners, "data-*" and "aria-*" attributes. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "html") element.innerHTML = value;
    else if (name === "class") element.className = value;
    else if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Fills a button with an icon and an optional text. */
export function dress(button, name, text = "") {
  button.innerHTML = icon(name);
  if (text) button.append(h("span", {}, text));
  return button;
}

/** A button with an icon; `title` also names it for screen readers where there is no text. */
export function iconButton(name, { text = "", title = "", onclick, ...rest }) {
  const label = text ? {} : { "aria-label": title.replace(/ \(.*\)$/, "") };
  return dress(h("button", { type: "button", title, onclick, ...label, ...rest }), name, text);
}

/** A switch drawn as a checkbox with its label and key. */
export function check(id, text, { key = "", title = "", checked = false, disabled = false, onchange }) {
  const input = h("input", { type: "checkbox", id, checked, disabled, onchange });
  return h("label", { class: "check", title, for: id }, input, h("span", {}, text),
    key ? h("kbd", { "aria-hidden": "true" }, key) : null);
}

/** One choice out of few, drawn as joined buttons (radio buttons underneath). */
export function segmented(name, label, options, value, onchange) {
  const group = h("div", { class: "segmented", role: "radiogroup", "aria-label": label });
  for (const [key, text, title] of options) {
    const input = h("input", {
      type: "radio", name, value: key, checked: key === value, id: `${name}-${key}`,
      onchange: () => onchange(key),
    });
    group.append(h("label", { title: title ?? "" }, input, h("span", {}, text)));
  }
  return group;
}

/** The text of a count: "1 object", "12 objects". */
export function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}
