// @ts-check
/** Where wires begin, past nodes that only lead them round and through the walls of subgraphs. */

import { app } from "../../../scripts/app.js";
import { graphOf, inputOf } from "./actions.js";

/**
 * @typedef {object} Place A node, and the node that shows the subgraph it lies in.
 * @property {Page.Node} node
 * @property {Place | null} host null: it lies in the workflow itself
 */
/** @typedef {{ place: Place, wire: number }} Origin Where a wire begins, and the number of its last piece. */
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

/** Where the wire into an input begins. @param {Place} place @param {number} slot @param {Set<string>} [seen] @returns {Origin | null} */
export function beginOf(place, slot, seen = new Set()) {
  const key = `${idOf(place)} ${slot}`;
  const wire = seen.has(key) ? null : place.node.inputs?.[slot]?.link;
  if (wire == null) return null;
  const graph = /** @type {Graph} */ (graphOf(place.node));
  const link = graph.getLink(wire); // a subgraph's own getInputLink gives the wire inside
  const found = link && originOf(link, graph, place.host, seen.add(key));
  return found ? { place: found, wire: Number(wire) } : null;
}

/** Where a node lies; of several nodes that show its subgraph the first. @param {Page.Node} node @returns {Place | null} */
function placeOf(node) {
  if (graphOf(node) === rootGraph()) return { node, host: null };
  for (const place of everyPlace()) if (place.node === node) return place;
  return null;
}

/** The node that an input comes from, past those that only lead a wire round and through the walls of subgraphs. @param {Page.Node} node @param {string} name */
export function sourceOf(node, name) {
  const slot = inputOf(node, name);
  const place = node.inputs?.[slot]?.link == null ? null : placeOf(node);
  return place && (beginOf(place, slot)?.place.node ?? null);
}

/** @param {{ origin_id: unknown, origin_slot: number }} link @param {Graph} graph @param {Place | null} host @param {Set<string>} seen @returns {Place | null} */
function originOf({ origin_id, origin_slot }, graph, host, seen) {
  if (host && String(origin_id) === String(graph.inputNode?.id))
    return beginOf(host, origin_slot, seen)?.place ?? null;
  const node = /** @type {Page.Node | null} */ (graph.getNodeById(/** @type {number} */ (origin_id)));
  if (!node) return null;
  const place = { node, host };
  const inside = insideOf(node);
  if (inside) {
    const link = inside.outputNode.slots[origin_slot]?.getLinks()[0];
    return link ? originOf(link, /** @type {Graph} */ (inside), place, seen) : null;
  }
  return node.type === "Reroute" ? (beginOf(place, 0, seen)?.place ?? null) : place;
}
