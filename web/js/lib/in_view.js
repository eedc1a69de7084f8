// @ts-check
/** Brings a node on the canvas into view, beside the chain panel where that lies over it. */

import { app } from "../../../../scripts/app.js";
import { TITLE } from "./free_spot.js";

/** How long the page takes to find where it was in a graph that it shows again. */
export const SETTLED_MS = 150;
const MARGIN = 24; // px around it

/**
 * Find by how much a stretch has to be moved to lie within another; its start where it is longer than that.
 * @param {[number, number]} stretch from, to
 * @param {[number, number]} within from, to
 */
export function shiftInto([from, to], [first, last]) {
  if (from < first || to - from > last - first) return first - from;
  return to > last ? last - to : 0;
}

/**
 * Measure what is seen of the canvas: from left to right and from top to bottom, in px from its corner.
 * @returns {{ across: [number, number], down: [number, number] }}
 */
function seen() {
  const box = app.canvas.canvas.getBoundingClientRect();
  const panel = document.querySelector(".kontext-panel")?.getBoundingClientRect();
  let [left, right] = [box.left, box.right];
  if (panel && panel.right - left < right - panel.left) left = Math.max(left, panel.right);
  else if (panel) right = Math.min(right, panel.left);
  return {
    across: [left - box.left + MARGIN, right - box.left - MARGIN],
    down: [MARGIN, box.height - MARGIN],
  };
}

/**
 * Show the graph that a node lies in.
 * @param {import("../lib/wires.js").Place} place
 * @returns {boolean} whether another was shown
 */
export function showGraphOf({ node, host }) {
  const { graph } = node;
  if (!graph || app.canvas.graph === graph) return false;
  if (host?.node.isSubgraphNode()) app.canvas.openSubgraph(host.node.subgraph, host.node);
  else app.canvas.setGraph(graph);
  return true;
}

/**
 * Move the canvas so far that a node of the graph that is shown can be seen.
 * @param {Page.Node} node
 */
export function bringIntoView(node) {
  const { ds } = app.canvas;
  if (node.graph !== app.canvas.graph) return;
  const { across, down } = seen();
  const [x, y] = [(node.pos[0] + ds.offset[0]) * ds.scale, (node.pos[1] - TITLE + ds.offset[1]) * ds.scale];
  const [width, height] = [node.size[0] * ds.scale, (node.size[1] + TITLE) * ds.scale];
  ds.offset[0] += shiftInto([x, x + width], across) / ds.scale;
  ds.offset[1] += shiftInto([y, y + height], down) / ds.scale;
  app.canvas.setDirty(true, true);
}
