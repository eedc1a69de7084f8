// @ts-check
/**
 * What can be done with the turns of a graph: one more, a branch, another seed, a comparison. Each is one
 * step of undo.
 */

import { app } from "../../../../scripts/app.js";
import { boxesOf, PICTURE } from "../lib/boxes.js";
import { FOR_ONE_RUN } from "../lib/for_one_run.js";
import { freeSpot } from "../lib/free_spot.js";
import {
  asOneStep,
  createNode,
  graphOf,
  inputOf,
  isOurs,
  isReroute,
  nodesBehind,
  nodesOf,
  originOf,
  outputOf,
  widgetOf,
  wireAlike,
} from "../lib/graph.js";
import { bringIntoView } from "../lib/in_view.js";
import { randomSeed } from "../lib/seed.js";
import { t } from "../lib/translate.js";
import { placeOf, settingOf } from "../lib/wires.js";
import { hasChoices, makeMore } from "./more.js";

/** @typedef {import("../lib/wires.js").Place} Place */

const TURN = "KontextTurn";
const EDIT = "KontextEdit";
const COMPARE = "KontextCompare";
export const MAKES_TURNS = [TURN, "KontextScript"];
const SAVE = "KontextSaveChain";
const AT_THE_END = [SAVE, "KontextChainSheet"]; // of a line, where all of it is seen
const GAP = 60;
// All else a new turn takes over.
const OF_ONE_TURN = ["instruction", "marks", "seed", FOR_ONE_RUN, "control_after_generate"];

/**
 * Find the output that a chain comes out of; -1 if none does.
 * @param {Page.Node} node
 */
export const chainOutput = (node) => outputOf(node, "KONTEXT_CHAIN");

/**
 * Tell whether a chain comes out of a node.
 * @param {Page.Node} node
 */
export const hasChain = (node) => chainOutput(node) >= 0;

/**
 * Tell whether more turns can go on from a node: it hands on a chain, or is an edit whose result the next one
 * takes. While a node is made it has its class, and no type yet.
 * @param {Page.Node} node
 */
export const isTurn = (node) => hasChain(node) || [node.type, node.comfyClass].includes(EDIT);

/**
 * Tell whether there is a seed to change.
 * @param {Page.Node} node
 */
const hasSeed = (node) => isOurs(node) && !!widgetOf(node, "seed");

/**
 * List the turns that go on from a node.
 * @param {Page.Node} node
 * @returns {Page.Node[]}
 */
function following(node) {
  const [kinds, types] =
    node.type === EDIT ? [["LATENT", "IMAGE"], [EDIT]] : [["KONTEXT_CHAIN"], MAKES_TURNS];
  const slots = kinds.map((kind) => outputOf(node, kind)).filter((slot) => slot >= 0);
  const found = slots.flatMap((slot) => nodesBehind(node, slot));
  return found.filter((one) => types.includes(String(one.type)));
}

/**
 * Follow the line that goes on from a node to its end; at a fork the first way.
 * @param {Page.Node} node
 */
function lastOf(node) {
  const seen = new Set([node]);
  let last = node;
  for (let [next] = following(last); next && !seen.has(next); [next] = following(last)) {
    seen.add(next);
    last = next;
  }
  return last;
}

/**
 * Add a node to the right of others, where nothing lies yet.
 * @param {string} type
 * @param {Page.Node[]} behind
 * @param {Page.Node} beside the one whose top it takes
 * @returns {Page.Node | null}
 */
function newNode(type, behind, beside) {
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
 * Add what saves the chain up to a node with the next run, or show it where it is there.
 * @param {Page.Node} node
 */
export function saveBehind(node) {
  const there = nodesBehind(node, chainOutput(node)).find((one) => one.type === SAVE);
  if (there) {
    app.canvas.selectNode(there);
    return bringIntoView(there);
  }
  const save = addBeside(SAVE, node);
  if (save) node.connect(chainOutput(node), save, inputOf(save, "chain"));
}

/**
 * Add a turn on the result of a node, with the model and settings of the turn before.
 * @param {Page.Node} node
 */
function goOnFrom(node) {
  const [type, kind, name] =
    node.type === EDIT ? [EDIT, "LATENT", "latent"] : [TURN, "KONTEXT_CHAIN", "chain"];
  const turn = addBeside(type, node);
  if (!turn) return;
  const before = turnBefore(node);
  if (before) takeOver(before, turn);
  else wireModel(turn);
  const last = !following(node).length;
  node.connect(outputOf(node, kind), turn, inputOf(turn, name));
  if (last && type === TURN) moveEnd(node, turn);
}

/**
 * Find the turn that a chain comes from, past nodes that have no settings.
 * @param {Page.Node} node
 * @returns {Page.Node | null}
 */
function turnBefore(node) {
  const seen = new Set();
  for (
    let at = /** @type {Page.Node | undefined} */ (node);
    at && !seen.has(at);
    at = originOf(at, "chain")?.node
  ) {
    if (inputOf(at, "model") >= 0) return at;
    seen.add(at);
  }
  return null;
}

/**
 * Give a turn the model and all settings of another, also those that come by a wire.
 * @param {Page.Node} from
 * @param {Page.Node} to
 */
function takeOver(from, to) {
  wireAlike(from, "model", to);
  for (const widget of to.widgets ?? []) {
    const alike = widgetOf(from, widget.name);
    if (!alike || OF_ONE_TURN.includes(widget.name) || widget.options?.serialize === false) continue;
    widget.value = alike.value;
    wireAlike(from, widget.name, to);
  }
}

/**
 * Wire a turn to a model of its graph, if there is one.
 * @param {Page.Node} turn
 */
function wireModel(turn) {
  const model = nodesOf(graphOf(turn)).find((one) => outputOf(one, "KONTEXT_MODEL") >= 0);
  model?.connect(outputOf(model, "KONTEXT_MODEL"), turn, inputOf(turn, "model"));
}

/**
 * Rewire what shows or saves all of a line to its new end.
 * @param {Page.Node} from
 * @param {Page.Node} to
 */
export function moveEnd(from, to) {
  const slot = chainOutput(from);
  for (const one of nodesBehind(from, slot)) {
    if (!atTheEnd(one)) continue;
    (one.inputs ?? []).forEach((_, input) => {
      const link = one.getInputLink(input);
      if (link && String(link.origin_id) === String(from.id) && link.origin_slot === slot)
        to.connect(chainOutput(to), one, input);
    });
  }
}

/**
 * Tell whether a node is for all of a line, or leads only to such.
 * @param {Page.Node} node
 * @param {Set<Page.Node>} [seen]
 * @returns {boolean}
 */
function atTheEnd(node, seen = new Set()) {
  if (AT_THE_END.includes(String(node.type))) return true;
  if (!isReroute(node) || seen.has(node)) return false;
  seen.add(node);
  const next = nodesBehind(node, 0);
  return next.length > 0 && next.every((one) => atTheEnd(one, seen));
}

/**
 * Draw another seed, where a run takes it from.
 * @param {Page.Node} node
 * @param {Place | null} [place] one of several that show it
 */
function reroll(node, place = placeOf(node)) {
  const seed = place && settingOf(place, "seed");
  if (seed) seed.value = randomSeed();
  else {
    const detail = t("The seed comes from another node: change it there.");
    app.extensionManager.toast.add({ severity: "info", summary: t("Re-roll"), detail, life: 4000 });
  }
}

/**
 * Tell whether one node's chain has gone through another.
 * @param {Page.Node} node
 * @param {Page.Node} earlier
 */
function comesFrom(node, earlier) {
  const seen = new Set();
  for (
    let at = originOf(node, "chain")?.node;
    at && !seen.has(at);
    at = originOf(at, "chain")?.node ?? undefined
  ) {
    if (at === earlier) return true;
    seen.add(at);
  }
  return false;
}

/**
 * Add a Kontext Compare behind two nodes.
 * Of a single node: behind it and the node that its chain comes from, or else between the start of its chain
 * and the end.
 * @param {Page.Node[]} nodes
 */
function compare(nodes) {
  let [first, second] = nodes;
  if (!first) return;
  if (second) {
    if (comesFrom(first, second)) [first, second] = [second, first];
  } else {
    const parent = originOf(first, "chain")?.node;
    if (parent && hasChain(parent)) [first, second] = [parent, first];
  }
  const made = newNode(COMPARE, second ? [first, second] : [first], second ?? first);
  if (!made) return;
  first.connect(chainOutput(first), made, inputOf(made, "chain"));
  const turn = widgetOf(made, "turn");
  if (second) {
    second.connect(chainOutput(second), made, inputOf(made, "other"));
    if (turn) turn.value = -1; // the last turn of each
  }
  app.canvas.selectNode(made);
}

/**
 * What there is to do with nodes.
 * @typedef {object} Action
 * @property {string} id of its command
 * @property {string} label
 * @property {string} key with Alt
 * @property {string} icon
 * @property {string} need what to select first
 * @property {(nodes: Page.Node[]) => Page.Node[]} fitting those of the nodes that it is done with; none: it
 *   cannot be
 * @property {(nodes: Page.Node[], place?: Place) => void} run of a single one also its place, where that is
 *   known
 */

const NEED = "First select a Kontext node: a turn, an edit, or another node that outputs a chain.";

/**
 * Make the `fitting` of an action that is done with one node: the first that fits.
 * @param {(node: Page.Node) => boolean} fits
 * @returns {(nodes: Page.Node[]) => Page.Node[]}
 */
const firstThat = (fits) => (nodes) => nodes.filter(fits).slice(0, 1);

/** @type {Action[]} */
export const ACTIONS = [
  {
    id: "Kontext.AddTurn",
    label: "Add turn",
    key: "t",
    icon: "pi-plus",
    need: NEED,
    fitting: firstThat(isTurn),
    run: ([node]) => node && goOnFrom(lastOf(node)),
  },
  {
    id: "Kontext.Branch",
    label: "Branch here",
    key: "b",
    icon: "pi-sitemap",
    need: NEED,
    fitting: firstThat(isTurn),
    run: ([node]) => node && goOnFrom(node),
  },
  {
    id: "Kontext.Reroll",
    label: "Re-roll",
    key: "r",
    icon: "pi-refresh",
    need: "First select a Kontext node with a seed.",
    fitting: firstThat(hasSeed),
    run: ([node], place) => node && reroll(node, place),
  },
  {
    id: "Kontext.More",
    label: "4 more",
    key: "v", // Alt+M is the minimap's
    icon: "pi-images",
    need: "First select a Kontext Turn.",
    fitting: firstThat(hasChoices),
    run: ([node], place) => node && void makeMore(place ?? placeOf(node)),
  },
  {
    id: "Kontext.Compare",
    label: "Compare",
    key: "k", // Alt+C folds nodes up
    icon: "pi-arrows-h",
    need: "First select one or two Kontext nodes that output a chain.",
    fitting(nodes) {
      const found = nodes.filter(hasChain);
      return found.length > 2 ? [] : found;
    },
    run: compare,
  },
];

/**
 * Tell whether an action puts a turn into the graph, whose words come next.
 * @param {Action} action
 */
export const makesTurn = ({ id }) => id === "Kontext.AddTurn" || id === "Kontext.Branch";

/**
 * Do an action with those of the nodes that it fits, as one step of undo, or say what is missing.
 * @param {Action} action
 * @param {Page.Node[]} nodes
 * @param {Place} [place] of a single one
 * @returns {boolean} whether it was done
 */
export function runOn(action, nodes, place) {
  const found = action.fitting(nodes);
  if (found.length) asOneStep(() => action.run(found, place));
  else
    app.extensionManager.toast.add({
      severity: "info",
      summary: t(action.label),
      detail: t(action.need),
      life: 4000,
    });
  return found.length > 0;
}
