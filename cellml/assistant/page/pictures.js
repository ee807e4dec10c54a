// Small drawings: what a kind of image, or a difficult nucleus, looks like. No pictures of others.
"use strict";

const CHALLENGE_DRAWINGS = {
  elongated: '<ellipse cx="12" cy="12" rx="10" ry="3.4" transform="rotate(-32 12 12)"/>',
  concave: '<path d="M5 4c7-4 15 2 15 9s-6 9-11 8c-4-1-3-5 0-6 4-1 3-5-1-5-5 0-7-4-3-6z"/>',
  deviating: '<circle cx="6" cy="6" r="3"/><circle cx="6" cy="18" r="3"/><circle cx="16" cy="12" r="6.6"/>',
  wobbling: '<path d="M12 2.5c2 0 2 2.2 4 2.4s3.600-.7 4.400 1-1.400 2.600-1 4.400 2.400 2.300 1.700 4.300-3 .9-4.200 2.500-.3 3.700-2.200 4.300-2.400-1.700-4.300-1.500-3.300 1.700-4.800.4-.2-3-1-4.600-3-1.700-2.800-3.700 2.500-1.700 3-3.500-1.200-3.300.2-4.600 2.700.5 4.300-.2S10 2.500 12 2.500z"/>',
  heterogeneous: '<circle cx="12" cy="12" r="9.500" opacity=".45"/><circle cx="8.500" cy="9" r="3"/><circle cx="15" cy="14" r="2.400"/><circle cx="14.500" cy="7" r="1.300"/><circle cx="9" cy="16.500" r="1.500"/>',
  fragmented: '<circle cx="8" cy="7" r="4.300"/><circle cx="17" cy="11" r="3.700"/><circle cx="8.500" cy="17.500" r="3.600"/><circle cx="15.500" cy="19" r="1.700"/>',
  overlapping: '<circle cx="8.500" cy="12" r="6.500" opacity=".75"/><circle cx="15.500" cy="12" r="6.500" opacity=".55"/>',
};

const BLOBS = [[8, 8, 4.4, 3.4, 20], [20, 6, 3.6, 3, -15], [29, 13, 4, 3.2, 40], [14, 18, 4, 3.2, -30],
  [25, 21, 3.8, 3, 10]];

function blobs(style) {
  return BLOBS.map(([x, y, rx, ry, turn]) =>
    `<ellipse cx="${x}" cy="${y}" rx="${rx}" ry="${ry}" transform="rotate(${turn} ${x} ${y})" ${style}/>`,
  ).join("");
}

const BACKGROUNDS = {
  fluo: ["#0b1020", blobs('fill="#6fb7ff"')],
  confocal: ["#07140d", blobs('fill="#4fe08a"') + blobs('fill="none" stroke="#c7ffdc" stroke-width=".7"')],
  sheet: ["#140a1f", blobs('fill="#c993ff"') + '<path d="M0 13.500h36" stroke="#fff" opacity=".55"/>'],
  stained: ["#f6dbe6", blobs('fill="#6a3d92"')],
  bright: ["#dfe1e0", blobs('fill="#b9bdbb" stroke="#8d928f" stroke-width=".8"')],
  dic: ["#a4a8a6", blobs('fill="#a4a8a6" stroke="#f7f7f7" stroke-width="1.400"') +
    `<g transform="translate(1.100 1.100)">${blobs('fill="#a4a8a6" stroke="#4b4f4d" stroke-width=".9"')}</g>`],
  phase: ["#8c918f", blobs('fill="#565b59" stroke="#f4f6f5" stroke-width="1.500"')],
};

const NODE_DRAWINGS = {
  "culture-fluo-widefield": "fluo", "tissue-fluo-widefield": "fluo",
  "culture-fluo-confocal": "confocal", "tissue-fluo-confocal": "confocal",
  "tissue-light-sheet": "sheet",
  "culture-brightfield-stained": "stained", "tissue-brightfield-stained": "stained",
  "culture-brightfield": "bright", "culture-dic": "dic", "tissue-dic": "dic",
  "culture-phase-contrast": "phase",
};

function challengeDrawing(name) {
  return `<svg class="drawing" viewBox="0 0 24 24" aria-hidden="true" fill="currentColor">` +
    `${CHALLENGE_DRAWINGS[name]}</svg>`;
}

function nodeDrawing(id) {
  const kind = NODE_DRAWINGS[id];
  if (!kind) return "";
  const [colour, shapes] = BACKGROUNDS[kind];
  return `<svg class="view" viewBox="0 0 36 27" aria-hidden="true">` +
    `<rect width="36" height="27" rx="3" fill="${colour}"/>${shapes}</svg>`;
}
