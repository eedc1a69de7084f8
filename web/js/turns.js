// @ts-check
/** Turns by menu and keyboard: one more behind the selected one, a branch, another seed. Each is one step of undo. */

import { app } from "../../../scripts/app.js";
import { freeSpot } from "./place.js";

const TURN = "KontextTurn";
const GAP = 60;
const KEPT = ["steps", "guidance", "fit", "layout", "anchor"];
const MOST_SEED = 2 ** 50;

/** @param {Page.Node} node @param {string} type */
const outputOf = (node, type) => (node.outputs ?? []).findIndex((one) => one.type === type);

/** @param {Page.Node} node @param {string} name */
const inputOf = (node, name) => (node.inputs ?? []).findIndex((one) => one.name === name);

/** @param {Page.Node} node @param {string} name */
const widgetOf = (node, name) => node.widgets?.find((one) => one.name === name);

/** Whether a chain comes out of a node. @param {Page.Node} node */
export const hasChain = (node) => outputOf(node, "KONTEXT_CHAIN") >= 0;

/** The turns that go on from a node. @param {Page.Node} node @returns {Page.Node[]} */
function following(node) {
  const slot = outputOf(node, "KONTEXT_CHAIN");
  const found = slot < 0 ? [] : (node.getOutputNodes(slot) ?? []);
  return /** @type {Page.Node[]} */ (found.filter((one) => one.type === TURN));
}

/** The end of the line that goes on from a node; at a fork the first way. @param {Page.Node} node */
function lastOf(node) {
  const seen = new Set([node]);
  let last = node;
  for (let [next] = following(last); next && !seen.has(next); [next] = following(last)) {
    seen.add(next);
    last = next;
  }
  return last;
}

/** Everything that a function does to the graph, as one step of undo. @param {() => void} change */
function asOneStep(change) {
  app.canvas.emitBeforeChange();
  try {
    change();
  } finally {
    app.canvas.emitAfterChange();
    app.graph.setDirtyCanvas(true, true);
  }
}

/** A new turn on the chain of a node, with its model and settings. @param {Page.Node} node */
function goOnFrom(node) {
  const turn = /** @type {Page.Node | null} */ (window.LiteGraph.createNode(TURN));
  if (!turn) return;
  app.graph.add(turn);
  const size = turn.computeSize();
  turn.setSize([Math.max(size[0], node.size[0]), Math.max(size[1], node.type === TURN ? node.size[1] : 0)]);
  const others = app.graph.nodes.filter((one) => one !== turn);
  turn.pos = freeSpot(
    others.map((one) => [one.pos[0], one.pos[1], one.size[0], one.size[1]]),
    [node.pos[0] + node.size[0] + GAP, node.pos[1], turn.size[0], turn.size[1]],
  );
  for (const name of KEPT) {
    const from = widgetOf(node, name);
    const to = widgetOf(turn, name);
    if (from && to) to.value = from.value;
  }
  node.connect(outputOf(node, "KONTEXT_CHAIN"), turn, inputOf(turn, "chain"));
  const link = node.getInputLink(inputOf(node, "model"));
  const origin = link && app.graph.getNodeById(link.origin_id);
  if (link && origin) origin.connect(link.origin_slot, turn, inputOf(turn, "model"));
  app.canvas.selectNode(turn);
}

/** Another seed. @param {Page.Node} node */
function reroll(node) {
  const seed = widgetOf(node, "seed");
  if (seed) seed.value = Math.floor(Math.random() * MOST_SEED);
}

/** What there is to do with a node: id of the command, label, whether it can be done, and how. */
const ACTIONS = [
  {
    id: "Kontext.AddTurn",
    label: "Add turn",
    key: "t",
    fits: hasChain,
    run: (/** @type {Page.Node} */ node) => goOnFrom(lastOf(node)),
  },
  { id: "Kontext.Branch", label: "Branch here", key: "b", fits: hasChain, run: goOnFrom },
  {
    id: "Kontext.Reroll",
    label: "Re-roll",
    key: "r",
    fits: (/** @type {Page.Node} */ node) =>
      String(node.comfyClass).startsWith("Kontext") && !!widgetOf(node, "seed"),
    run: reroll,
  },
];

/** @param {typeof ACTIONS[number]} action */
function runOnSelected(action) {
  const selected = /** @type {Page.Node[]} */ (Object.values(app.canvas.selected_nodes ?? {}));
  const node = selected.find(action.fits);
  if (node) asOneStep(() => action.run(node));
  else
    app.extensionManager.toast.add({
      severity: "info",
      summary: action.label,
      detail: "Select a Kontext node first: a turn, or another node that hands on a chain.",
      life: 4000,
    });
}

app.registerExtension({
  name: "Kontext.Turns",
  commands: ACTIONS.map((action) => ({
    id: action.id,
    label: action.label,
    function: () => runOnSelected(action),
  })),
  keybindings: ACTIONS.map((action) => ({
    combo: { key: action.key, alt: true },
    commandId: action.id,
  })),
  menuCommands: [{ path: ["Kontext"], commands: ACTIONS.map((action) => action.id) }],
  /** @param {Page.Node} node */
  getNodeMenuItems(node) {
    return ACTIONS.filter((action) => action.fits(node)).map((action) => ({
      content: `Kontext: ${action.label}`,
      callback: () => asOneStep(() => action.run(node)),
    }));
  },
});
