// Filters, reasons and order, as cellml/assistant/matching.py has them; a test compares the two.
"use strict";

const NAMED_MAX = 2;

function ancestors(catalogue, id) {
  const found = [];
  let parent = catalogue.nodes.get(id).parent;
  while (parent !== null) {
    found.push(parent);
    parent = catalogue.nodes.get(parent).parent;
  }
  return found;
}

function isWithin(catalogue, id, wanted) {
  return wanted.includes(id) || ancestors(catalogue, id).some((above) => wanted.includes(above));
}

function andWords(words) {
  if (words.length < 2) return words.join("");
  return words.slice(0, -1).join(", ") + " and " + words[words.length - 1];
}

function namedNodes(nodes) {
  const names = nodes.map((node) => node.path);
  const more = names.length - NAMED_MAX;
  return andWords(more > 0 ? [...names.slice(0, NAMED_MAX), `${more} more`] : names);
}

function hits(catalogue, method, wanted) {
  const inside = [], above = [];
  for (const node of catalogue.modalities) {
    if (!method.modalities.includes(node.id)) continue;
    if (isWithin(catalogue, node.id, wanted)) inside.push(node);
    else if (wanted.some((name) => ancestors(catalogue, name).includes(node.id))) above.push(node);
  }
  return { inside, above };
}

function countChallenges(method) {
  return Object.values(method.challenges).filter(Boolean).length;
}

function makeMatch(catalogue, method, filters, inside, above) {
  const asked = filters.modalities.length > 0;
  const fits = (name) => !asked || (name !== null && isWithin(catalogue, name, filters.modalities));
  const models = method.pretrained.filter((model) => fits(model.modality));
  const trained = new Set(models.map((model) => model.name)).size;
  let best = null;
  for (const one of method.measured) {
    if (fits(one.modality) && (best === null || one.value > best.value)) best = one;
  }
  const parts = [];
  if (asked) {
    parts.push(inside.length
      ? `listed for ${namedNodes(inside)}` : `a general tool, for ${namedNodes(above)}`);
    if (trained) parts.push(`${trained} trained model${trained > 1 ? "s" : ""} for it`);
  }
  if (best) {
    parts.push(`mAP ${best.value.toFixed(3)} measured by cellml on ${best.n_images} ` +
      `${best.images} images`);
  }
  if (filters.dimension) parts.push(`works in ${filters.dimension.toUpperCase()}`);
  if (filters.challenges.length) parts.push(`copes with ${andWords(filters.challenges)} nuclei`);
  const why = parts.join("; ");
  return {
    method, why: !why ? "" : (why.startsWith("mAP") ? "m" : why[0].toUpperCase()) + why.slice(1) + ".",
    general: asked && inside.length === 0, trained, score: best ? best.value : null,
  };
}

function findMatches(catalogue, filters) {
  const found = [];
  for (const method of catalogue.methods) {
    const { inside, above } = hits(catalogue, method, filters.modalities);
    if (filters.modalities.length && !inside.length && !above.length) continue;
    if (filters.dimension && !(filters.dimension === "2d" ? method.two_d : method.three_d)) continue;
    if (!filters.challenges.every((name) => method.challenges[name])) continue;
    found.push(makeMatch(catalogue, method, filters, inside, above));
  }
  return sortMatches(found, "match", false);
}

function compareNumbers(first, second) {
  for (let i = 0; i < first.length; i += 1) {
    if (first[i] !== second[i]) return first[i] - second[i];
  }
  return 0;
}

function relevance(match) {
  const score = match.score === null ? -1 : match.score;
  return [Number(match.general), -match.trained, -score, -countChallenges(match.method),
    -match.method.year];
}

function sortMatches(matches, key, reverse) {
  const base = [...matches].sort((a, b) => compareNumbers(relevance(a), relevance(b)));
  if (key === "match") return reverse ? base.reverse() : base;
  if (key === "name") {
    const name = (match) => match.method.name.toLowerCase();
    const turn = reverse ? -1 : 1;
    return base.sort((a, b) => turn * (name(a) < name(b) ? -1 : name(a) > name(b) ? 1 : 0));
  }
  const value = {
    year: (match) => match.method.year,
    challenges: (match) => countChallenges(match.method),
    pretrained: (match) => match.trained,
    score: (match) => match.score,
  }[key];
  const sign = reverse ? 1 : -1;
  const rank = (match) => (value(match) === null ? [1, 0] : [0, sign * value(match)]);
  return base.sort((a, b) => compareNumbers(rank(a), rank(b)));
}

function filterParts(filters) {
  const parts = filters.modalities.length ? [["modalities", "the kind of image"]] : [];
  if (filters.dimension) parts.push(["dimension", filters.dimension.toUpperCase()]);
  return [...parts, ...filters.challenges.map((name) => [name, `'${name}'`])];
}

function withoutParts(filters, leftOut) {
  const names = leftOut.map(([name]) => name);
  return {
    modalities: names.includes("modalities") ? [] : filters.modalities,
    dimension: names.includes("dimension") ? null : filters.dimension,
    challenges: filters.challenges.filter((name) => !names.includes(name)),
  };
}

function combinationsOf(items, count) {
  if (count === 0) return [[]];
  return items.flatMap((item, i) =>
    combinationsOf(items.slice(i + 1), count - 1).map((rest) => [item, ...rest]));
}

function seeAlso(catalogue, filters) {
  const listed = findMatches(catalogue, filters);
  if (listed.some((match) => !match.general)) return [];
  const known = new Set(listed.map((match) => match.method.id));
  const parts = filterParts(filters);
  for (let count = 1; count <= parts.length; count += 1) {
    const groups = [];
    for (const leftOut of combinationsOf(parts, count)) {
      const fewer = withoutParts(filters, leftOut);
      const matches = findMatches(catalogue, fewer)
        .filter((match) => !known.has(match.method.id) && !match.general);
      if (matches.length) {
        groups.push({ leftOut: andWords(leftOut.map(([, words]) => words)), filters: fewer, matches });
      }
    }
    if (groups.length) return groups;
  }
  return [];
}

function suggestedMethods(catalogue, filters) {
  if (!filters.modalities.length) return [];
  const listed = new Set(findMatches(catalogue, filters).map((match) => match.method.id));
  const others = findMatches(catalogue, { ...filters, modalities: [] });
  const kept = new Set(others.map((match) => match.method).filter((method) =>
    !listed.has(method.id) &&
    method.also_for.some((name) => isWithin(catalogue, name, filters.modalities)),
  ).map((method) => method.id));
  return catalogue.methods.filter((method) => kept.has(method.id));
}
