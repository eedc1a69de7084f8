// @ts-check
/** Turns by menu and keyboard: one more behind the selected one, a branch, another seed, a comparison. */

import { app } from "../../../../scripts/app.js";
import { selected } from "../lib/graph.js";
import { loadWords, t } from "../lib/translate.js";
import { ACTIONS, makesTurn, runOn } from "./actions.js";
import { writeNew } from "./tab.js";

/**
 * Do an action with nodes; the words of a turn that it adds come next.
 * @param {import("./actions.js").Action} action
 * @param {Page.Node[]} nodes
 */
function doWith(action, nodes) {
  if (runOn(action, nodes) && makesTurn(action)) writeNew();
}

app.registerExtension({
  name: "Kontext.Turns",
  commands: ACTIONS.map((action) => ({
    id: action.id,
    label: action.label,
    function: () => doWith(action, selected()),
  })),
  keybindings: ACTIONS.map((action) => ({
    combo: { key: action.key, alt: true },
    commandId: action.id,
  })),
  setup: loadWords,
  menuCommands: [{ path: ["Kontext"], commands: ACTIONS.map((action) => action.id) }],
  /**
   * Offer in a node's menu what can be done with it.
   * @param {Page.Node} node
   */
  getNodeMenuItems(node) {
    const nodes = selected().includes(node) ? selected() : [node];
    return ACTIONS.filter((action) => action.fitting(nodes).length).map((action) => ({
      content: `Kontext: ${t(action.label)}`,
      callback: () => doWith(action, nodes),
    }));
  },
});
