// @ts-check
/** What the workflow says about its turns, also those inside subgraphs. */

import { app } from "../../../../scripts/app.js";
import { inputOf, isWired, widgetOf } from "../lib/graph.js";
import { SETTLED_MS, showGraphOf } from "../lib/in_view.js";
import { pictureOf } from "../lib/node_picture.js";
import { feedOf } from "../lib/passing.js";
import { addressOf } from "../lib/results.js";
import { beginOf, everyPlace, idOf, isOff, settingOf } from "../lib/wires.js";
import { Signatures } from "../run/signature.js";
import { shownRun } from "../run/watch.js";
import { showAgain } from "./more.js";
import { colourOf, noteOf } from "./note.js";
import { linesOf } from "./tree.js";
import { isTurn } from "./turn_kinds.js";

/** @typedef {import("../lib/wires.js").Place} Place */

const NUMBERED = /^Turn \d+$/; // the name that a template gives; the panel counts by itself

/**
 * @typedef {object} Turn A node that turns go on from, as the panel shows it.
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
 * @property {string} signature of all that its result depends on
 * @property {string} after address of its picture
 * @property {string} before address of the picture it goes on from
 * @property {import("../run/state.js").Stored | null} made the picture of its last run, with what is known of it
 * @property {boolean} off whether it is muted or bypassed
 * @property {string} note what the user noted at it
 * @property {{ name: string, shown: string }} colour of its node
 */

/**
 * Find the input that has what a node goes on from: a chain, or else a picture; -1 if there is none.
 * @param {Page.Node} node
 */
function inputBefore(node) {
  const inputs = node.inputs ?? [];
  const all = [
    ...inputs.flatMap((one, slot) => (one.type === "KONTEXT_CHAIN" ? [slot] : [])),
    inputOf(node, "latent"),
    inputOf(node, "image"),
  ];
  return all.find((slot) => slot >= 0 && node.isInputConnected(slot)) ?? -1;
}

/**
 * Find the node that a turn goes on from as it is drawn, past what only draws upon the picture.
 * @param {Place} place
 */
function drawnBefore(place) {
  let before = beginOf(place, inputBefore(place.node));
  for (let depth = 0; before?.place.node.type === "KontextVisualCue" && depth < 100; depth++)
    before = beginOf(before.place, inputOf(before.place.node, "image"));
  return before;
}

/**
 * Find the last picture of a node: that of its last run in this workflow, or else what the page shows in it.
 * @param {Place} place
 */
function lastPicture(place) {
  const made = lastMade(place);
  return made ? addressOf(made) : pictureOf(place.node);
}

/**
 * Get the picture of a node's last run in this workflow.
 * @param {Place} place
 */
const lastMade = (place) => shownRun().results.get(idOf(place))?.image ?? null;

/**
 * Read a widget's value as text.
 * @param {Page.Node} node
 * @param {string} name
 */
const textOf = (node, name) => String(widgetOf(node, name)?.value ?? "");

/**
 * Tell whether a node has an instruction of its own.
 * @param {Page.Node} node
 */
export const isEditable = (node) => ["KontextTurn", "KontextEdit"].includes(String(node.type));

/**
 * Tell whether a node's title is only the number that a template gave it.
 * @param {Page.Node} node
 */
export const isNumbered = (node) => NUMBERED.test(String(node.title ?? ""));

/**
 * Count the turns that a node adds, and read its instruction or what else it does.
 * @param {Place} place
 * @returns {[number | null, string]}
 */
function turnsAndWords(place) {
  const { node } = place;
  if (isEditable(node)) return [1, String((settingOf(place, "instruction") ?? { value: "…" }).value ?? "")];
  if (node.type === "KontextScript") {
    const lines = linesOf(textOf(node, "script"));
    return isWired(node, "script") ? [null, "…"] : [lines.length, lines.join(" · ")];
  }
  if (node.type === "KontextPickTurn") return [null, textOf(node, "turn")];
  return [null, textOf(node, "file") || textOf(node, "image")];
}

/**
 * Describe a node that turns go on from.
 * @param {Place} place
 * @param {Signatures} signatures
 * @returns {Turn}
 */
function turnOf(place, signatures) {
  const { node } = place;
  const [turns, instruction] = turnsAndWords(place);
  const off = isOff(place);
  const seed = settingOf(place, "seed")?.value;
  const title = String(node.title ?? "");
  const plain = [node.constructor?.title, node.type].includes(title) || isNumbered(node);
  const drawn = drawnBefore(place);
  const ran = feedOf(place, inputBefore(node)).origin;
  return {
    id: idOf(place),
    node,
    place,
    children: [],
    parent: drawn && isTurn(drawn.place.node) ? { id: idOf(drawn.place), wire: drawn.wire } : null,
    turns: off ? 0 : turns,
    kind: String(node.type),
    title: plain ? "" : title,
    instruction,
    seed: typeof seed === "number" ? seed : null,
    signature: signatures.of(place),
    after: lastPicture(place),
    made: lastMade(place),
    before: ran ? lastPicture(ran.place) : "",
    off,
    note: noteOf(node),
    colour: colourOf(node),
  };
}

/**
 * Read all turns, in the order of the graph. Those that are what they were once have their picture of then.
 * Each step of reading them is short.
 * @param {Map<string, Turn>} found is filled with them by their ids
 * @returns {Generator<void>}
 */
export function* readTurns(found) {
  const signatures = new Signatures();
  const places = [...everyPlace()].filter(({ node }) => isTurn(node));
  for (const place of places) {
    const image = shownRun().recall(idOf(place), signatures.of(place));
    if (image) showAgain(place.node, image);
    yield;
  }
  for (const place of places) {
    const turn = turnOf(place, signatures);
    found.set(turn.id, turn);
    yield;
  }
  const wired = [...found.values()].filter((one) => one.parent);
  wired.sort((one, other) => (one.parent?.wire ?? 0) - (other.parent?.wire ?? 0));
  for (const { id, parent } of wired) found.get(parent?.id ?? "")?.children.push(id);
}

/**
 * Show a turn's node on the canvas and select it.
 * @param {Turn} turn
 */
export function jumpTo(turn) {
  const show = () => {
    if (app.canvas.graph !== turn.node.graph) return;
    app.canvas.selectNode(turn.node);
    app.canvas.centerOnNode(turn.node);
    app.canvas.setDirty(true, true);
  };
  const other = showGraphOf(turn.place);
  show();
  if (other) setTimeout(show, SETTLED_MS);
}
