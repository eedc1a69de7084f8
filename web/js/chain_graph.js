// @ts-check
/** What the graph on the canvas says about its turns. */

import { app } from "../../../scripts/app.js";
import { chainOutput, hasChain, inputOf, widgetOf } from "./actions.js";
import { linesOf } from "./chain_tree.js";
import { pictureBefore, pictureOf } from "./node_picture.js";

const BYPASSED = 4;
const MUTED = 2;

/**
 * @typedef {object} Turn A node that hands on a chain, as the panel shows it.
 * @property {string} id
 * @property {Page.Node} node
 * @property {string[]} children
 * @property {number | null} turns how many it adds, null if what came before it is not known behind it
 * @property {string} kind the type of its node
 * @property {string} title what the user named it, "" if nothing else than its type
 * @property {string} instruction or what else it does
 * @property {number | null} seed
 * @property {string} after address of its picture
 * @property {string} before address of the picture it goes on from
 * @property {boolean} off whether it is muted or bypassed
 */

/** The graph on the canvas. */
export const shownGraph = () => app.canvas?.graph ?? app.graph;

/** @param {string} id @returns {Page.Node | null} */
export function nodeOf(id) {
  return (
    /** @type {Page.Node | undefined} */ (shownGraph()?.nodes.find((one) => String(one.id) === id)) ?? null
  );
}

/** Where the chain of a node leads, past nodes that only lead a wire round. @param {Page.Node} node @returns {Page.Node[]} */
function leadsTo(node, slot = chainOutput(node), seen = new Set([node])) {
  const found = /** @type {Page.Node[]} */ ((slot < 0 ? null : node.getOutputNodes(slot)) ?? []);
  return found.flatMap((one) => {
    if (one.type !== "Reroute") return hasChain(one) ? [one] : [];
    if (seen.has(one)) return [];
    return leadsTo(one, 0, seen.add(one));
  });
}

/** @param {Page.Node} node @param {string} name */
const textOf = (node, name) => String(widgetOf(node, name)?.value ?? "");

/** Whether a widget's value comes by a wire. @param {Page.Node} node @param {string} name */
export const isWired = (node, name) => node.inputs?.[inputOf(node, name)]?.link != null;

/** @param {Page.Node} node @returns {[number | null, string]} */
function turnsAndWords(node) {
  if (node.type === "KontextTurn")
    return [1, isWired(node, "instruction") ? "…" : textOf(node, "instruction")];
  if (node.type === "KontextScript") {
    const lines = linesOf(textOf(node, "script"));
    return isWired(node, "script") ? [null, "…"] : [lines.length, lines.join(" · ")];
  }
  if (node.type === "KontextPickTurn") return [null, textOf(node, "turn")];
  return [null, textOf(node, "file") || textOf(node, "image")];
}

/** @param {Page.Node} node @returns {Turn} */
function turnOf(node) {
  const [turns, instruction] = turnsAndWords(node);
  const seed = widgetOf(node, "seed")?.value;
  const plain = [node.constructor?.title, node.type].includes(node.title);
  return {
    id: String(node.id),
    node,
    children: leadsTo(node).map((one) => String(one.id)),
    turns,
    kind: String(node.type),
    title: plain ? "" : String(node.title ?? ""),
    instruction,
    seed: typeof seed === "number" ? seed : null,
    after: pictureOf(node),
    before: pictureBefore(node),
    off: node.mode === BYPASSED || node.mode === MUTED,
  };
}

/** All of them, in the order of the graph. @returns {Turn[]} */
export function turnsOf() {
  const nodes = /** @type {Page.Node[]} */ (shownGraph()?.nodes ?? []);
  return nodes.filter(hasChain).map(turnOf);
}
