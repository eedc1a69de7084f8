// @ts-check
/** The picture that comes into a node: its size, as far as it is known before a run, and its address. */

import { widgetOf } from "../lib/graph.js";
import { pictureOf } from "../lib/node_picture.js";
import { originInto, sourceOf } from "../lib/passing.js";
import { askFor } from "../lib/results.js";
import { idOf } from "../lib/wires.js";
import { Signatures } from "../run/signature.js";
import { shownRun } from "../run/watch.js";

/** @typedef {[number, number]} Size height, width in pixels */

const CHOSEN = ["LoadImage", "LoadImageOutput", "KontextLoadChain"];
/** Nodes that make a picture or a latent of one colour. */
export const EMPTY = ["EmptyImage", "EmptyLatentImage", "EmptySD3LatentImage"];
const EXAMPLE = /** @type {Size} */ ([128, 128]);
/** Nodes that hand on the picture that came in, or something drawn on it. */
const SAME_PICTURE = ["KontextEncode", "KontextVisualCue"];
const BEFORE = ["latent", "chain", "image"]; // the first of them that is wired has the picture

/**
 * What is known of the picture that a node shows.
 * @typedef {object} Fetched
 * @property {string} address
 * @property {string} state of the file behind it, which changes when it is overwritten; "" while that is not
 *   known
 * @property {Size | null} size
 * @property {boolean} asking
 */
/** @type {WeakMap<Page.Node, Fetched>} */
const fetched = new WeakMap();
/**
 * What a node had found when it last ran, and of what.
 * @type {WeakMap<Page.Node, { from: string, size: Size }>}
 */
const ran = new WeakMap();

/**
 * Read what is chosen in a widget.
 * @param {Page.Node} node
 * @param {string} name
 */
export const chosen = (node, name) => widgetOf(node, name)?.value;

/**
 * Read the size that a node lets choose.
 * @param {Page.Node} node
 * @returns {Size}
 */
export const chosenSize = (node) => [Number(chosen(node, "height")), Number(chosen(node, "width"))];

/**
 * Tell whether something feeds an input in a run.
 * @param {Page.Node} node
 * @param {string} name
 */
export const isOn = (node, name) => sourceOf(node, name) !== null;

/**
 * Describe what a node's picture or latent is made of, as text.
 * @param {Page.Node} node
 */
function cameFrom(node) {
  const origin = originInto(node, "image") ?? originInto(node, "latent");
  return origin ? `${new Signatures().of(origin.place)}:${origin.slot}` : "";
}

/**
 * Tell whether the picture that a node shows is that of an earlier graph.
 * @param {import("../lib/wires.js").Origin | null} origin
 */
function isOld(origin) {
  if (!origin || !shownRun().results.has(idOf(origin.place))) return false;
  return shownRun().of(idOf(origin.place), new Signatures().of(origin.place)).kind === "outdated";
}

/**
 * Keep the size that a reference had when it ran.
 * @param {Page.Node} node
 * @param {Page.Output | undefined} output
 */
export function rememberSize(node, output) {
  const size = output?.kontext_size?.[0];
  if (size) ran.set(node, { from: cameFrom(node), size });
}

/**
 * Get the size that a reference had when it ran, if what comes in is still the same; null otherwise.
 * @param {Page.Node} node
 */
export function sizeWhenRun(node) {
  const before = ran.get(node);
  return before && before.from === cameFrom(node) ? before.size : null;
}

/**
 * Get the size of the picture that a node shows, once it is there.
 * @param {Page.Node} node
 * @param {() => void} changed
 * @returns {Size | null}
 */
export function fetchedSize(node, changed) {
  const address = pictureOf(node);
  if (!address) return null;
  let known = fetched.get(node);
  if (known?.address !== address) {
    known = { address, state: "", size: null, asking: false };
    fetched.set(node, known);
  }
  if (!known.asking) measure(known).then((other) => other && changed());
  return known.size;
}

/**
 * Look whether the file is the one that was measured, and measure it if it is not.
 * @param {Fetched} known
 * @returns {Promise<boolean>} whether it has another size than was known
 */
async function measure(known) {
  known.asking = true;
  const before = String(known.size);
  try {
    const answer = await askFor(known.address, { method: "HEAD", cache: "no-store" });
    if (!answer.ok) throw new Error(`${answer.status}`);
    const state = answer.headers.get("etag") ?? answer.headers.get("last-modified") ?? "";
    if (state && state === known.state) return false;
    const image = new Image();
    image.src = `${known.address}&state=${encodeURIComponent(state)}`; // the browser may have kept the former one
    await image.decode();
    Object.assign(known, { state, size: [image.naturalHeight, image.naturalWidth] });
  } catch {
    Object.assign(known, { state: "", size: null }); // it is asked again with the next question
  } finally {
    known.asking = false;
  }
  return String(known.size) !== before;
}

/**
 * Get the size of the picture that comes into a node; null if it is not known.
 * @param {Page.Node} node
 * @param {string} name
 * @param {() => void} changed
 * @returns {Size | null}
 */
export function sizeInto(node, name, changed) {
  let origin = originInto(node, name);
  const seen = new Set();
  while (origin?.place.node.type === "KontextVisualCue" && !seen.has(origin.place.node)) {
    seen.add(origin.place.node);
    origin = originInto(origin.place.node, "image");
  }
  const source = origin?.place.node;
  if (!source) return null;
  const type = String(source.type);
  if (type === "KontextExample") return EXAMPLE;
  if (EMPTY.includes(type)) return chosenSize(source);
  if (CHOSEN.includes(type)) return fetchedSize(source, changed);
  return sizeWhenRun(node) ?? (isOld(origin) ? null : fetchedSize(source, changed));
}

/**
 * Find the address of the last picture that a node shows; "" if there is none.
 * @param {Page.Node} node
 * @param {Set<Page.Node>} [seen]
 * @returns {string}
 */
function shownBy(node, seen = new Set()) {
  const address = pictureOf(node);
  if (address) {
    const state = fetched.get(node)?.address === address && fetched.get(node)?.state;
    return state ? `${address}&state=${encodeURIComponent(state)}` : address;
  }
  if (!SAME_PICTURE.includes(String(node.type)) || seen.has(node)) return "";
  seen.add(node);
  return pictureBefore(node, seen);
}

/**
 * Find the address of the picture that comes into a node, by whichever of its inputs; "" if none is there yet.
 * @param {Page.Node} node
 * @param {Set<Page.Node>} [seen]
 */
export function pictureBefore(node, seen) {
  const name = BEFORE.find((input) => isOn(node, input));
  return name ? pictureInto(node, name, seen) : "";
}

/**
 * Find the address of the picture that comes into one input of a node; "" if none is there yet.
 * @param {Page.Node} node
 * @param {string} name
 * @param {Set<Page.Node>} [seen]
 */
export function pictureInto(node, name, seen) {
  const source = sourceOf(node, name);
  return source ? shownBy(source, seen) : "";
}

/**
 * Find the address of the picture that the chain of a node started from; "" if none is there yet.
 * @param {Page.Node} node
 */
export function pictureAtStart(node) {
  const seen = new Set();
  let at = node;
  for (let next = sourceOf(at, "chain"); next && !seen.has(next); next = sourceOf(at, "chain")) {
    seen.add(next);
    at = next;
  }
  return isOn(at, "image") ? pictureInto(at, "image") : "";
}
