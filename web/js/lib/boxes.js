// @ts-check
/** The boxes that nodes take on the canvas, or will take once they show their pictures. */

import { TITLE } from "./free_spot.js";
import { nodesOf } from "./graph.js";
import { resultOf } from "./results.js";

/** @typedef {import("./free_spot.js").Box} Box */

const SHOWS_PICTURE = ["KontextTurn", "KontextEdit", "KontextCompare", "KontextScript", "KontextPickTurn"];
const VUE_MORE = 300; // by which a Vue node grows beyond all room that it has, for its text and a picture
const VUE_EDGE = 16; // that a Vue node is higher than it says while it is laid out
/** Room for a picture below what can be set. */
export const PICTURE = 260;

/**
 * Tell the height that a node will have once it shows its picture.
 * @param {Page.Node} node
 */
function grownHeight(node) {
  const shown = node.imgs?.length || resultOf(node, "images");
  const waits = SHOWS_PICTURE.includes(String(node.type)) && !shown;
  if (window.LiteGraph.vueNodesMode) return vueHeight(node) + (waits ? VUE_MORE : 0);
  return waits ? Math.max(node.size[1], node.computeSize()[1] + PICTURE) : node.size[1];
}

/**
 * Measure the height of a Vue node, which may be more than its size says.
 * @param {Page.Node} node
 */
function vueHeight(node) {
  const element = document.querySelector(`.lg-node[data-node-id="${node.id}"]`);
  const height = element instanceof HTMLElement ? element.offsetHeight - TITLE : 0;
  return Math.max(node.size[1], height) + VUE_EDGE;
}

/**
 * List the boxes that the nodes of a graph take.
 * @param {import("./graph.js").Graph} graph
 * @returns {Box[]}
 */
export const boxesOf = (graph) =>
  nodesOf(graph).map((one) => [one.pos[0], one.pos[1], one.size[0], grownHeight(one)]);
