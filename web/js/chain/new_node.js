// @ts-check
/** A new node beside others, where nothing lies yet. */

import { app } from "../../../../scripts/app.js";
import { boxesOf, PICTURE } from "../lib/boxes.js";
import { freeSpot } from "../lib/free_spot.js";
import { createNode, graphOf, inputOf } from "../lib/graph.js";
import { bringIntoView } from "../lib/in_view.js";
import { t } from "../lib/translate.js";
import { chainOutput } from "./turn_kinds.js";

const GAP = 60;

/**
 * Add a node to the right of others, where nothing lies yet.
 * @param {string} type
 * @param {Page.Node[]} behind
 * @param {Page.Node} beside the one whose top it takes
 * @returns {Page.Node | null}
 */
export function newNode(type, behind, beside) {
  const made = createNode(type);
  if (!made) {
    const detail = t("This pack has no node {type}: restart ComfyUI.", { type });
    app.extensionManager.toast.add({ severity: "error", summary: type, detail });
    return null;
  }
  const graph = graphOf(beside);
  const [width, height] = made.computeSize();
  const alike = beside.type === type ? beside.size : [0, 0];
  made.setSize([Math.max(width, beside.size[0]), Math.max(height + PICTURE, alike[1] ?? 0)]);
  const right = Math.max(...behind.map((one) => one.pos[0] + one.size[0]));
  // Vue nodes of some pages take the place that a node has when it is added
  made.pos = freeSpot(boxesOf(graph), [right + GAP, beside.pos[1], made.size[0], made.size[1]]);
  graph.add(made);
  return made;
}

/**
 * Add a node behind another, chosen and in view.
 * @param {string} type
 * @param {Page.Node} node
 */
export function addBeside(type, node) {
  const added = newNode(type, [node], node);
  if (!added) return null;
  app.canvas.selectNode(added);
  bringIntoView(added);
  return added;
}

/**
 * Add what takes the chain of a turn, behind it.
 * @param {string} type
 * @param {import("../lib/wires.js").Place} place
 * @returns {import("../lib/wires.js").Place | null}
 */
export function addTaker(type, { node, host }) {
  const taker = addBeside(type, node);
  if (taker) node.connect(chainOutput(node), taker, inputOf(taker, "chain"));
  return taker && { node: taker, host };
}
