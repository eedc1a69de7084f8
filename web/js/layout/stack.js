// @ts-check
/** What the graph says of a stack of references: the question whose answer is the layout picture. */

import { isReroute, nodesBehind, widgetOf } from "../lib/graph.js";
import { pictureOf } from "../lib/node_picture.js";
import { originInto, sourceOf } from "../lib/passing.js";
import { askFor } from "../lib/results.js";
import { idOf } from "../lib/wires.js";
import { Signatures } from "../run/signature.js";
import { shownRun } from "../run/watch.js";

/** @typedef {[number, number]} Size height, width in pixels */

/**
 * @typedef {object} Entry One reference, as the server's route takes it.
 * @property {Size[] | null} sizes null where it is not known
 * @property {string} fit
 * @property {number} [max_tokens]
 * @property {number} [strength]
 * @property {string} [place]
 * @property {boolean} [region]
 * @property {string} [name] what the user calls it: the server does not read it
 */

const STACKS = ["KontextReference", "KontextReferenceGrid"];
const EDITS = ["KontextEdit", "KontextTurn", "KontextScript"];
const GRID = ["image_1", "image_2", "image_3", "image_4"];
const CHOSEN = ["LoadImage", "LoadImageOutput", "KontextLoadChain"];
const EMPTY = ["EmptyImage", "EmptyLatentImage", "EmptySD3LatentImage"];
const EXAMPLE = /** @type {Size} */ ([128, 128]);

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
const chosen = (node, name) => widgetOf(node, name)?.value;

/**
 * Read the size that a node lets choose.
 * @param {Page.Node} node
 * @returns {Size}
 */
const chosenSize = (node) => [Number(chosen(node, "height")), Number(chosen(node, "width"))];

/**
 * Tell whether something feeds an input in a run.
 * @param {Page.Node} node
 * @param {string} name
 */
const isOn = (node, name) => sourceOf(node, name) !== null;

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
 * Get the size of the picture that a node shows, once it is there.
 * @param {Page.Node} node
 * @param {() => void} changed
 * @returns {Size | null}
 */
function fetchedSize(node, changed) {
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
function sizeInto(node, name, changed) {
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
  const before = ran.get(node);
  if (before && before.from === cameFrom(node)) return before.size;
  return isOld(origin) ? null : fetchedSize(source, changed);
}

/**
 * Describe what a node shows the model first, or the frame of its latent.
 * @param {Page.Node} node
 * @param {() => void} changed
 * @returns {Entry}
 */
function frameOf(node, changed, seen = new Set()) {
  const type = String(node.type);
  const unknown = { sizes: null, fit: "none" };
  if (seen.has(node)) return unknown;
  seen.add(node);
  /**
   * Describe the frame of what comes into an input.
   * @param {string} name
   */
  const before = (name) => {
    const source = sourceOf(node, name);
    return source ? frameOf(source, changed, seen) : unknown;
  };
  if (EMPTY.includes(type)) return { sizes: [chosenSize(node)], fit: "none" };
  if (type === "KontextLoadChain") {
    const size = fetchedSize(node, changed);
    return { sizes: size && [size], fit: "crop" };
  }
  if (type === "KontextPickTurn") return before("chain");
  if (type === "KontextSampler") {
    const [height, width] = chosenSize(node);
    if (height && width) return { sizes: [[height, width]], fit: "none" };
    if (isOn(node, "start")) return before("start");
    const [first] = stackInto(node, changed);
    return first ?? unknown;
  }
  if (![...EDITS, "KontextEncode"].includes(type)) return unknown;
  for (const name of ["latent", "chain"]) if (isOn(node, name)) return before(name);
  const size = sizeInto(node, "image", changed);
  return { sizes: size && [size], fit: String(chosen(node, "fit")) };
}

/**
 * List the references that one node adds.
 * @param {Page.Node} node
 * @param {() => void} changed
 * @returns {Entry[]}
 */
function entriesOf(node, changed) {
  const fit = String(chosen(node, "fit"));
  if (node.type === "KontextReferenceGrid") {
    const sizes = GRID.filter((name) => isOn(node, name)).map((name) => sizeInto(node, name, changed));
    if (chosen(node, "arrange") !== "stitched into one")
      return sizes.map((size) => ({ sizes: size && [size], fit }));
    const known = sizes.filter((size) => size !== null);
    return sizes.length ? [{ sizes: known.length === sizes.length ? known : null, fit }] : [];
  }
  const more = {
    strength: Number(chosen(node, "strength") ?? 1),
    place: String(chosen(node, "place") ?? ""),
    region: isOn(node, "region"),
    name: String(chosen(node, "name") ?? "").trim(),
  };
  const latent = sourceOf(node, "latent");
  if (latent) {
    const before = ran.get(node);
    const frame = frameOf(latent, changed);
    const size = frame.sizes ?? (before && before.from === cameFrom(node) ? [before.size] : null);
    return [{ ...frame, sizes: size, ...more }];
  }
  const size = sizeInto(node, "image", changed);
  return [{ sizes: size && [size], fit, max_tokens: Number(chosen(node, "max_tokens") ?? 0), ...more }];
}

/**
 * List all references that come into a node, in order.
 * @param {Page.Node} node
 * @param {() => void} changed
 * @returns {Entry[]}
 */
function stackInto(node, changed, seen = new Set()) {
  const source = sourceOf(node, "references");
  if (!source || seen.has(source)) return [];
  if (!STACKS.includes(String(source.type))) return [{ sizes: null, fit: "none" }]; // some, who knows how many
  seen.add(source);
  return [...stackInto(source, changed, seen), ...entriesOf(source, changed)];
}

/**
 * List what takes a stack in the end, all that do.
 * @param {Page.Node} node
 * @returns {Page.Node[]}
 */
function takers(node, seen = new Set()) {
  if (seen.has(node)) return [];
  seen.add(node);
  const slot = (node.outputs ?? []).findIndex((one) => one.type === "KONTEXT_REFERENCES" || isReroute(node));
  const next = slot < 0 ? [] : nodesBehind(node, slot);
  const found = next.flatMap((one) =>
    STACKS.includes(String(one.type)) || isReroute(one) ? takers(one, seen) : [one],
  );
  return [...new Set(found)];
}

/**
 * Read the choices in the loader that a node's model comes from; null if there is none.
 * @param {(Page.Node | undefined)[]} nodes
 */
function modelOf(nodes) {
  for (const node of nodes) {
    const seen = new Set();
    let source = node ? sourceOf(node, "model") : null;
    while (source && source.type !== "KontextLoadModel" && !seen.has(source)) {
      seen.add(source);
      source = sourceOf(source, "model");
    }
    if (source?.type === "KontextLoadModel")
      return {
        name: chosen(source, "model"),
        dtype: chosen(source, "dtype"),
        device: chosen(source, "device"),
      };
  }
  return null;
}

/**
 * List what the user calls the references of a question.
 * @param {{ references: Entry[] }} question
 */
export const namesIn = ({ references }) => references.map((one) => one.name ?? "");

/**
 * Ask what the server is to say about the stack up to a node: see nodes/layout_route.py.
 * An edit or a turn that takes it puts its own picture before it, a sampler says the size.
 * @param {Page.Node} node
 * @param {() => void} changed called when a size becomes known that is not yet
 */
export function questionOf(node, changed) {
  const found = takers(node);
  const taker = found.length === 1 ? found[0] : undefined;
  const stack = [...stackInto(node, changed, new Set([node])), ...entriesOf(node, changed)];
  /** @type {Entry[]} */
  const own = [];
  /** @type {Size | Entry} */
  let target = [0, 0];
  if (taker && EDITS.includes(String(taker.type))) {
    own.push(frameOf(taker, changed));
    if (chosen(taker, "anchor") === true && isOn(taker, "chain")) own.push(frameOf(taker, changed));
  } else if (taker?.type === "KontextSampler") {
    target = isOn(taker, "start") ? frameOf(taker, changed) : chosenSize(taker);
  }
  const layout = taker && chosen(taker, "layout");
  return {
    model: modelOf([taker, node]),
    layout: typeof layout === "string" ? layout : "auto",
    target,
    references: [...own, ...stack],
  };
}
