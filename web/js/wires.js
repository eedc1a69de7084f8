// @ts-check
/** Where wires lead, past nodes that only lead them round and through the walls of subgraphs. */

import { app } from "../../../scripts/app.js";
import { graphOf, inputOf } from "./actions.js";

/**
 * @typedef {object} Place A node, and the node that shows the subgraph it lies in.
 * @property {Page.Node} node
 * @property {Place | null} host null: it lies in the workflow itself
 */
/** @typedef {{ place: Place, slot: number }} Output */
/** @typedef {Page.App["graph"] & Partial<Pick<Page.Subgraph, "inputNode" | "outputNode">>} Graph */

/** The graph of the whole workflow. @returns {Graph} */
export const rootGraph = () => app.graph.rootGraph ?? app.graph;

/** What the server calls the node of a place: those around it come first. @param {Place} place @returns {string} */
export const idOf = ({ node, host }) => (host ? `${idOf(host)}:${node.id}` : String(node.id));

/** What is inside a node, if it is a subgraph. @param {Page.Node} node @returns {Page.Subgraph | null} */
const insideOf = (node) => (node.isSubgraphNode?.() ? node.subgraph : null);

/** Every node of the workflow, also inside subgraphs; of nodes that are subgraphs what is inside. @param {Graph} [graph] @param {Place | null} [host] @returns {Generator<Place>} */
export function* everyPlace(graph = rootGraph(), host = null) {
  for (const one of graph.nodes) {
    const place = { node: /** @type {Page.Node} */ (one), host };
    const inside = insideOf(place.node);
    if (inside) yield* everyPlace(/** @type {Graph} */ (inside), place);
    else yield place;
  }
}

/** The places that an output leads to. @param {Output} output @param {Set<string>} [seen] @returns {Place[]} */
export function leadsTo({ place, slot }, seen = new Set()) {
  const { node, host } = place;
  const key = `${idOf(place)} ${slot}`;
  if (seen.has(key)) return [];
  seen.add(key);
  const graph = /** @type {Graph} */ (graphOf(node));
  const links = (node.outputs?.[slot]?.links ?? []).map((id) => graph.getLink(id));
  return links.flatMap((link) => (link ? endsOf(link, graph, host, seen) : []));
}

/** @param {{ target_id: unknown, target_slot: number }} link @param {Graph} graph @param {Place | null} host @param {Set<string>} seen @returns {Place[]} */
function endsOf({ target_id, target_slot }, graph, host, seen) {
  if (host && String(target_id) === String(graph.outputNode?.id))
    return leadsTo({ place: host, slot: target_slot }, seen);
  const node = /** @type {Page.Node | null} */ (graph.getNodeById(/** @type {number} */ (target_id)));
  if (!node) return [];
  const place = { node, host };
  const inside = insideOf(node);
  if (inside) {
    const links = inside.inputNode.slots[target_slot]?.getLinks() ?? [];
    return links.flatMap((link) => endsOf(link, /** @type {Graph} */ (inside), place, seen));
  }
  return node.type === "Reroute" ? leadsTo({ place, slot: 0 }, seen) : [place];
}

/** The place that an input comes from. @param {Place} place @param {string} name @returns {Place | null} */
export function comesFrom(place, name, seen = new Set()) {
  return beginOf(place, inputOf(place.node, name), seen);
}

/** @param {Place} place @param {number} slot @param {Set<string>} seen @returns {Place | null} */
function beginOf(place, slot, seen) {
  const key = `${idOf(place)} ${slot}`;
  const wire = seen.has(key) ? null : place.node.inputs?.[slot]?.link;
  seen.add(key);
  const graph = /** @type {Graph} */ (graphOf(place.node));
  const link = wire == null ? null : graph.getLink(wire); // a subgraph's own getInputLink gives the wire inside
  return link ? originOf(link, graph, place.host, seen) : null;
}

/** @param {{ origin_id: unknown, origin_slot: number }} link @param {Graph} graph @param {Place | null} host @param {Set<string>} seen @returns {Place | null} */
function originOf({ origin_id, origin_slot }, graph, host, seen) {
  if (host && String(origin_id) === String(graph.inputNode?.id)) return beginOf(host, origin_slot, seen);
  const node = /** @type {Page.Node | null} */ (graph.getNodeById(/** @type {number} */ (origin_id)));
  if (!node) return null;
  const place = { node, host };
  const inside = insideOf(node);
  if (inside) {
    const link = inside.outputNode.slots[origin_slot]?.getLinks()[0];
    return link ? originOf(link, /** @type {Graph} */ (inside), place, seen) : null;
  }
  return node.type === "Reroute" ? beginOf(place, 0, seen) : place;
}
