// @ts-check
/** What the workflow says about its turns, also those inside subgraphs. */

import { app } from "../../../scripts/app.js";
import { hasChain, inputOf, widgetOf } from "./actions.js";
import { linesOf } from "./chain_tree.js";
import { pictureOf } from "./node_picture.js";
import { beginOf, everyPlace, idOf } from "./wires.js";

/** @typedef {import("./wires.js").Place} Place */

const BYPASSED = 4;
const MUTED = 2;
const SETTLED_MS = 150; // until the page has found where it was in a graph that it shows again

/**
 * @typedef {object} Turn A node that hands on a chain, as the panel shows it.
 * @property {string} id as the server names its node
 * @property {Page.Node} node
 * @property {Place} place
 * @property {string[]} children ids of the turns that go on from it, in order of wiring
 * @property {{ id: string, wire: number } | null} parent the one that it goes on from
 * @property {number | null} turns how many it adds, null if what came before it is not known behind it
 * @property {string} kind the type of its node
 * @property {string} title what the user named it, "" if nothing else than its type
 * @property {string} instruction or what else it does
 * @property {number | null} seed
 * @property {string} after address of its picture
 * @property {string} before address of the picture it goes on from
 * @property {boolean} off whether it is muted or bypassed
 */

/** Where the chain of a node comes from, or its first picture. @param {Place} place @returns {import("./wires.js").Origin | null} */
function sourceOf(place) {
  const inputs = place.node.inputs ?? [];
  const chain = beginOf(
    place,
    inputs.findIndex((one) => one.type === "KONTEXT_CHAIN"),
  );
  return chain ?? beginOf(place, inputOf(place.node, "image"));
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

/** @param {Place} place @returns {Turn} */
function turnOf(place) {
  const { node } = place;
  const [turns, instruction] = turnsAndWords(node);
  const seed = widgetOf(node, "seed")?.value;
  const plain = [node.constructor?.title, node.type].includes(node.title);
  const source = sourceOf(place);
  const chained = source && hasChain(source.place.node);
  return {
    id: idOf(place),
    node,
    place,
    children: [],
    parent: chained ? { id: idOf(source.place), wire: source.wire } : null,
    turns,
    kind: String(node.type),
    title: plain ? "" : String(node.title ?? ""),
    instruction,
    seed: typeof seed === "number" ? seed : null,
    after: pictureOf(node),
    before: source ? pictureOf(source.place.node) : "",
    off: node.mode === BYPASSED || node.mode === MUTED,
  };
}

/**
 * All of them, in the order of the graph. Each step of reading them is short.
 * @param {Map<string, Turn>} found is filled with them by their ids @returns {Generator<void>}
 */
export function* readTurns(found) {
  for (const place of everyPlace()) {
    if (!hasChain(place.node)) continue;
    const turn = turnOf(place);
    found.set(turn.id, turn);
    yield;
  }
  const wired = [...found.values()].filter((one) => one.parent);
  wired.sort((one, other) => (one.parent?.wire ?? 0) - (other.parent?.wire ?? 0));
  for (const { id, parent } of wired) found.get(parent?.id ?? "")?.children.push(id);
}

/** Show the graph that a turn lies in. @param {Turn} turn @returns {boolean} whether another was shown */
export function openGraphOf({ node, place }) {
  const { graph } = node;
  if (!graph || app.canvas.graph === graph) return false;
  if (place.host?.node.isSubgraphNode()) app.canvas.openSubgraph(place.host.node.subgraph, place.host.node);
  else app.canvas.setGraph(graph);
  return true;
}

/** Show a turn's node on the canvas and select it. @param {Turn} turn */
export function jumpTo(turn) {
  const show = () => {
    if (app.canvas.graph !== turn.node.graph) return;
    app.canvas.selectNode(turn.node);
    app.canvas.centerOnNode(turn.node);
    app.canvas.setDirty(true, true);
  };
  const other = openGraphOf(turn);
  show();
  if (other) setTimeout(show, SETTLED_MS);
}
