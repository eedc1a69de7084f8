// @ts-check
/**
 * What feeds an input in a run. A turn that is muted or bypassed is passed over: what comes behind it goes on
 * with the chain before it, or with the picture where no turn comes before. ComfyUI itself passes on what has
 * the same type alone.
 */

import { inputOf, isWired, MUTED, outputOf } from "./graph.js";
import { beginOf, everyPlace, idOf, isOff, placeOf } from "./wires.js";

/** @typedef {import("./wires.js").Place} Place */
/** @typedef {import("./wires.js").Origin} Origin */
/**
 * What feeds an input, and the turns that were passed over on the way.
 * @typedef {{ origin: Origin | null, passed: Place[] }} Feed
 */
/** @typedef {Record<string, { class_type: string, inputs: Record<string, unknown> }>} Prompt */

const CHAIN = "KONTEXT_CHAIN";
/** Nodes that hand on a picture changed, in the order of the inputs that have it. */
const PASSED = ["KontextTurn", "KontextScript", "KontextEdit", "KontextPickTurn", "KontextVisualCue"];
const BEFORE = ["chain", "latent", "image"];
/** Nodes whose outputs are one and the same picture. */
const ONE_PICTURE = [...PASSED, "KontextLoadChain"];
/**
 * Nodes that make of a picture only another kind of the same, with the input that has it.
 * @type {Record<string, string>}
 */
const SAME_PICTURE = { KontextEncode: "image", KontextDecode: "latent" };
/** Nodes that take a picture in place of a chain, which is then one without turns. */
const TAKE_PICTURE = ["KontextPickTurn", "KontextCompare", "KontextChainSheet", "KontextSaveChain"];

/**
 * Find what feeds an input of a place in a run, and the turns that are passed over.
 * @param {Place} place
 * @param {number} slot of its inputs
 * @param {Set<string>} [seen]
 * @returns {Feed}
 */
export function feedOf(place, slot, seen = new Set()) {
  const origin = beginOf(place, slot);
  const key = `${idOf(place)} ${slot}`;
  if (!origin || seen.has(key)) return { origin: null, passed: [] };
  if (!isOff(origin.place)) return { origin, passed: [] };
  seen.add(key);
  const { node } = origin.place;
  if (PASSED.includes(String(node.type))) return beforeOf(origin, seen);
  const through = node.mode === MUTED ? -1 : bypassed(node, origin.slot, place.node.inputs[slot]?.type);
  return through < 0 ? { origin: null, passed: [] } : feedOf(origin.place, through, seen);
}

/**
 * Find what feeds an input of a node in a run.
 * @param {Page.Node} node
 * @param {string} name
 * @returns {Origin | null}
 */
export function originInto(node, name) {
  const place = isWired(node, name) ? placeOf(node) : null;
  return place && feedOf(place, inputOf(node, name)).origin;
}

/**
 * Find the node that feeds an input in a run.
 * @param {Page.Node} node
 * @param {string} name
 */
export const sourceOf = (node, name) => originInto(node, name)?.place.node ?? null;

/**
 * Find what came into a turn that is passed over, as the kind that was asked of it.
 * @param {Origin} turn
 * @param {Set<string>} seen
 * @returns {Feed}
 */
function beforeOf({ place, slot }, seen) {
  const kind = String(place.node.outputs[slot]?.type);
  const passed = [place];
  for (const name of BEFORE) {
    const input = inputOf(place.node, name);
    if (input < 0 || !beginOf(place, input)) continue;
    const feed = feedOf(place, input, seen);
    const origin = feed.origin && asKind(feed.origin, kind, seen);
    return { origin, passed: [...passed, ...feed.passed] };
  }
  return { origin: null, passed };
}

/**
 * Find the same picture as another kind of output, where there is one.
 * @param {Origin} origin
 * @param {string} kind
 * @param {Set<string>} seen
 * @returns {Origin}
 */
function asKind(origin, kind, seen) {
  const { node } = origin.place;
  if (kindOf(origin) === kind) return origin;
  if (ONE_PICTURE.includes(String(node.type)) && outputOf(node, kind) >= 0)
    return { ...origin, slot: outputOf(node, kind) };
  const name = SAME_PICTURE[String(node.type)];
  const before = name === undefined ? null : feedOf(origin.place, inputOf(node, name), seen).origin;
  return before ? asKind(before, kind, seen) : origin;
}

/**
 * Read the type of an output.
 * @param {Origin} origin
 */
const kindOf = ({ place, slot }) => String(place.node.outputs[slot]?.type);

/**
 * Find the input of a bypassed node that ComfyUI wires through to an output: the one beside it, else the
 * first that fits; -1 if none does.
 * @param {Page.Node} node
 * @param {number} slot
 * @param {unknown} wanted
 */
function bypassed(node, slot, wanted) {
  const inputs = node.inputs ?? [];
  if (wanted === "*" || wanted === "") return slot < inputs.length ? slot : inputs.length ? 0 : -1;
  const given = node.outputs[slot]?.type;
  const fits = (/** @type {{ type: unknown } | undefined} */ one) =>
    !!one && connects(one.type, given) && connects(one.type, wanted);
  if (fits(inputs[slot])) return slot;
  const same = inputs.findIndex((one) => one.type === wanted);
  return same >= 0 ? same : inputs.findIndex(fits);
}

/**
 * Tell whether the page lets two types be wired together.
 * @param {unknown} one
 * @param {unknown} other
 */
function connects(one, other) {
  const [names, others] = [one, other].map((kind) =>
    String(kind)
      .toLowerCase()
      .split(",")
      .map((name) => name.trim()),
  );
  const any = ["*", "", "0"];
  return !!names?.some(
    (name) => any.includes(name) || others?.includes(name) || others?.some((x) => any.includes(x)),
  );
}

/**
 * Wire what is queued past the turns that are off.
 * @param {Prompt} prompt is changed
 * @returns {Place[]} turns behind which something gets nothing, since a picture is not what it takes
 */
export function passOver(prompt) {
  /** @type {Set<Place>} */
  const unmet = new Set();
  for (const place of everyPlace()) {
    const entry = prompt[idOf(place)];
    if (!entry || isOff(place)) continue;
    (place.node.inputs ?? []).forEach((input, slot) => {
      const { origin, passed } = feedOf(place, slot);
      if (passed.length && !rewire(entry, input, place.node, origin))
        for (const turn of passed) unmet.add(turn);
    });
  }
  return [...unmet];
}

/**
 * Wire an input of what is queued to another origin.
 * @param {Prompt[string]} entry
 * @param {{ name: string, type: unknown }} input
 * @param {Page.Node} node
 * @param {Origin | null} origin
 * @returns {boolean} whether there is something for the input
 */
function rewire(entry, { name, type }, node, origin) {
  delete entry.inputs[name];
  if (!origin) return false;
  const link = [idOf(origin.place), origin.slot];
  if (connects(kindOf(origin), type)) entry.inputs[name] = link;
  else if (kindOf(origin) !== "IMAGE") return false;
  else if (BEFORE.includes(name) && inputOf(node, "image") >= 0) entry.inputs.image ??= link;
  else if (type === CHAIN && TAKE_PICTURE.includes(String(node.type))) entry.inputs[name] = link;
  else return false;
  return true;
}
