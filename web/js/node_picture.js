// @ts-check
/** The pictures that a node shows, as addresses on ComfyUI's own server. */

import { app } from "../../../scripts/app.js";

/** @typedef {{ filename?: string, subfolder?: string, type?: string }} Stored */

/** @param {Stored} stored */
function addressOf({ filename = "", subfolder = "", type = "output" }) {
  return app.api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}

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

/** The last picture that a node made or shows; "" if there is none yet. @param {Page.Node} node @returns {string} */
export function pictureOf(node) {
  const made = resultOf(node, "images");
  if (made) return made;
  const shown = node.imgs?.find((one) => one.src.includes("/view?"));
  if (shown) return shown.src;
  const widget = { LoadImage: "image", KontextLoadChain: "file" }[String(node.type)];
  const chosen = node.widgets?.find((one) => one.name === widget)?.value;
  if (typeof chosen !== "string" || !chosen) return "";
  const parts = chosen.replace(/ \[\w+\]$/, "").split("/");
  const type = /\[(\w+)\]$/.exec(chosen)?.[1] ?? "input";
  return addressOf({ filename: parts.pop(), subfolder: parts.join("/"), type });
}
