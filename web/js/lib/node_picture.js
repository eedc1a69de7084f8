// @ts-check
/** The pictures that a node shows, as addresses on ComfyUI's own server. */

import { app } from "../../../../scripts/app.js";

/** @typedef {{ filename?: string, subfolder?: string, type?: string }} Stored */

/** @param {Stored} stored */
export function addressOf({ filename = "", subfolder = "", type = "output" }) {
  return app.api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

/** Ask ComfyUI for a picture by its address here. @param {string} address @param {RequestInit} how */
export const askFor = (address, how) =>
  app.api.fetchApi(`/view${new URL(address, window.location.href).search}`, how);

/** The key of a node's results: inside a subgraph its graph comes first. @param {Page.Node} node */
export function resultsKey(node) {
  const graph = node.graph;
  return graph && graph !== graph.rootGraph ? `${graph.id}:${node.id}` : String(node.id);
}

/** The first picture of one kind in a node's last results; "" if there is none. @param {Page.Node} node @param {string} kind */
export function resultOf(node, kind) {
  const output = /** @type {Record<string, Stored[]> | undefined} */ (app.nodeOutputs?.[resultsKey(node)]);
  const made = output?.[kind]?.find((one) => one.filename);
  return made ? addressOf(made) : "";
}

/** The widget of a node that chooses its picture by name. @type {Record<string, string>} */
const CHOOSER = { LoadImage: "image", KontextLoadChain: "file" };

/** The file that a node lets choose as the page stores results; null if it lets choose none. @param {Page.Node} node @returns {Stored | null} */
function chosenOf(node) {
  const widget = CHOOSER[String(node.type)];
  const chosen = node.widgets?.find((one) => one.name === widget)?.value;
  if (typeof chosen !== "string" || !chosen) return null;
  const parts = chosen.replace(/ \[\w+\]$/, "").split("/");
  const type = /\[(\w+)\]$/.exec(chosen)?.[1] ?? "input";
  return { filename: parts.pop(), subfolder: parts.join("/"), type };
}

/** Addresses of what a node shows on the canvas. @param {Page.Node} node */
const shownIn = (node) => (node.imgs ?? []).map((one) => one.src).filter((src) => src.includes("/view?"));

/** The last picture that a node made or shows; "" if there is none yet. @param {Page.Node} node @returns {string} */
export function pictureOf(node) {
  const chosen = chosenOf(node);
  const shown = shownIn(node);
  const fresh = chosen && shown.find((src) => new URL(src).searchParams.get("filename") === chosen.filename);
  const made = fresh || resultOf(node, "images");
  if (made) return made;
  if (chosen) return addressOf(chosen);
  const ours = String(node.comfyClass).startsWith("Kontext"); // these show results; the page may hand them what another workflow's node showed
  return ours ? "" : (shown[0] ?? "");
}
