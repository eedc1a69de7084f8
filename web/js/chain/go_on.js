// @ts-check
/** One more turn, at the end of a line or as a branch; lines go on through the walls of subgraphs. */

import { FOR_ONE_RUN } from "../lib/for_one_run.js";
import {
  graphOf,
  inputOf,
  isReroute,
  nodesBehind,
  nodesOf,
  originOf,
  outputOf,
  widgetOf,
  wireAlike,
} from "../lib/graph.js";
import { bringIntoView, SETTLED_MS, showGraphOf } from "../lib/in_view.js";
import { everyPlace, idOf, takersOf, wallsBehind } from "../lib/wires.js";
import { addBeside } from "./new_node.js";
import { AT_THE_END, chainOutput, EDIT, MAKES_TURNS, TURN } from "./turn_kinds.js";

/** @typedef {import("../lib/wires.js").Place} Place */

// All else a new turn takes over.
const OF_ONE_TURN = ["instruction", "marks", "seed", FOR_ONE_RUN, "control_after_generate"];

/**
 * List the turns that go on from one, in order of wiring.
 * @param {Place} place
 * @returns {Place[]}
 */
function following(place) {
  const { node } = place;
  const [kinds, types] =
    node.type === EDIT ? [["LATENT", "IMAGE"], [EDIT]] : [["KONTEXT_CHAIN"], MAKES_TURNS];
  const slots = kinds.map((kind) => outputOf(node, kind)).filter((slot) => slot >= 0);
  const takers = slots.flatMap((slot) => takersOf(place, slot));
  return takers.filter((taker) => types.includes(String(taker.node.type)));
}

/**
 * Follow the line that goes on from a turn to its end; at a fork the first way.
 * @param {Place} place
 */
export function lastOf(place) {
  const seen = new Set([idOf(place)]);
  let last = place;
  for (let [next] = following(last); next && !seen.has(idOf(next)); [next] = following(last)) {
    seen.add(idOf(next));
    last = next;
  }
  return last;
}

/**
 * Add a turn on the result of another, with the model and settings of the turn before.
 * @param {Place} place
 */
export function goOnFrom(place) {
  const { node } = place;
  const [type, kind, name] =
    node.type === EDIT ? [EDIT, "LATENT", "latent"] : [TURN, "KONTEXT_CHAIN", "chain"];
  const other = showGraphOf(place);
  const turn = addBeside(type, node);
  if (!turn) return;
  if (other) setTimeout(() => bringIntoView(turn), SETTLED_MS);
  const before = turnBefore(node);
  if (before) takeOver(before, turn);
  else wireModel(turn);
  const last = !following(place).length;
  node.connect(outputOf(node, kind), turn, inputOf(turn, name));
  if (last && type === TURN) moveEnd(node, turn);
}

/**
 * Find the turn that a chain comes from, past nodes that have no settings.
 * @param {Page.Node} node
 * @returns {Page.Node | null}
 */
function turnBefore(node) {
  const seen = new Set();
  for (
    let at = /** @type {Page.Node | undefined} */ (node);
    at && !seen.has(at);
    at = originOf(at, "chain")?.node
  ) {
    if (inputOf(at, "model") >= 0) return at;
    seen.add(at);
  }
  return null;
}

/**
 * Give a turn the model and all settings of another, also those that come by a wire.
 * @param {Page.Node} from
 * @param {Page.Node} to
 */
function takeOver(from, to) {
  wireAlike(from, "model", to);
  for (const widget of to.widgets ?? []) {
    const alike = widgetOf(from, widget.name);
    if (!alike || OF_ONE_TURN.includes(widget.name) || widget.options?.serialize === false) continue;
    widget.value = alike.value;
    wireAlike(from, widget.name, to);
  }
}

/**
 * Wire a turn to a model of its graph, if there is one.
 * @param {Page.Node} turn
 */
function wireModel(turn) {
  const model = nodesOf(graphOf(turn)).find((one) => outputOf(one, "KONTEXT_MODEL") >= 0);
  model?.connect(outputOf(model, "KONTEXT_MODEL"), turn, inputOf(turn, "model"));
}

/**
 * Rewire what shows or saves all of a line to its new end, also behind the wall of a subgraph.
 * @param {Page.Node} from
 * @param {Page.Node} to
 */
export function moveEnd(from, to) {
  const slot = chainOutput(from);
  const output = to.outputs[chainOutput(to)];
  for (const wall of wallsBehind(from, slot))
    if (output && endsBehind(from, wall)) graphOf(to).outputNode?.slots[wall]?.connect(output, to);
  for (const one of nodesBehind(from, slot)) {
    if (!atTheEnd(one)) continue;
    (one.inputs ?? []).forEach((_, input) => {
      const link = one.getInputLink(input);
      if (link && String(link.origin_id) === String(from.id) && link.origin_slot === slot)
        to.connect(chainOutput(to), one, input);
    });
  }
}

/**
 * Tell whether all that a subgraph hands a chain to is for all of a line, wherever the subgraph is shown.
 * @param {Page.Node} from inside it
 * @param {number} wall number of the subgraph's output
 */
function endsBehind(from, wall) {
  const hosts = [...everyPlace()].flatMap(({ node, host }) => (node === from && host ? [host] : []));
  const takers = hosts.flatMap((host) => takersOf(host, wall));
  return takers.every(({ node }) => AT_THE_END.includes(String(node.type)));
}

/**
 * Tell whether a node is for all of a line, or leads only to such.
 * @param {Page.Node} node
 * @param {Set<Page.Node>} [seen]
 * @returns {boolean}
 */
function atTheEnd(node, seen = new Set()) {
  if (AT_THE_END.includes(String(node.type))) return true;
  if (!isReroute(node) || seen.has(node)) return false;
  seen.add(node);
  const next = nodesBehind(node, 0);
  return next.length > 0 && next.every((one) => atTheEnd(one, seen));
}
