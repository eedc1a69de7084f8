// @ts-check
/**
 * What LiteGraph knows of a node: its graph, slots, widgets and wires; and how a change becomes one step of
 * undo.
 */

import { app } from "../../../../scripts/app.js";

/** @typedef {Page.App["graph"] & Partial<Pick<Page.Subgraph, "inputNode" | "outputNode">>} Graph */

/** The modes of nodes that are off. */
export const MUTED = 2;
export const BYPASSED = 4;

/**
 * Get the graph of the whole workflow.
 * @returns {Graph}
 */
export const rootGraph = () => app.graph.rootGraph ?? app.graph;

/**
 * Get the graph that a node lies in.
 * @param {Page.Node} node
 * @returns {Graph}
 */
export const graphOf = (node) => /** @type {Graph} */ (node.graph ?? app.graph);

/**
 * List the nodes of a graph.
 * @param {Pick<Graph, "nodes">} graph
 */
export const nodesOf = (graph) => /** @type {Page.Node[]} */ (graph.nodes);

/**
 * Find the node of a graph that has a number; null if there is none.
 * @param {Pick<Graph, "getNodeById">} graph
 * @param {unknown} id
 */
export const nodeIn = (graph, id) =>
  /** @type {Page.Node | null} */ (graph.getNodeById(/** @type {number} */ (id)) ?? null);

/**
 * Get what is inside a node, if it is a subgraph.
 * @param {Page.Node} node
 * @returns {Page.Subgraph | null}
 */
export const insideOf = (node) => (node.isSubgraphNode?.() ? node.subgraph : null);

/**
 * Tell whether a node is one of this pack.
 * @param {Page.Node} node
 */
export const isOurs = (node) => String(node.comfyClass).startsWith("Kontext");

/**
 * Tell whether a node only leads a wire round.
 * @param {Page.Node} node
 */
export const isReroute = (node) => node.type === "Reroute";

/**
 * Find the first output of a type; -1 if there is none.
 * @param {Page.Node} node
 * @param {string} type
 */
export const outputOf = (node, type) => (node.outputs ?? []).findIndex((one) => one.type === type);

/**
 * Find an input by its name; -1 if there is none.
 * @param {Page.Node} node
 * @param {string} name
 */
export const inputOf = (node, name) => (node.inputs ?? []).findIndex((one) => one.name === name);

/**
 * Find a widget by its name.
 * @param {Page.Node} node
 * @param {string} name
 */
export const widgetOf = (node, name) => node.widgets?.find((one) => one.name === name);

/**
 * Tell whether something is wired to an input.
 * @param {Page.Node} node
 * @param {string} name
 */
export function isWired(node, name) {
  const slot = inputOf(node, name);
  return slot >= 0 && node.isInputConnected(slot);
}

/**
 * List the nodes that an output is wired to.
 * @param {Page.Node} node
 * @param {number} slot
 */
export const nodesBehind = (node, slot) => /** @type {Page.Node[]} */ (node.getOutputNodes(slot) ?? []);

/**
 * Find where an input comes from: the node and the number of its output.
 * @param {Page.Node} node
 * @param {string} name
 */
export function originOf(node, name) {
  const slot = inputOf(node, name);
  const link = slot < 0 ? null : node.getInputLink(slot);
  const origin = link && nodeIn(graphOf(node), link.origin_id);
  return link && origin ? { node: origin, slot: link.origin_slot } : null;
}

/**
 * Tell whether a wire begins at the wall of the subgraph that it lies in.
 * @param {{ origin_id: unknown }} link
 * @param {Graph} graph
 */
export const fromWall = ({ origin_id }, graph) => String(origin_id) === String(graph.inputNode?.id);

/**
 * Tell whether a wire ends at the wall of the subgraph that it lies in.
 * @param {{ target_id: unknown }} link
 * @param {Graph} graph
 */
export const toWall = ({ target_id }, graph) =>
  graph.outputNode !== undefined && String(target_id) === String(graph.outputNode.id);

/**
 * Wire what comes into an input, also through the wall of a subgraph, into the same input of another node of
 * its graph.
 * @param {Page.Node} node
 * @param {string} name
 * @param {Page.Node} to
 */
export function wireAlike(node, name, to) {
  const slot = inputOf(node, name);
  const link = slot < 0 ? null : node.getInputLink(slot);
  const origin = link && originOf(node, name);
  const into = inputOf(to, name);
  const input = to.inputs[into];
  if (origin) origin.node.connect(origin.slot, to, into);
  else if (link && input) graphOf(node).inputNode?.slots[link.origin_slot]?.connect(input, to);
}

/**
 * Create a node that lies in no graph yet; null if ComfyUI has none of this type.
 * @param {string} type
 */
export const createNode = (type) => /** @type {Page.Node | null} */ (window.LiteGraph.createNode(type));

/** List the nodes that are selected on the canvas. */
export const selected = () =>
  /** @type {Page.Node[]} */ ([...app.canvas.selectedItems].filter((item) => "inputs" in item));

/**
 * Make everything that a function does to the graph one step of undo.
 * @param {() => void} change
 */
export function asOneStep(change) {
  app.canvas.emitBeforeChange();
  try {
    change();
  } finally {
    app.canvas.emitAfterChange();
    app.canvas.setDirty(true, true);
  }
}
