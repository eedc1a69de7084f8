// @ts-check
/**
 * What is done to a turn in its line: it leaves, trades places with a neighbour, is doubled, goes off and on.
 */

import { FOR_ONE_RUN } from "../lib/for_one_run.js";
import {
  BYPASSED,
  graphOf,
  inputOf,
  isReroute,
  MUTED,
  nodeIn,
  originOf,
  outputOf,
  widgetOf,
  wireAlike,
} from "../lib/graph.js";
import { randomSeed } from "../lib/seed.js";
import { rewire, tradePlaces, wiresFrom } from "../lib/trade.js";
import { moveEnd } from "./go_on.js";
import { addBeside } from "./new_node.js";
import { copyLook } from "./note.js";
import { isNumbered } from "./read_graph.js";
import { EDIT, MAKES_TURNS } from "./turn_kinds.js";

/** @typedef {import("./read_graph.js").Turn} Turn */
/** @typedef {Map<string, Turn>} Turns */
/** @typedef {import("../lib/trade.js").Link} Link */

const BEFORE = ["chain", "latent", "image"]; // inputs that what came before a turn comes by

/**
 * Tell whether a node takes what came before it and hands it on with one turn more.
 * @param {Page.Node} node
 */
const isLink = (node) => [...MAKES_TURNS, EDIT].includes(String(node.type));

/**
 * Find the turn beside another on its line.
 * @param {Turn} turn
 * @param {boolean} up
 * @param {Turns} turns
 * @returns {Turn | null}
 */
function neighbour(turn, up, turns) {
  const before = turns.get(turn.parent?.id ?? "");
  if (up) return before?.children[0] === turn.id ? before : null;
  return turns.get(turn.children[0] ?? "") ?? null;
}

/**
 * Find the turn that another can trade places with; null if there is none.
 * @param {Turn} turn
 * @param {boolean} up
 * @param {Turns} turns
 */
export function partner(turn, up, turns) {
  const other = neighbour(turn, up, turns);
  if (!other || other.node.graph !== turn.node.graph || other.node === turn.node) return null;
  const [a, b] = [turn.node, other.node];
  if (!isLink(a) || !isLink(b) || (a.type === EDIT) !== (b.type === EDIT)) return null;
  const [first, second] = up ? [b, a] : [a, b];
  return sideways(second, first) ? null : other;
}

/**
 * Tell whether a node also gets what another made by inputs that stay its own: a reference, a mask.
 * @param {Page.Node} node
 * @param {Page.Node} earlier
 */
function sideways(node, earlier) {
  const open = ownInputs(node).flatMap((name) => originOf(node, name)?.node ?? []);
  const seen = new Set(open);
  for (const at of seen) {
    if (at === earlier) return true;
    for (const { name } of at.inputs ?? []) {
      const origin = originOf(at, name)?.node;
      if (origin) seen.add(origin);
    }
  }
  return false;
}

/**
 * List the inputs of a turn that are its own, and not what came before it.
 * @param {Page.Node} node
 */
const ownInputs = (node) =>
  (node.inputs ?? []).map(({ name }) => name).filter((name) => !BEFORE.includes(name));

/**
 * Let a turn and its neighbour trade places. Words, seeds and all that is set in them stay theirs.
 * @param {Page.Node} a
 * @param {Page.Node} b
 */
export function trade(a, b) {
  tradePlaces(a, b, BEFORE);
  if (isNumbered(a) && isNumbered(b)) [a.title, b.title] = [b.title, a.title]; // they name the place
}

/**
 * Tell whether a turn can be doubled.
 * @param {Turn} turn
 */
export const canDouble = (turn) => isLink(turn.node);

/**
 * Add a copy right behind a turn: the same words, settings, note and colour, and another seed.
 * @param {Turn} turn
 * @param {Turns} turns
 */
export function double({ node, children, title }, turns) {
  const copy = addBeside(String(node.type), node);
  if (!copy) return;
  for (const name of ownInputs(node)) if (name !== "seed") wireAlike(node, name, copy);
  for (const widget of copy.widgets ?? []) {
    const alike = widgetOf(node, widget.name);
    const own = widget.name === FOR_ONE_RUN || widget.options?.serialize === false;
    if (alike && !own) widget.value = alike.value;
  }
  const seed = widgetOf(copy, "seed");
  if (seed) seed.value = randomSeed();
  if (title) copy.title = title;
  copyLook(node, copy);
  const next = turns.get(children[0] ?? "")?.node;
  const all = wiresFrom(node).map((one) => /** @type {Link} */ ({ ...one }));
  const direct = all.filter(({ target_id }) => next && String(target_id) === String(next.id));
  const onward = direct.length ? direct : all.filter((link) => leads(link, node, !next));
  for (const link of onward) rewire(graphOf(node), link, (one) => (one === node ? copy : one));
  const [kind, name] = node.type === EDIT ? ["LATENT", "latent"] : ["KONTEXT_CHAIN", "chain"];
  node.connect(outputOf(node, kind), copy, inputOf(copy, name));
  if (!next && node.type !== EDIT) moveEnd(node, copy);
}

/**
 * Tell whether a wire leads to what comes next by a way round or through a wall.
 * @param {Link} link
 * @param {Page.Node} node where it begins
 * @param {boolean} last whether no turn comes behind it
 */
function leads({ origin_slot, target_id }, node, last) {
  if (!["KONTEXT_CHAIN", "LATENT"].includes(String(node.outputs[origin_slot]?.type))) return false;
  const target = nodeIn(graphOf(node), target_id);
  return target ? !last && isReroute(target) : true;
}

/**
 * Switch a turn off, or on again.
 * @param {Page.Node} node
 */
export function toggle(node) {
  node.mode = isSwitchedOff(node) ? 0 : BYPASSED;
}

/**
 * Tell whether a node itself is off.
 * @param {Page.Node} node
 */
export const isSwitchedOff = (node) => [MUTED, BYPASSED].includes(node.mode);

/**
 * Take a node out of its graph; what came before it goes on to what came behind.
 * @param {Page.Node} node
 */
export function remove(node) {
  graphOf(node).remove(node);
}
