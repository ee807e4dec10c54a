/** Requests to the server: the token, errors as sentences, waiting for a lost server. */

import { emit, state } from "./state.js";

const TOKEN = new URLSearchParams(location.search).get("token") ?? "";
const RETRY_MS = 1500;

/** An answer that is no success: `message` is the server's sentence. */
export class ServerError extends Error {
  constructor(message, status, body) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

/** No answer at all: the server was stopped or the connection is lost. */
export class OfflineError extends Error {}

/** Address of a download, with the token in the query because a link has no headers. */
export function address(path, query = {}) {
  const parameters = new URLSearchParams({ ...query, token: TOKEN });
  return `${path}?${parameters}`;
}

/** Sends a request; returns the response if it is a success.
 *
 * Throws ServerError or OfflineError; the latter also starts the waiting for the server.
 */
export async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, {
      ...options,
      headers: { "X-Token": TOKEN, ...(options.headers ?? {}) },
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    lost();
    throw new OfflineError("The server does not answer.");
  }
  if (response.ok) return response;
  let body = {};
  try {
    body = await response.json();
  } catch {
    // An answer without JSON: the status has to do.
  }
  const sentence = body.error ?? `The server answered with status ${response.status}.`;
  throw new ServerError(sentence, response.status, body);
}

export async function get(path) {
  return (await request(path)).json();
}

export async function post(path, body) {
  const response = await request(path, {
    method: "POST",
    body: JSON.stringify(body ?? {}),
    headers: { "Content-Type": "application/json" },
  });
  return response.json();
}

export async function upload(path, file) {
  const form = new FormData();
  form.append("file", file, file.name);
  return (await request(path, { method: "POST", body: form })).json();
}

/** Raw tile: planar samples [channels, height, width] of 8 or 16 bits. */
export async function fetchTile(image, level, row, column, { signal, channels, dtype }) {
  const path = `/api/images/${image}/tiles/${level}/${row}/${column}`;
  const response = await request(path, { signal });
  const buffer = await response.arrayBuffer();
  const samples = dtype === "uint8" ? new Uint8Array(buffer) : new Uint16Array(buffer);
  return {
    samples,
    channels,
    height: Number(response.headers.get("X-Height")),
    width: Number(response.headers.get("X-Width")),
  };
}

let waiting = null;

function lost() {
  if (waiting) return;
  state.offline = true;
  emit("connection");
  waiting = setInterval(async () => {
    try {
      await fetch("/api/jobs", { headers: { "X-Token": TOKEN } });
    } catch {
      return;
    }
    clearInterval(waiting);
    waiting = null;
    state.offline = false;
    emit("connection");
  }, RETRY_MS);
}

/** Resolves when the server answers again. */
export function online() {
  if (!state.offline) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (state.offline) return;
      clearInterval(timer);
      resolve();
    }, 100);
  });
}
