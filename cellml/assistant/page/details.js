// What unfolds below a method: links, facts with their evidence, and what cellml corrected.
"use strict";

const LINK_NAMES = {
  code: "Code", paper: "Paper", paper_3d: "Paper on 3D", site: "Site", citations: "Citations",
  citations_3d: "Citations of the 3D paper",
};

function outwards(address, label) {
  return element("a", { href: address, rel: "noopener noreferrer", target: "_blank" }, label);
}

function fact(name, ...content) {
  return [element("dt", {}, name), element("dd", {}, ...content)];
}

function unknown(text = "unknown") {
  return element("span", { class: "unknown" }, text);
}

function between(items, mark = ", ") {
  return items.flatMap((item, i) => (i ? [mark, item] : [item]));
}

function makeDetails(method) {
  const links = Object.entries(method.links).filter(([, address]) => address);
  const facts = element("dl", {},
    ...(links.length ? fact("Links", ...between(links.map(([kind, address]) =>
      outwards(address, LINK_NAMES[kind])), " · ")) : []),
    ...fact("Listed for", method.modalities.map((id) => catalogue.nodes.get(id).path).join("; ")),
    ...fact("Copes with", challengeWords(method)),
    ...fact("Trained models", ...(method.pretrained.length
      ? [element("ul", {}, ...method.pretrained.map(trainedModel))] : ["none listed"])),
    ...fact("Measured by cellml", ...(method.measured.length
      ? [element("ul", {}, ...method.measured.map(measurement))] : [unknown()])),
    ...fact("Licence of the code", ...(method.licence
      ? [`${method.licence.name} (${method.licence.evidence})`] : [unknown()])),
    ...fact("GitHub stars", method.github_stars === null
      ? unknown("unknown: they change, and this page works offline") : String(method.github_stars)),
    ...fact("Last checked", method.last_checked === null ? unknown() : method.last_checked));
  const changed = data.corrections[String(method.source_id)] || [];
  return element("div", { class: "sheet" }, facts, changed.length ? element("div", {},
    element("h4", {}, "Corrected by cellml"),
    element("ul", {}, ...changed.map(({ field, reason, basis }) =>
      element("li", {}, element("b", {}, field), ` ${reason} (${basis})`)))) : null);
}

function challengeWords(method) {
  const groups = { yes: [], no: [], unknown: [] };
  for (const [name, copes] of Object.entries(method.challenges)) {
    groups[copes === null ? "unknown" : copes ? "yes" : "no"].push(name);
  }
  return [
    groups.yes.length ? groups.yes.join(", ") : "",
    groups.no.length ? `not with ${groups.no.join(", ")}` : "",
    groups.unknown.length ? `unknown: ${groups.unknown.join(", ")}` : "",
  ].filter(Boolean).join("; ");
}

function trainedModel(model) {
  const where = model.modality ? ` for ${catalogue.nodes.get(model.modality).path}` : "";
  const links = model.links.map((address, i) =>
    outwards(address, model.links.length > 1 ? `file ${i + 1}` : "open"));
  return element("li", {}, model.name + where, links.length ? ": " : "", ...between(links));
}

function measurement(one) {
  return element("li", {}, `${one.metric} ${one.value.toFixed(3)} on ${one.n_images} ${one.images} ` +
    `images of DSB2018's validation part, test-time augmentation ${one.setting} (${one.source})`);
}
