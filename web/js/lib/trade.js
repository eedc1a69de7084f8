// @ts-check
/** Two nodes of one line trade places: in their wires and on the canvas. */

import { graphOf, inputOf, nodeIn, outputOf } from "./graph.js";

/** @typedef {import("./graph.js").Graph} Graph */
/** @typedef {NonNullable<ReturnType<Page.Node["getInputLink"]>>} Link */

/**
 * Get the wires that leave a node.
 * @param {Page.Node} node
 * @returns {Link[]}
 */
export function wiresFrom(node) {
  const graph = graphOf(node);
  const ids = (node.outputs ?? []).flatMap(({ links }) => links ?? []);
  return ids.flatMap((id) => graph.getLink(id) ?? []);
}

/**
 * Get the wires into some inputs of a node.
 * @param {Page.Node} node
 * @param {string[]} names
 * @returns {Link[]}
 */
const wiresInto = (node, names) =>
  names
    .map((name) => inputOf(node, name))
    .flatMap((slot) => (slot < 0 ? [] : (node.getInputLink(slot) ?? [])));

/**
 * Wire what a link had at its two ends, also through the walls of a subgraph.
 * @param {Graph} graph
 * @param {Link} link
 * @param {(node: Page.Node) => Page.Node} instead what stands for each node
 */
export function rewire(graph, link, instead) {
  const from = nodeIn(graph, link.origin_id);
  const to = nodeIn(graph, link.target_id);
  const [origin, target] = [from && instead(from), to && instead(to)];
  const slot = from && origin ? outputOf(origin, String(from.outputs[link.origin_slot]?.type)) : -1;
  const name = String(to?.inputs[link.target_slot]?.name);
  const into = target && target !== to ? inputOf(target, name) : link.target_slot;
  const input = target?.inputs[into];
  const output = origin?.outputs[origin === from ? link.origin_slot : slot];
  if (origin && target) origin.connect(origin === from ? link.origin_slot : slot, target, into);
  else if (target && input) graph.inputNode?.slots[link.origin_slot]?.connect(input, target);
  else if (origin && output) graph.outputNode?.slots[link.target_slot]?.connect(output, origin);
}

/**
 * Let two nodes trade places in their wires and on the canvas. All that is set in them, and the wires into
 * other inputs, stay theirs.
 * @param {Page.Node} a
 * @param {Page.Node} b
 * @param {string[]} before inputs that what came before a node comes by
 */
export function tradePlaces(a, b, before) {
  const graph = graphOf(a);
  const all = new Map(
    [a, b].flatMap((node) => [...wiresInto(node, before), ...wiresFrom(node)]).map((one) => [one.id, one]),
  );
  const links = [...all.values()].map((one) => ({ ...one }));
  links.sort((one, other) => Number(one.id) - Number(other.id)); // which branch comes first stays as it is
  for (const link of links) nodeIn(graph, link.target_id)?.disconnectInput(link.target_slot);
  const instead = (/** @type {Page.Node} */ node) => (node === a ? b : node === b ? a : node);
  for (const link of links) rewire(graph, /** @type {Link} */ (link), instead);
  const [x, y] = a.pos;
  a.pos = [b.pos[0], b.pos[1]];
  b.pos = [x, y];
}
