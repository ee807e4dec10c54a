// The page: state, drawing, events. Text from the data goes through text() or textContent only.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const catalogue = {
  methods: data.methods, modalities: data.modalities,
  nodes: new Map(data.modalities.map((node) => [node.id, node])),
};
const COLUMNS = [
  ["name", "Method, and why it fits"], ["year", "Year"], [null, "Works in"],
  ["challenges", "Copes with"], ["pretrained", "Trained models"], ["score", "cellml's mAP"],
  [null, "Licence"],
];
const state = {
  filters: { modalities: [], dimension: null, challenges: [], ...data.preset },
  sort: "match", reverse: false, open: new Set(), focus: catalogue.modalities[0].id,
};

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "html") made.innerHTML = value; // our own drawings only
    else if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function setFilters(changes) {
  Object.assign(state.filters, changes);
  draw();
}

// Tree ------------------------------------------------------------------------------------------

function drawTree() {
  const tree = document.getElementById("tree");
  const fresh = catalogue.modalities.filter((node) => node.parent === null).map(drawNode);
  tree.replaceChildren(...fresh);
}

function drawNode(node) {
  const children = catalogue.modalities.filter((other) => other.parent === node.id);
  const root = node.parent === null;
  const chosen = root ? !state.filters.modalities.length : state.filters.modalities.includes(node.id);
  const count = findMatches(catalogue, {
    ...state.filters, modalities: root ? [] : [node.id],
  }).length;
  const name = root ? "Any image" : node.name;
  return element("li", {
    role: "treeitem", "aria-selected": String(chosen), "aria-expanded": children.length ? "true" : null,
    "aria-label": `${root ? name : node.path}, ${count} methods`,
    tabindex: state.focus === node.id ? "0" : "-1", "data-node": node.id,
  }, element("div", {
    class: "node", on: { click: (event) => chooseNode(node.id, event.ctrlKey || event.metaKey) },
  }, element("span", { html: nodeDrawing(node.id), class: "icon" }), element("span", {}, name),
  element("span", { class: count ? "number" : "number none" }, String(count))),
  children.length ? element("ul", { role: "group" }, ...children.map(drawNode)) : null);
}

function chooseNode(id, add) {
  state.focus = id;
  const now = state.filters.modalities;
  let next = [id];
  if (catalogue.nodes.get(id).parent === null) next = [];
  else if (add) next = now.includes(id) ? now.filter((other) => other !== id) : [...now, id];
  else if (now.length === 1 && now[0] === id) next = [];
  setFilters({ modalities: next });
}

function onTreeKey(event) {
  const items = [...document.querySelectorAll("#tree [role=treeitem]")];
  const at = items.findIndex((item) => item.dataset.node === state.focus);
  const node = catalogue.nodes.get(state.focus);
  const child = catalogue.modalities.find((other) => other.parent === node.id);
  const moves = {
    ArrowDown: items[at + 1]?.dataset.node, ArrowUp: items[at - 1]?.dataset.node,
    ArrowLeft: node.parent, ArrowRight: child?.id,
    Home: items[0].dataset.node, End: items[items.length - 1].dataset.node,
  };
  if (event.key in moves) {
    event.preventDefault();
    if (moves[event.key]) state.focus = moves[event.key];
    for (const item of items) item.tabIndex = item.dataset.node === state.focus ? 0 : -1;
    focusTree();
  } else if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    chooseNode(state.focus, event.ctrlKey || event.metaKey);
    focusTree();
  }
}

function focusTree() {
  document.querySelector(`#tree [data-node="${state.focus}"]`).focus();
}

// Filters ---------------------------------------------------------------------------------------

function makeFilters() {
  const dimension = document.getElementById("dimension");
  const choices = element("div", { class: "segments" });
  for (const [value, label] of [["", "Any"], ["2d", "2D"], ["3d", "3D"]]) {
    choices.append(element("label", {}, element("input", {
      type: "radio", name: "dimension", value,
      on: { change: () => setFilters({ dimension: value || null }) },
    }), element("span", {}, label)));
  }
  dimension.append(choices);
  const row = element("div", { class: "chips" });
  for (const [name, meaning] of Object.entries(data.challenges)) {
    row.append(element("label", { title: meaning }, element("input", {
      type: "checkbox", name: "challenge", value: name,
      on: { change: (event) => toggleChallenge(name, event.target.checked) },
    }), element("span", { html: challengeDrawing(name), class: "icon" }), element("span", {}, name)));
  }
  document.getElementById("challenges").append(row);
}

function toggleChallenge(name, wanted) {
  const chosen = new Set(state.filters.challenges);
  if (wanted) chosen.add(name); else chosen.delete(name);
  setFilters({ challenges: Object.keys(data.challenges).filter((one) => chosen.has(one)) });
}

function showFilters() {
  for (const input of document.querySelectorAll("input[name=dimension]")) {
    input.checked = input.value === (state.filters.dimension || "");
  }
  for (const input of document.querySelectorAll("input[name=challenge]")) {
    input.checked = state.filters.challenges.includes(input.value);
  }
  const { modalities, dimension, challenges } = state.filters;
  document.getElementById("clear").disabled = !(modalities.length || dimension || challenges.length);
}

// List ------------------------------------------------------------------------------------------

function drawList() {
  const matches = sortMatches(findMatches(catalogue, state.filters), state.sort, state.reverse);
  const count = matches.length;
  document.getElementById("count").textContent =
    `${count} of ${catalogue.methods.length} methods ${count === 1 ? "fits" : "fit"}`;
  document.getElementById("best").setAttribute("aria-pressed", String(state.sort === "match"));
  document.getElementById("table").replaceChildren(
    count ? makeTable(matches) : element("p", { class: "empty" },
      "No method is known to do all of this at once."));
  drawNear();
}

function makeTable(matches) {
  const heads = COLUMNS.map(([key, label]) => {
    const sorted = key !== null && state.sort === key;
    const rising = (key === "name") !== state.reverse;
    return element("th", {
      scope: "col", "aria-sort": key === null ? null : sorted ? (rising ? "ascending" : "descending") : "none",
    }, key === null ? label : element("button", { type: "button", on: { click: () => sortBy(key) } },
      label, element("span", { class: "arrow", "aria-hidden": "true" }, sorted ? (rising ? " ▲" : " ▼") : "")));
  });
  return element("table", {}, element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...matches.flatMap(makeRows)));
}

function sortBy(key) {
  state.reverse = state.sort === key ? !state.reverse : false;
  state.sort = key;
  drawList();
  [...document.querySelectorAll("th")].find((head) => head.getAttribute("aria-sort") !== "none" &&
    head.hasAttribute("aria-sort"))?.querySelector("button").focus();
}

function makeRows(match) {
  const method = match.method, open = state.open.has(method.id);
  const name = element("button", {
    type: "button", class: "name", "aria-expanded": String(open),
    on: { click: () => toggleDetails(method.id) },
  }, method.name);
  const first = element("td", {}, name,
    method.source_id === null ? element("span", { class: "badge" }, "cellml") : null,
    match.general ? element("span", { class: "badge plain" }, "general tool") : null,
    element("span", { class: "by" }, `${method.authors}, ${method.venue}`),
    match.why ? element("span", { class: "why" }, match.why) : null);
  const row = element("tr", { "data-method": method.id, class: open ? "open" : null }, first,
    element("td", { class: "n" }, String(method.year)),
    element("td", {}, [method.two_d && "2D", method.three_d && "3D"].filter(Boolean).join(", ")),
    element("td", {}, challengeMarks(method)),
    element("td", { class: "n" }, match.trained ? String(match.trained) : "–"),
    element("td", { class: "n" }, match.score === null
      ? element("span", { class: "unknown" }, "unknown") : match.score.toFixed(3)),
    element("td", {}, method.licence ? method.licence.name
      : element("span", { class: "unknown" }, "unknown")));
  if (!open) return [row];
  return [row, element("tr", { class: "details" },
    element("td", { colspan: COLUMNS.length }, makeDetails(method)))];
}

function toggleDetails(id) {
  if (!state.open.delete(id)) state.open.add(id);
  drawList();
  document.querySelector(`tr[data-method="${id}"] button.name`).focus();
}

function challengeMarks(method) {
  const marks = Object.entries(method.challenges).map(([name, copes]) => {
    const word = copes === null ? "unknown" : copes ? "yes" : "no";
    return element("span", { class: `mark ${word}`, title: `${name}: ${word}`, html: challengeDrawing(name) });
  });
  const yes = Object.keys(method.challenges).filter((name) => method.challenges[name]);
  return element("span", { class: "marks", role: "img", "aria-label": yes.join(", ") || "none known" }, ...marks);
}

function drawNear() {
  const near = document.getElementById("near");
  const groups = seeAlso(catalogue, state.filters).map((group) => element("section", {},
    element("h3", {}, `See also: without ${group.leftOut}`),
    element("p", {}, ...group.matches.slice(0, 6).map((match) => element("button", {
      type: "button", class: "chip", title: match.why,
      on: { click: () => { state.open.add(match.method.id); setFilters(group.filters); } },
    }, match.method.name)), element("button", {
      type: "button", class: "more", on: { click: () => setFilters(group.filters) },
    }, `show ${group.matches.length === 1 ? "it" : `all ${group.matches.length}`}`))));
  if (groups.length) {
    groups.unshift(element("p", { class: "lead" }, "Nothing is listed for exactly this" +
      (document.querySelector("#table table") ? " but general tools" : "") + ". What comes near:"));
  }
  const others = suggestedMethods(catalogue, state.filters);
  if (others.length) {
    groups.push(element("section", {}, element("h3", {}, "See also: worth a try"),
      element("p", {}, `The source suggests them here without listing them: ${
        others.map((method) => method.name).join(", ")}.`)));
  }
  near.replaceChildren(...groups);
}

function draw() {
  drawTree();
  showFilters();
  drawList();
}

// Start -----------------------------------------------------------------------------------------

function start() {
  makeFilters();
  document.getElementById("tree").addEventListener("keydown", onTreeKey);
  document.getElementById("clear").addEventListener("click", () => {
    setFilters({ modalities: [], dimension: null, challenges: [] });
  });
  document.getElementById("best").addEventListener("click", () => {
    Object.assign(state, { sort: "match", reverse: false });
    drawList();
  });
  document.getElementById("facts").textContent = data.facts;
  document.getElementById("about").append(...data.about.map((line) => element("p", {}, line)));
  if (data.hints.length) {
    document.getElementById("hints").hidden = false;
    document.getElementById("hints-text").append(...data.hints.map((line) => element("p", {}, line)),
      element("p", { class: "note" }, "Read off the pixels: a hint, not a measurement. " +
        "The filters below were set by it; change them as you know better."));
  }
  draw();
}
