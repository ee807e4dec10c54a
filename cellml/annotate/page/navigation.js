/** From image to image: by order, by number, by uncertainty. The open image is in the address. */

import { get } from "./api.js";
import { openImage } from "./annotations.js";
import { say } from "./messages.js";
import { state } from "./state.js";

export function goTo(step) {
  const index = (state.image?.index ?? 0) + step;
  if (index < 0 || index >= state.folder.images.length) {
    return say(step < 0 ? "This is the first image." : "This is the last image.", "info");
  }
  return goToIndex(index);
}

export function goToIndex(index) {
  history.replaceState(null, "", `${location.pathname}${location.search}#${index + 1}`);
  return openImage(index);
}

/** Index from the address, so that a reload comes back to the same image. */
export function indexFromAddress() {
  const number = Number(location.hash.slice(1));
  const count = state.folder.images.length;
  return Number.isInteger(number) && number >= 1 && number <= count ? number - 1 : 0;
}

export async function nextToAnnotate() {
  try {
    const { index } = await get(`/api/next?after=${state.image.index}`);
    if (index === null) say("All images are marked as done.", "success");
    else await goToIndex(index);
  } catch (error) {
    say(error.message, "error");
  }
}
