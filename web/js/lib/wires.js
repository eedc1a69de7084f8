// @ts-check
/** Where wires begin, past nodes that only lead them round and through the walls of subgraphs. */

import { app } from "../../../../scripts/app.js";
import { graphOf, inputOf, widgetOf } from "../chain/actions.js";

/**
 * @typedef {object} Place A node, and the node that shows the subgraph it lies in.
 * @property {Page.Node} node
 * @property {Place | null} host null: it lies in the workflow itself
 */
/**
 * @typedef {object} Origin Where a wire begins.
 * @property {Place} place
 * @property {number} slot of its outputs
 * @property {number} wire number of the last piece, into the input
 */
/** @typedef {Page.App["graph"] & Partial<Pick<Page.Subgraph, "inputNode" | "outputNode">>} Graph */

/** The graph of the whole workflow. @returns {Graph} */
export const rootGraph = () => app.graph.rootGraph ?? app.graph;

const OFF = [2, 4]; // muted, bypassed

/** Whether a node is muted or bypassed, or one that it lies in. @param {Place | null} place @returns {boolean} */
export const isOff = (place) => place !== null && (OFF.includes(place.node.mode) || isOff(place.host));

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

/** The wire into an input in the graph around its node; a subgraph's own getInputLink gives the wire inside. @param {Page.Node} node @param {number} slot */
const wireInto = (node, slot) => node.inputs?.[slot]?.link ?? null;

/** Where the wire into an input begins, as it is drawn. @param {Place} place @param {number} slot @param {Set<string>} [seen] @returns {Origin | null} */
export function beginOf(place, slot, seen = new Set()) {
  const key = `${idOf(place)} ${slot}`;
  const wire = seen.has(key) ? null : wireInto(place.node, slot);
  if (wire == null) return null;
  const graph = /** @type {Graph} */ (graphOf(place.node));
  const link = graph.getLink(wire);
  const found = link && originOf(link, graph, place.host, seen.add(key));
  return found ? { ...found, wire: Number(wire) } : null;
}

/** The widget of the node around at which the wire into an input begins: the subgraph shows it there. @param {Place} place @param {number} slot @returns {ReturnType<typeof widgetOf>} undefined where it does not */
export function wallWidget(place, slot) {
  const { host, node } = place;
  const wire = wireInto(node, slot);
  const graph = /** @type {Graph} */ (graphOf(node));
  const link = wire == null || !host ? null : graph.getLink(wire);
  if (!link || !host || String(link.origin_id) !== String(graph.inputNode?.id)) return undefined;
  const input = host.node.inputs[link.origin_slot];
  if (input && host.node.isInputConnected(link.origin_slot)) return wallWidget(host, link.origin_slot);
  const names = [input?.widget?.name, input?.name];
  return host.node.widgets?.find((one) => names.includes(one.name));
}

/** The widget that a run takes a setting of a node from: its own, or the one that the subgraph around it shows; undefined where another node hands it in. @param {Place} place @param {string} name */
export function settingOf(place, name) {
  const slot = inputOf(place.node, name);
  const wired = place.node.inputs?.[slot]?.link != null;
  return wired ? wallWidget(place, slot) : widgetOf(place.node, name);
}

/** Where a node lies; of several nodes that show its subgraph the first. @param {Page.Node} node @returns {Place | null} */
export function placeOf(node) {
  if (graphOf(node) === rootGraph()) return { node, host: null };
  for (const place of everyPlace()) if (place.node === node) return place;
  return null;
}

/** @param {{ origin_id: unknown, origin_slot: number }} link @param {Graph} graph @param {Place | null} host @param {Set<string>} seen @returns {Origin | null} */
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
  if (node.type === "Reroute") return beginOf(place, 0, seen);
  return beyond(place, origin_slot, graph) ?? { place, slot: origin_slot, wire: -1 };
}

/** Where the wire begins that a node of another pack stands for, which lives in the page only: one that gets what another sets. @param {Place} place @param {number} slot @param {Graph} graph @returns {Origin | null} */
function beyond({ node, host }, slot, graph) {
  if (!node.isVirtualNode || node.type === "PrimitiveNode") return null;
  const virtual =
    /** @type {{ resolveVirtualOutput?(slot: number): { node: Page.Node, slot: number } | undefined }} */ (
      /** @type {unknown} */ (node)
    );
  const source = virtual.resolveVirtualOutput?.(slot);
  if (source) return { place: { node: source.node, host }, slot: source.slot, wire: -1 };
  const link = node.getInputLink(slot);
  const origin = link && /** @type {Page.Node | null} */ (graph.getNodeById(link.origin_id));
  return origin && link ? { place: { node: origin, host }, slot: link.origin_slot, wire: -1 } : null;
}
