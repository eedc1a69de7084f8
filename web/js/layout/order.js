// @ts-check
/** What is done with a stack of references: one more, and another order. */

import { app } from "../../../../scripts/app.js";
import { boxesOf } from "../lib/boxes.js";
import { freeSpot, TITLE } from "../lib/free_spot.js";
import {
  asOneStep,
  createNode,
  graphOf,
  inputOf,
  nodeIn,
  outputOf,
  widgetOf,
  wireAlike,
} from "../lib/graph.js";
import { bringIntoView } from "../lib/in_view.js";
import { rewire, tradePlaces, wiresFrom } from "../lib/trade.js";
import { t } from "../lib/translate.js";
import { nextOf, STACKS } from "./stack.js";

/** @typedef {import("./stack.js").Tile} Tile */
/**
 * How a tile and its neighbour trade places: the wires of two inputs of a grid, or two nodes.
 * @typedef {{ node: Page.Node, inputs: [string, string] } | { nodes: [Page.Node, Page.Node] }} Move
 */

const KIND = "KONTEXT_REFERENCES";
const GAP = 40;

/**
 * Tell whether a node adds to a stack.
 * @param {Page.Node | null | undefined} node
 */
const isStack = (node) => STACKS.includes(String(node?.type));

/**
 * Find how a reference trades places with its neighbour; or why it cannot, in words.
 * @param {Tile[]} tiles
 * @param {number} place of the reference among them
 * @param {boolean} up
 * @returns {Move | string}
 */
export function moveOf(tiles, place, up) {
  const [tile, other] = [tiles[place], tiles[place + (up ? -1 : 1)]];
  if (!tile?.node) return t("The picture that is edited comes first.");
  if (!other) return up ? t("It is the first one.") : t("It is the last one that is shown here.");
  if (!other.node) return t("What is before it stays there.");
  if (tile.node === other.node) return { node: tile.node, inputs: [tile.input, other.input] };
  const [first, second] = up ? [other.node, tile.node] : [tile.node, other.node];
  if (first.graph !== second.graph) return t("The other one is in another graph.");
  const next = nextOf(first);
  if (next.length !== 1 || next[0] !== second)
    return t("Something else takes the references up to here, too.");
  return { nodes: [first, second] };
}

/**
 * Let two references trade places, as one step of undo.
 * @param {Move} move
 */
export function trade(move) {
  asOneStep(() => {
    if ("nodes" in move) tradePlaces(...move.nodes, ["references"]);
    else tradeInputs(move.node, move.inputs);
  });
}

/**
 * Let the wires into two inputs of a node trade places.
 * @param {Page.Node} node
 * @param {[string, string]} names
 */
function tradeInputs(node, names) {
  const graph = graphOf(node);
  const slots = names.map((name) => inputOf(node, name));
  const links = slots.map((slot) => node.getInputLink(slot)).map((link) => link && { ...link });
  for (const slot of slots) node.disconnectInput(slot);
  links.forEach((link, i) => {
    const slot = slots[1 - i] ?? -1;
    if (link) rewire(graph, /** @type {any} */ ({ ...link, target_slot: slot }), (one) => one);
  });
}

/**
 * Add a reference at the end of the stack that a node belongs to, as one step of undo. What takes the stack
 * takes it too.
 * @param {Page.Node} node
 * @returns {Page.Node | null} null if there is no such node
 */
export function addReference(node) {
  const last = lastOf(node);
  const reference = createNode("KontextReference");
  if (!reference) return null;
  const graph = graphOf(last);
  asOneStep(() => {
    const [least, height] = reference.computeSize();
    const width = Math.max(last.size[0], least);
    const below = last.pos[1] + last.size[1] + TITLE + GAP;
    // Vue nodes of some pages take the place that a node has when it is added
    reference.setSize([width, height]);
    reference.pos = freeSpot(boxesOf(graph), [last.pos[0], below, width, height]);
    graph.add(reference);
    wireAlike(last, "model", reference);
    const [fit, before] = [widgetOf(reference, "fit"), widgetOf(last, "fit")];
    if (fit && before) fit.value = before.value;
    for (const link of wiresFrom(last).map((one) => ({ ...one })))
      if (!isStack(nodeIn(graph, link.target_id)))
        rewire(graph, /** @type {any} */ (link), (one) => (one === last ? reference : one));
    last.connect(outputOf(last, KIND), reference, inputOf(reference, "references"));
  });
  app.canvas.selectNode(reference);
  bringIntoView(reference);
  return reference;
}

/**
 * Follow a stack to its last node; at a fork no further.
 * @param {Page.Node} node
 */
function lastOf(node) {
  const seen = new Set([node]);
  let last = node;
  for (let next = nextOf(last); next.length === 1; next = nextOf(last)) {
    const [one] = next;
    if (!one || !isStack(one) || seen.has(one) || one.graph !== node.graph) break;
    seen.add(one);
    last = one;
  }
  return last;
}
