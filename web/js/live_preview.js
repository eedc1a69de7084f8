// @ts-check
/** A node that has its result shows that, and not what was seen of it while it was made. ComfyUI's page keeps both. */

import { app } from "../../../scripts/app.js";
import { resultsKey } from "./node_picture.js";
import { everyPlace, idOf } from "./wires.js";

/** @typedef {{ nodePreviewImages: Record<string, string[]>, revokePreviewsByLocatorId?(key: string): void }} Store */

/** What the page draws nodes from; older pages know the previews in `app` alone. @returns {Store | undefined} */
const store = () =>
  /** @type {any} */ (
    document.querySelector("#vue-app")
  )?.__vue_app__?.config?.globalProperties?.$pinia?._s?.get("nodeOutput");

/** Forget the live preview of a node. @param {Page.Node} node */
function drop(node) {
  const key = resultsKey(node);
  const kept = store();
  kept?.revokePreviewsByLocatorId?.(key);
  for (const url of app.nodePreviewImages[key] ?? []) URL.revokeObjectURL(url);
  delete app.nodePreviewImages[key];
  delete kept?.nodePreviewImages[key];
}

/** @param {string} id as the server names a node @returns {Page.Node | undefined} */
function nodeOf(id) {
  for (const place of everyPlace()) if (idOf(place) === id) return place.node;
}

app.registerExtension({
  name: "Kontext.LivePreview",
  setup() {
    app.api.addEventListener("executed", ({ detail }) => {
      if (!detail.output?.images?.length) return;
      const node = nodeOf(String(detail.display_node || detail.node));
      if (node?.comfyClass?.startsWith("Kontext")) drop(node);
    });
  },
});
