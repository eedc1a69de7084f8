// @ts-check
/** What the graph says of a stack of references: the question whose answer is the layout picture. */

import { isReroute, nodesBehind } from "../lib/graph.js";
import { sourceOf } from "../lib/passing.js";
import { isOff } from "../lib/wires.js";
import {
  chosen,
  chosenSize,
  EMPTY,
  fetchedSize,
  isOn,
  pictureAtStart,
  pictureBefore,
  pictureInto,
  sizeInto,
  sizeWhenRun,
} from "./source_picture.js";

/** @typedef {import("./source_picture.js").Size} Size */

/**
 * @typedef {object} Entry One reference, as the server's route takes it.
 * @property {Size[] | null} sizes null where it is not known
 * @property {string} fit
 * @property {number} [max_tokens]
 * @property {number} [strength]
 * @property {string} [place]
 * @property {boolean} [region]
 */

/**
 * @typedef {object} Tile What is shown of a reference, beside what the server says of it.
 * @property {string} name what the user calls it
 * @property {string} picture its address; "" if there is none yet
 * @property {string} fit
 * @property {Page.Node | null} node that adds it; null: the picture that an edit puts before all
 * @property {string} input of that node, by which it comes in
 */

/** @typedef {{ entry: Entry, tile: Tile }} Reference */

/** Nodes that add to a stack. */
export const STACKS = ["KontextReference", "KontextReferenceGrid"];
const EDITS = ["KontextEdit", "KontextTurn", "KontextScript"];
/** The inputs of a grid, in order. */
export const GRID = ["image_1", "image_2", "image_3", "image_4"];
const STITCHED = "stitched into one";

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
    return first?.entry ?? unknown;
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
 * @returns {Reference[]}
 */
function referencesOf(node, changed) {
  const fit = String(chosen(node, "fit"));
  /**
   * Put together what is known of one input.
   * @param {string} input
   * @param {Entry} entry
   * @param {string} [name]
   * @returns {Reference}
   */
  const reference = (input, entry, name = "") => {
    const picture = input ? pictureInto(node, input) : "";
    return { entry, tile: { name, picture, fit: entry.fit, node, input } };
  };
  if (node.type === "KontextReferenceGrid") {
    const inputs = GRID.filter((name) => isOn(node, name));
    const sizes = inputs.map((name) => sizeInto(node, name, changed));
    if (chosen(node, "arrange") !== STITCHED)
      return inputs.map((name, i) => reference(name, { sizes: sizes[i] ? [sizes[i]] : null, fit }));
    const known = sizes.filter((size) => size !== null);
    const all = { sizes: known.length === sizes.length ? known : null, fit };
    return sizes.length ? [reference(inputs.length === 1 ? String(inputs[0]) : "", all)] : [];
  }
  const more = {
    strength: Number(chosen(node, "strength") ?? 1),
    place: String(chosen(node, "place") ?? ""),
    region: isOn(node, "region"),
  };
  const name = String(chosen(node, "name") ?? "").trim();
  const latent = sourceOf(node, "latent");
  if (latent) {
    const frame = frameOf(latent, changed);
    const ran = sizeWhenRun(node);
    return [reference("latent", { ...frame, sizes: frame.sizes ?? (ran && [ran]), ...more }, name)];
  }
  const size = sizeInto(node, "image", changed);
  const most = Number(chosen(node, "max_tokens") ?? 0);
  return [reference("image", { sizes: size && [size], fit, max_tokens: most, ...more }, name)];
}

/**
 * List all references that come into a node, in order.
 * @param {Page.Node} node
 * @param {() => void} changed
 * @returns {Reference[]}
 */
function stackInto(node, changed, seen = new Set()) {
  const source = sourceOf(node, "references");
  if (!source || seen.has(source)) return [];
  if (!STACKS.includes(String(source.type))) {
    // some, who knows how many
    const entry = { sizes: null, fit: "none" };
    return [{ entry, tile: { name: "", picture: "", fit: "none", node: null, input: "" } }];
  }
  seen.add(source);
  return [...stackInto(source, changed, seen), ...referencesOf(source, changed)];
}

/**
 * List the pictures that an edit or a turn puts before the stack that it takes.
 * @param {Page.Node} taker
 * @param {() => void} changed
 * @returns {Reference[]}
 */
function ownOf(taker, changed) {
  if (!EDITS.includes(String(taker.type))) return [];
  const entry = frameOf(taker, changed);
  /**
   * Put one of them together.
   * @param {string} picture
   */
  const own = (picture) => ({ entry, tile: { name: "", picture, fit: entry.fit, node: null, input: "" } });
  const anchored = chosen(taker, "anchor") === true && isOn(taker, "chain");
  return [own(pictureBefore(taker)), ...(anchored ? [own(pictureAtStart(taker))] : [])];
}

/**
 * List what takes the stack that a node hands on, directly.
 * @param {Page.Node} node
 * @returns {Page.Node[]}
 */
export function nextOf(node, seen = new Set()) {
  if (seen.has(node)) return [];
  seen.add(node);
  const slot = (node.outputs ?? []).findIndex((one) => one.type === "KONTEXT_REFERENCES" || isReroute(node));
  const next = slot < 0 ? [] : nodesBehind(node, slot);
  return [...new Set(next.flatMap((one) => (isReroute(one) || isPassed(one) ? nextOf(one, seen) : [one])))];
}

/**
 * Tell whether a node hands on the stack as it comes in, since it is off.
 * @param {Page.Node} node
 */
const isPassed = (node) => STACKS.includes(String(node.type)) && isOff({ node, host: null });

/**
 * List what takes a stack in the end, all that do.
 * @param {Page.Node} node
 * @returns {Page.Node[]}
 */
function takers(node, seen = new Set()) {
  if (seen.has(node)) return [];
  seen.add(node);
  const found = nextOf(node).flatMap((one) =>
    STACKS.includes(String(one.type)) ? takers(one, seen) : [one],
  );
  return [...new Set(found)].filter((one) => !isOff({ node: one, host: null }));
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
 * Count the pictures that a node shows the model before the stack that it takes.
 * @param {Page.Node} taker
 */
const ownCount = (taker) => ownOf(taker, () => {}).length;

/**
 * @typedef {object} Stack What is to be shown of the references up to a node.
 * @property {object} question what the server is asked: see nodes/layout_route.py
 * @property {Tile[]} tiles of the question's references, in order
 * @property {string} numbersOf the node whose instruction has these numbers, where another has others; or ""
 */

/**
 * Describe the stack up to a node.
 * An edit or a turn that takes it puts its own picture before it, a sampler says the size.
 * @param {Page.Node} node
 * @param {() => void} changed called when a size becomes known that is not yet
 * @returns {Stack}
 */
export function stackOf(node, changed) {
  const found = takers(node);
  const [first] = found;
  const taker = found.length === 1 ? first : undefined;
  const stack = [...stackInto(node, changed, new Set([node])), ...referencesOf(node, changed)];
  const own = first ? ownOf(first, changed) : [];
  /** @type {Size | Entry} */
  let target = [0, 0];
  if (taker?.type === "KontextSampler") {
    target = isOn(taker, "start") ? frameOf(taker, changed) : chosenSize(taker);
  }
  const layout = taker && chosen(taker, "layout");
  const differ = first && found.some((one) => ownCount(one) !== own.length);
  const all = [...own, ...stack];
  return {
    question: {
      model: modelOf([taker, node]),
      layout: typeof layout === "string" ? layout : "auto",
      target,
      references: all.map(({ entry }) => entry),
    },
    tiles: all.map(({ tile }) => tile),
    numbersOf: differ ? String(first.title) : "",
  };
}
