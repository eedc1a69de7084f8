// @ts-check
/**
 * The first turn of a graph: with a model and a picture, those that are there or new ones, as one step of
 * undo.
 */

import { app } from "../../../../scripts/app.js";
import { boxesOf } from "../lib/boxes.js";
import { freeSpot } from "../lib/free_spot.js";
import { asOneStep, createNode, inputOf, nodesOf, outputOf, selected, widgetOf } from "../lib/graph.js";

const COLUMN = 440;
/** Below what can be set, for text or a picture. @type {Record<string, number>} */
const ROOM = { KontextLoadModel: 90, KontextTurn: 260 };
const PICTURE = 200;

/** @typedef {import("../lib/graph.js").Graph} Graph */

/**
 * Add a node whose top left corner is near a place.
 * @param {Graph} graph
 * @param {string} type
 * @param {number} x
 * @param {number} y
 */
function added(graph, type, x, y) {
  const node = /** @type {Page.Node} */ (createNode(type));
  const [width, height] = node.computeSize();
  node.setSize([Math.max(width, COLUMN - 80), height + (ROOM[type] ?? PICTURE)]);
  node.pos = freeSpot(boxesOf(graph), [x, y, node.size[0], node.size[1]]);
  graph.add(node);
  return node;
}

/**
 * Wire the first output of a type to an input.
 * @param {Page.Node} from
 * @param {string} type
 * @param {Page.Node} to
 * @param {string} name
 */
const wire = (from, type, to, name) => from.connect(outputOf(from, type), to, inputOf(to, name));

/**
 * Find the first node with an output of a type.
 * @param {Page.Node[]} nodes
 * @param {string} type of output
 */
const thatGives = (nodes, type) => nodes.find((one) => outputOf(one, type) >= 0);

/**
 * Add a turn on the picture of the selected node, or on a new one, in the graph that is shown.
 * @param {number} left the page's edge, in px, right of which all is seen
 */
export function startChain(left) {
  const graph = /** @type {Graph} */ (app.canvas.graph ?? app.graph);
  asOneStep(() => {
    const { ds, canvas } = app.canvas;
    const box = canvas.getBoundingClientRect();
    const middle = (Math.max(left, box.left) + box.right) / 2 - box.left;
    const [x, y] = [middle / ds.scale - ds.offset[0] - COLUMN, box.height / 6 / ds.scale - ds.offset[1]];
    const there = nodesOf(graph);
    const model = thatGives(there, "KONTEXT_MODEL") ?? added(graph, "KontextLoadModel", x, y);
    const tiny = String(widgetOf(model, "model")?.value).startsWith("tiny"); // it knows pictures of its own alone
    const kind = tiny ? "KontextExample" : "LoadImage";
    const picture = thatGives(selected(), "IMAGE") ?? added(graph, kind, x, y);
    const right = Math.max(...[model, picture].map((one) => one.pos[0]));
    const turn = added(graph, "KontextTurn", right + COLUMN, Math.min(model.pos[1], picture.pos[1]));
    wire(model, "KONTEXT_MODEL", turn, "model");
    wire(picture, "IMAGE", turn, "image");
    app.canvas.selectNode(turn);
  });
}
