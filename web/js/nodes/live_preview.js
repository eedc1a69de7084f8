// @ts-check
/**
 * What is seen of a node while it is made ends with its run, also when that is cancelled: then the node shows
 * its last result again. ComfyUI's page keeps both.
 */

import { app } from "../../../../scripts/app.js";
import { isOurs, widgetOf } from "../lib/graph.js";
import { PICTURE_WIDGET, resultsKey, resultsOf } from "../lib/results.js";
import { everyPlace, idOf } from "../lib/wires.js";
import { onLoaded } from "../lib/workflow.js";
import { isForeignJob, onRun, shownRun } from "../run/watch.js";

/**
 * What the page draws nodes from.
 * @typedef {object} Store
 * @property {Record<string, string[]>} nodePreviewImages
 * @property {(key: string) => void} [revokePreviewsByLocatorId]
 */
/**
 * A node with what the page has shown of it last.
 * @typedef {Page.Node & { preview?: unknown, images?: unknown, imageIndex?: number | null }} Shown
 */

const ENDS = ["execution_success", "execution_interrupted", "execution_error", "ended"];

/**
 * Get what the page draws nodes from; older pages know the previews in `app` alone.
 * @returns {Store | undefined}
 */
const store = () =>
  /** @type {any} */ (
    document.querySelector("#vue-app")
  )?.__vue_app__?.config?.globalProperties?.$pinia?._s?.get("nodeOutput");

/**
 * Forget the live preview of a node.
 * @param {Page.Node} node
 */
function drop(node) {
  const key = resultsKey(node);
  const kept = store();
  if (!app.nodePreviewImages[key] && !kept?.nodePreviewImages[key]) return;
  kept?.revokePreviewsByLocatorId?.(key);
  for (const url of app.nodePreviewImages[key] ?? []) URL.revokeObjectURL(url);
  delete app.nodePreviewImages[key];
  delete kept?.nodePreviewImages[key];
  node.graph?.setDirtyCanvas(true, true);
}

/**
 * Let a node on the canvas that has no live preview any more, but still shows it, show its result, if there
 * is one.
 * @param {Shown} node
 */
function tidy(node) {
  const key = resultsKey(node);
  if (app.nodePreviewImages[key] || !node.imgs?.[0]?.src.startsWith("blob:")) return;
  node.preview = undefined;
  node.images = undefined; // the page looks for the result, and puts it in the place of the preview
  if (resultsOf(node)?.images?.length) return;
  node.imgs = undefined;
  node.imageIndex = null;
  const widget = widgetOf(node, PICTURE_WIDGET);
  if (widget) node.removeWidget(widget);
}

/**
 * Find a node by its id.
 * @param {string} id as the server names a node
 * @returns {Page.Node | undefined}
 */
function nodeOf(id) {
  for (const place of everyPlace()) if (idOf(place) === id) return place.node;
}

/** Forget all live previews but those of nodes that are made just now. */
function dropOld() {
  const run = shownRun();
  for (const place of everyPlace())
    if (isOurs(place.node) && run.of(idOf(place), "").kind !== "running") drop(place.node);
}

app.registerExtension({
  name: "Kontext.LivePreview",
  setup() {
    app.api.addEventListener("executed", ({ detail }) => {
      if (!detail.output?.images?.length) return;
      const node = nodeOf(String(detail.display_node || detail.node));
      if (node && isOurs(node)) drop(node);
    });
    app.api.addEventListener("b_preview_with_metadata", ({ detail }) => {
      const { displayNodeId, promptId, jobId } = /** @type {any} */ (detail);
      const node = isForeignJob(promptId ?? jobId) ? nodeOf(String(displayNodeId)) : undefined;
      if (node && isOurs(node)) drop(node);
    });
    onRun((kind) => ENDS.includes(kind) && dropOld());
    onLoaded(dropOld);
  },
  /**
   * Watch what a new node is drawn with.
   * @param {Page.Node} node
   */
  nodeCreated(node) {
    if (!isOurs(node)) return;
    const { onDrawBackground } = node;
    node.onDrawBackground = function (...given) {
      tidy(node);
      return onDrawBackground?.apply(this, given);
    };
  },
});
