// @ts-check
/** What the page keeps of each node's last run, and where the pictures of it lie on ComfyUI's own server. */

import { app } from "../../../../scripts/app.js";

/** @typedef {{ filename?: string, subfolder?: string, type?: string }} Stored */
/**
 * The picture that marks were drawn upon: its height and width, and top, left, height and width of the part of
 * it that is seen, as fractions.
 * @typedef {{ size: [number, number], part: [number, number, number, number] }} DrawnUpon
 */

/** The pack's widget for the text of a node's output. */
export const TEXT_WIDGET = "kontext_text";
/** The page's widget for a node's picture. */
export const PICTURE_WIDGET = "$$canvas-image-preview";
/** The pack's widget for two pictures with a line between them. */
export const WIPE_WIDGET = "kontext_wipe";

/**
 * Write the address of a picture on ComfyUI's server.
 * @param {Stored} stored
 */
export function addressOf({ filename = "", subfolder = "", type = "output" }) {
  return app.api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/**
 * Ask ComfyUI for a picture by its address here.
 * @param {string} address
 * @param {RequestInit} how
 */
export const askFor = (address, how) =>
  app.api.fetchApi(`/view${new URL(address, window.location.href).search}`, how);

/**
 * Write the key of a node's results: inside a subgraph its graph comes first.
 * @param {Page.Node} node
 */
export function resultsKey(node) {
  const graph = node.graph;
  return graph && graph !== graph.rootGraph ? `${graph.id}:${node.id}` : String(node.id);
}

/**
 * Get what a node's last run gave.
 * @param {Page.Node} node
 * @returns {Page.Output | undefined}
 */
export const resultsOf = (node) =>
  /** @type {Page.Output | undefined} */ (app.nodeOutputs?.[resultsKey(node)]);

/**
 * Let the page know other results by a key, or none.
 * @param {string} key
 * @param {unknown} [output]
 */
export function setResults(key, output) {
  const { [key]: _, ...others } = app.nodeOutputs;
  app.nodeOutputs = output === undefined ? others : { ...others, [key]: /** @type {any} */ (output) };
  const store = vueStore();
  // some front ends draw Vue nodes from a copy, which nothing tells of this
  if (store?.nodeOutputs && store.nodeOutputs[key] !== app.nodeOutputs[key])
    store.nodeOutputs = { ...app.nodeOutputs };
}

/**
 * Get the page's own store of results, where there is one.
 * @returns {{ nodeOutputs?: Record<string, unknown> } | undefined}
 */
function vueStore() {
  const root = /** @type {any} */ (document.querySelector("#vue-app"));
  return root?.__vue_app__?.config?.globalProperties?.$pinia?._s?.get("nodeOutput");
}

/**
 * Find the first picture of one kind in a node's last results; "" if there is none.
 * @param {Page.Node} node
 * @param {string} kind
 */
export function resultOf(node, kind) {
  const output = /** @type {Record<string, Stored[]> | undefined} */ (resultsOf(node));
  const made = output?.[kind]?.find((one) => one.filename);
  return made ? addressOf(made) : "";
}
