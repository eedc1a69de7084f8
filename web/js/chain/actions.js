// @ts-check
/**
 * What can be done with the turns of a graph: one more, a branch, another seed, a comparison. Each is one
 * step of undo.
 */

import { app } from "../../../../scripts/app.js";
import { asOneStep, inputOf, isOurs, originOf, widgetOf } from "../lib/graph.js";
import { randomSeed } from "../lib/seed.js";
import { t } from "../lib/translate.js";
import { placeOf, settingOf } from "../lib/wires.js";
import { goOnFrom, lastOf } from "./go_on.js";
import { hasChoices, makeMore } from "./more.js";
import { newNode } from "./new_node.js";
import { chainOutput, hasChain, isTurn } from "./turn_kinds.js";

/** @typedef {import("../lib/wires.js").Place} Place */

const COMPARE = "KontextCompare";

/**
 * Tell whether there is a seed to change.
 * @param {Page.Node} node
 */
const hasSeed = (node) => isOurs(node) && !!widgetOf(node, "seed");

/**
 * Find where a node lies, unless that is known.
 * @param {Page.Node} node
 * @param {Place} [place]
 * @returns {Place}
 */
const placed = (node, place) => place ?? placeOf(node) ?? { node, host: null };

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
    run: ([node], place) => node && goOnFrom(lastOf(placed(node, place))),
  },
  {
    id: "Kontext.Branch",
    label: "Branch here",
    key: "b",
    icon: "pi-sitemap",
    need: NEED,
    fitting: firstThat(isTurn),
    run: ([node], place) => node && goOnFrom(placed(node, place)),
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
