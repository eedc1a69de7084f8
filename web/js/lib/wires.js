// @ts-check
/** Where wires begin, past nodes that only lead them round and through the walls of subgraphs. */

import {
  BYPASSED,
  fromWall,
  graphOf,
  inputOf,
  insideOf,
  isReroute,
  MUTED,
  nodeIn,
  nodesOf,
  rootGraph,
  toWall,
  widgetOf,
} from "./graph.js";

/** @typedef {import("./graph.js").Graph} Graph */

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

const OFF = [MUTED, BYPASSED];

/**
 * Tell whether a node is muted or bypassed, or one that it lies in.
 * @param {Place | null} place
 * @returns {boolean}
 */
export const isOff = (place) => place !== null && (OFF.includes(place.node.mode) || isOff(place.host));

/**
 * Write what the server calls the node of a place: those around it come first.
 * @param {Place} place
 * @returns {string}
 */
export const idOf = ({ node, host }) => (host ? `${idOf(host)}:${node.id}` : String(node.id));

/**
 * Go through every node of the workflow, also inside subgraphs; of nodes that are subgraphs what is inside.
 * @param {Graph} [graph]
 * @param {Place | null} [host]
 * @returns {Generator<Place>}
 */
export function* everyPlace(graph = rootGraph(), host = null) {
  for (const node of nodesOf(graph)) {
    const place = { node, host };
    const inside = insideOf(node);
    if (inside) yield* everyPlace(/** @type {Graph} */ (inside), place);
    else yield place;
  }
}

/**
 * Get the wire into an input in the graph around its node; a subgraph's own getInputLink gives the wire
 * inside.
 * @param {Page.Node} node
 * @param {number} slot
 */
const wireInto = (node, slot) => node.inputs?.[slot]?.link ?? null;

/**
 * Find where the wire into an input begins, as it is drawn.
 * @param {Place} place
 * @param {number} slot
 * @param {Set<string>} [seen]
 * @returns {Origin | null}
 */
export function beginOf(place, slot, seen = new Set()) {
  const key = `${idOf(place)} ${slot}`;
  const wire = seen.has(key) ? null : wireInto(place.node, slot);
  if (wire == null) return null;
  const graph = graphOf(place.node);
  const link = graph.getLink(wire);
  const found = link && linkOrigin(link, graph, place.host, seen.add(key));
  return found ? { ...found, wire: Number(wire) } : null;
}

/**
 * Get the wires that leave an output.
 * @param {Page.Node} node
 * @param {number} slot
 */
const wiresOut = (node, slot) =>
  (node.outputs?.[slot]?.links ?? []).flatMap((id) => graphOf(node).getLink(id) ?? []);

/**
 * List the outputs of the subgraph around a node that one of its outputs is wired to, by their numbers.
 * @param {Page.Node} node
 * @param {number} slot
 */
export const wallsBehind = (node, slot) =>
  new Set(wiresOut(node, slot).flatMap((link) => (toWall(link, graphOf(node)) ? [link.target_slot] : [])));

/**
 * List the nodes that an output feeds as it is drawn, past those and through the walls that only lead it on.
 * @param {Place} place
 * @param {number} slot
 * @param {Set<string>} [seen]
 * @returns {Place[]} in order of wiring
 */
export function takersOf(place, slot, seen = new Set()) {
  const key = `${idOf(place)} ${slot}`;
  if (seen.has(key)) return [];
  seen.add(key);
  const graph = graphOf(place.node);
  return wiresOut(place.node, slot).flatMap((link) => linkTakers(link, graph, place.host, seen));
}

/**
 * List the nodes that a wire feeds.
 * @param {{ target_id: unknown, target_slot: number }} link
 * @param {Graph} graph
 * @param {Place | null} host
 * @param {Set<string>} seen
 * @returns {Place[]}
 */
function linkTakers(link, graph, host, seen) {
  if (toWall(link, graph)) return host ? takersOf(host, link.target_slot, seen) : [];
  const node = nodeIn(graph, link.target_id);
  if (!node) return [];
  const place = { node, host };
  const inside = insideOf(node);
  if (!inside) return isReroute(node) ? takersOf(place, 0, seen) : [place];
  const links = inside.inputNode.slots[link.target_slot]?.getLinks() ?? [];
  return links.flatMap((one) => linkTakers(one, /** @type {Graph} */ (inside), place, seen));
}

/**
 * Find the widget of the node around at which the wire into an input begins: the subgraph shows it there.
 * @param {Place} place
 * @param {number} slot
 * @returns {ReturnType<typeof widgetOf>} undefined where it does not
 */
export function wallWidget(place, slot) {
  const { host, node } = place;
  const wire = wireInto(node, slot);
  const graph = graphOf(node);
  const link = wire == null || !host ? null : graph.getLink(wire);
  if (!link || !host || !fromWall(link, graph)) return undefined;
  const input = host.node.inputs[link.origin_slot];
  if (input && host.node.isInputConnected(link.origin_slot)) return wallWidget(host, link.origin_slot);
  const names = [input?.widget?.name, input?.name];
  return host.node.widgets?.find((one) => names.includes(one.name));
}

/**
 * Find the widget that a run takes a setting of a node from: its own, or the one that the subgraph around it
 * shows; undefined where another node hands it in.
 * @param {Place} place
 * @param {string} name
 */
export function settingOf(place, name) {
  const slot = inputOf(place.node, name);
  return wireInto(place.node, slot) != null ? wallWidget(place, slot) : widgetOf(place.node, name);
}

/**
 * Find where a node lies; of several nodes that show its subgraph the first.
 * @param {Page.Node} node
 * @returns {Place | null}
 */
export function placeOf(node) {
  if (graphOf(node) === rootGraph()) return { node, host: null };
  for (const place of everyPlace()) if (place.node === node) return place;
  return null;
}

/**
 * Find where a wire begins, past nodes and walls that only lead it on.
 * @param {{ origin_id: unknown, origin_slot: number }} link
 * @param {Graph} graph
 * @param {Place | null} host
 * @param {Set<string>} seen
 * @returns {Origin | null}
 */
function linkOrigin({ origin_id, origin_slot }, graph, host, seen) {
  if (host && fromWall({ origin_id }, graph)) return beginOf(host, origin_slot, seen);
  const node = nodeIn(graph, origin_id);
  if (!node) return null;
  const place = { node, host };
  const inside = insideOf(node);
  if (inside) {
    const link = inside.outputNode.slots[origin_slot]?.getLinks()[0];
    return link ? linkOrigin(link, /** @type {Graph} */ (inside), place, seen) : null;
  }
  if (isReroute(node)) return beginOf(place, 0, seen);
  return beyond(place, origin_slot, graph) ?? { place, slot: origin_slot, wire: -1 };
}

/**
 * Find where the wire begins that a node of another pack stands for, which lives in the page only: one that
 * gets what another sets.
 * @param {Place} place
 * @param {number} slot
 * @param {Graph} graph
 * @returns {Origin | null}
 */
function beyond({ node, host }, slot, graph) {
  if (!node.isVirtualNode || node.type === "PrimitiveNode") return null;
  const virtual =
    /** @type {{ resolveVirtualOutput?(slot: number): { node: Page.Node, slot: number } | undefined }} */ (
      /** @type {unknown} */ (node)
    );
  const source = virtual.resolveVirtualOutput?.(slot);
  if (source) return { place: { node: source.node, host }, slot: source.slot, wire: -1 };
  const link = node.getInputLink(slot);
  const origin = link && nodeIn(graph, link.origin_id);
  return origin && link ? { place: { node: origin, host }, slot: link.origin_slot, wire: -1 } : null;
}
