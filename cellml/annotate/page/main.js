/** Starts the page. */

import { loadFolder, openImage, reload } from "./annotations.js";
import { startDialogs } from "./dialogs.js";
import { startExport } from "./dialog_export.js";
import { describeKeys } from "./dialog_keys.js";
import { byId, h } from "./dom.js";
import { startDrafts } from "./draft.js";
import { startDrawing } from "./draw.js";
import { watchJobs } from "./jobs.js";
import { KEYS, startKeys } from "./keys.js";
import { startLive } from "./live.js";
import { indexFromAddress } from "./navigation.js";
import { startAnnotatePanel } from "./panel_annotate.js";
import { startDisplay } from "./panel_display.js";
import { startImages } from "./panel_images.js";
import { startPointer } from "./pointer.js";
import { on, state } from "./state.js";
import { startTiles } from "./tiles.js";
import { startToolbar } from "./toolbar.js";
import { startView } from "./view.js";

function showEmpty(title, sentence) {
  byId("empty").hidden = false;
  byId("empty").replaceChildren(h("h2", {}, title), h("p", {}, sentence));
}

async function start() {
  startTiles();
  startDrawing();
  startLive();
  startView();
  startDisplay();
  startDrafts();
  startPointer();
  startToolbar();
  startImages();
  startAnnotatePanel();
  startDialogs();
  startExport();
  startKeys();
  describeKeys(KEYS);
  try {
    await loadFolder();
  } catch (error) {
    showEmpty("The page cannot start", `${error.message} Open the address that cellml annotate printed.`);
    return;
  }
  if (!state.folder.images.length) {
    showEmpty("No images", `There are no images in ${state.folder.folder}: PNG, JPEG and TIFF files are read.`);
    return;
  }
  await openImage(indexFromAddress());
  watchJobs();
  // A tab that was in the background may be behind another one: 409 would tell, looking is kinder.
  on("connection", () => state.offline || reload());
}

start();
