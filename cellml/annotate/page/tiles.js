/** The image layer: raw tiles from the server, coloured here, drawn at the right pyramid level. */

import { fetchTile, OfflineError, online } from "./api.js";
import { byId } from "./dom.js";
import { colorTile, lookUpTables } from "./colors.js";
import { on, state } from "./state.js";
import { redraw, registerLayer, view } from "./view.js";

const RAW_BYTES_MAX = 256 * 2 ** 20;
const PICTURES_MAX = 160; // coloured tiles, 1 MiB each
const REQUESTS_MAX = 6;
const COLORING_MS = 10; // a frame's time for colouring; the rest shows coarser tiles until the next

const raw = new Map(); // key -> tile, in order of use
const pictures = new Map(); // key -> {canvas, version}, in order of use
const loading = new Map(); // key -> AbortController
let rawBytes = 0;
let tables = null;
let version = 0; // of the colours
let failures = 0;
let wanted = [];

function touch(map, key) {
  const value = map.get(key);
  if (value !== undefined) {
    map.delete(key);
    map.set(key, value);
  }
  return value;
}

function keyOf(level, row, column) {
  return `${state.image.index}/${level}/${row}/${column}`;
}

/** Level whose pixels are not larger than a device pixel (0 is full resolution). */
function levelFor(scale) {
  const level = Math.floor(Math.log2(1 / (scale * view.ratio)) + 1e-6);
  return Math.min(Math.max(level, 0), state.image.levels - 1);
}

/** Tiles of a level in sight, nearest to the middle first. */
function tilesInSight(level) {
  const { width, height, tile } = state.image;
  const size = tile * 2 ** level;
  const last = (length) => Math.ceil(length / size) - 1;
  const [right, bottom] = [view.x + view.width / view.scale, view.y + view.height / view.scale];
  const found = [];
  for (let row = Math.max(0, Math.floor(view.y / size)); row <= Math.min(last(height), Math.floor(bottom / size)); row++) {
    for (let column = Math.max(0, Math.floor(view.x / size)); column <= Math.min(last(width), Math.floor(right / size)); column++) {
      const distance = Math.hypot((column + 0.5) * size - (view.x + right) / 2, (row + 0.5) * size - (view.y + bottom) / 2);
      found.push({ level, row, column, distance, key: keyOf(level, row, column) });
    }
  }
  return found.sort((a, b) => a.distance - b.distance);
}

function request() {
  for (const [key, control] of loading) {
    if (!wanted.some((entry) => entry.key === key)) {
      control.abort();
      loading.delete(key);
    }
  }
  for (const entry of wanted) {
    if (loading.size >= REQUESTS_MAX) return;
    if (!raw.has(entry.key) && !loading.has(entry.key)) load(entry);
  }
}

async function load({ level, row, column, key }) {
  const control = new AbortController();
  loading.set(key, control);
  const { index, channels, dtype } = state.image;
  try {
    const tile = await fetchTile(index, level, row, column,
      { signal: control.signal, channels: channels.length, dtype });
    keep(key, tile);
    failures = 0;
  } catch (error) {
    if (error.name === "AbortError") return;
    failures += 1;
    if (error instanceof OfflineError) await online();
    else if (failures > 3) return; // a tile that cannot be read stays empty; its key stays taken
  }
  if (loading.get(key) === control) loading.delete(key);
  redraw("image");
}

function keep(key, tile) {
  raw.set(key, tile);
  rawBytes += tile.samples.byteLength;
  for (const [old, dropped] of raw) {
    if (rawBytes <= RAW_BYTES_MAX || old === key) break;
    raw.delete(old);
    rawBytes -= dropped.samples.byteLength;
  }
}

/** The coloured tile, if there is one or time to make one; an outdated one rather than none. */
function picture(key, deadline) {
  const existing = touch(pictures, key);
  if (existing?.version === version) return existing.canvas;
  const tile = touch(raw, key);
  if (!tile || performance.now() > deadline) return existing?.canvas ?? null;
  const canvas = existing?.canvas ?? document.createElement("canvas");
  colorTile(tile, tables, canvas);
  pictures.set(key, { canvas, version });
  for (const old of pictures.keys()) {
    if (pictures.size <= PICTURES_MAX) break;
    pictures.delete(old);
  }
  return canvas;
}

function draw(context, canvas, { level, row, column }) {
  const { tile, width, height } = state.image;
  const pixel = 2 ** level;
  const scale = view.scale * view.ratio;
  // Edges on whole device pixels: neighbours meet without a seam.
  const edge = (value, origin) => Math.round((value - origin) * scale);
  const [x, y] = [column * tile * pixel, row * tile * pixel];
  const [x1, y1] = [Math.min(width, x + canvas.width * pixel), Math.min(height, y + canvas.height * pixel)];
  const [left, top] = [edge(x, view.x), edge(y, view.y)];
  context.drawImage(canvas, 0, 0, (x1 - x) / pixel, (y1 - y) / pixel,
    left, top, edge(x1, view.x) - left, edge(y1, view.y) - top);
}

function paint(context, layer) {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, layer.width, layer.height);
  const stage = byId("stage");
  if (!state.image || state.image.broken) {
    stage.dataset.tiles = "empty";
    return;
  }
  context.imageSmoothingEnabled = view.scale * view.ratio < 1;
  const level = levelFor(view.scale);
  const sight = tilesInSight(level);
  const top = tilesInSight(state.image.levels - 1);
  wanted = level === state.image.levels - 1 ? sight : [...top, ...sight];
  const deadline = performance.now() + COLORING_MS;
  const ready = new Map();
  for (const entry of wanted) {
    const canvas = picture(entry.key, deadline);
    if (canvas) ready.set(entry.key, canvas);
  }
  const complete = sight.every((entry) => ready.has(entry.key));
  if (!complete) drawCoarser(context, level);
  for (const entry of sight) if (ready.has(entry.key)) draw(context, ready.get(entry.key), entry);
  const current = complete && sight.every((entry) => pictures.get(entry.key)?.version === version);
  stage.dataset.tiles = current ? "drawn" : "loading";
  stage.dataset.level = level;
  request();
  if (!current && wanted.some((entry) => raw.has(entry.key) && pictures.get(entry.key)?.version !== version)) {
    redraw("image");
  }
}

/** What is there of the coarser levels, under the missing tiles. */
function drawCoarser(context, level) {
  for (let coarse = state.image.levels - 1; coarse > level; coarse--) {
    for (const entry of tilesInSight(coarse)) {
      const existing = pictures.get(entry.key);
      if (existing) draw(context, existing.canvas, entry);
    }
  }
}

function rounded(value) {
  return Number.isInteger(value) ? value : Number(value.toPrecision(5));
}

/** Samples under an image point at full resolution, or null where that tile is not loaded. */
export function samplesAt(x, y) {
  if (!state.image || state.image.broken) return null;
  const { width, height, tile, levels } = state.image;
  if (x < 0 || y < 0 || x >= width || y >= height) return null;
  for (let level = 0; level < levels; level++) {
    const [column, row] = [Math.floor(x / 2 ** level), Math.floor(y / 2 ** level)];
    const found = raw.get(keyOf(level, Math.floor(row / tile), Math.floor(column / tile)));
    if (!found) continue;
    const at = Math.min(row % tile, found.height - 1) * found.width + Math.min(column % tile, found.width - 1);
    const plane = found.height * found.width;
    const { offset: zero = 0, step = 1 } = state.image;
    return Array.from({ length: found.channels }, (_, c) => rounded(found.samples[c * plane + at] * step + zero));
  }
  return null;
}

export function startTiles() {
  registerLayer("image", paint);
  on("image", () => redraw());
  on("colors", () => {
    if (!state.image || state.image.broken) return;
    tables = lookUpTables(state.channels, state.image.dtype);
    version += 1;
    redraw("image");
  });
  on("leave", () => {
    for (const control of loading.values()) control.abort();
    loading.clear();
    failures = 0;
  });
}
