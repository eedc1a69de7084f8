// @ts-check
/** Which picture comes into an input, as far as the page knows it. */

import { pictureOf } from "../lib/node_picture.js";
import { sourceOf } from "../lib/passing.js";
import { askFor } from "../lib/results.js";

/**
 * Find the address of the picture that comes into an input: what the node before shows, else what comes into
 * that; "" if no picture is known yet.
 * @param {Page.Node} node
 * @param {string} name of the input
 * @param {Set<Page.Node>} [seen]
 * @returns {string}
 */
export function pictureInto(node, name, seen = new Set()) {
  const source = sourceOf(node, name);
  if (!source || seen.has(source)) return "";
  seen.add(source);
  const own = pictureOf(source);
  if (own) return own;
  const before = (source.inputs ?? []).find(
    (one, slot) => one.type === "IMAGE" && source.isInputConnected(slot),
  );
  return before ? pictureInto(source, before.name, seen) : "";
}

/**
 * Load the picture as the server has it now, not as the browser has kept it.
 * @param {string} url
 * @returns {Promise<HTMLImageElement | null>} null if it is not there any more
 */
export async function loadPicture(url) {
  const image = new Image();
  let address = "";
  try {
    const answer = await askFor(url, { cache: "no-cache" });
    if (!answer.ok) return null;
    address = URL.createObjectURL(await answer.blob());
    image.src = address;
    await image.decode();
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(address);
  }
  return image;
}
