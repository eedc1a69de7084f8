// @ts-check
/** The picture that a node shows, as an address on ComfyUI's own server. */

import { isOurs, widgetOf } from "./graph.js";
import { addressOf, resultOf } from "./results.js";

/** @typedef {import("./results.js").Stored} Stored */

/** The widget of a node that chooses its picture by name. @type {Record<string, string>} */
const CHOOSER = { LoadImage: "image", KontextLoadChain: "file" };

/**
 * Find the file that a node lets choose, as the page stores results; null if it lets choose none.
 * @param {Page.Node} node
 * @returns {Stored | null}
 */
function chosenOf(node) {
  const widget = CHOOSER[String(node.type)];
  const chosen = widget && widgetOf(node, widget)?.value;
  if (typeof chosen !== "string" || !chosen) return null;
  const parts = chosen.replace(/ \[\w+\]$/, "").split("/");
  const type = /\[(\w+)\]$/.exec(chosen)?.[1] ?? "input";
  return { filename: parts.pop(), subfolder: parts.join("/"), type };
}

/**
 * List the addresses of what a node shows on the canvas.
 * @param {Page.Node} node
 */
const shownIn = (node) => (node.imgs ?? []).map((one) => one.src).filter((src) => src.includes("/view?"));

/**
 * Find the last picture that a node made or shows; "" if there is none yet.
 * @param {Page.Node} node
 * @returns {string}
 */
export function pictureOf(node) {
  const chosen = chosenOf(node);
  const shown = shownIn(node);
  const fresh = chosen && shown.find((src) => new URL(src).searchParams.get("filename") === chosen.filename);
  const made = fresh || resultOf(node, "images");
  if (made) return made;
  if (chosen) return addressOf(chosen);
  // ours show results; the page may hand them what another workflow's node showed
  return isOurs(node) ? "" : (shown[0] ?? "");
}
