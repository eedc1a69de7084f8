// @ts-check
/** Runs of all of the workflow, or only of what one turn needs. */

import { app } from "../../../../scripts/app.js";
import { t } from "../lib/translate.js";

/** @typedef {import("./read_graph.js").Turn} Turn */

/**
 * Tell whether the server can be asked for a node's result: that it shows something.
 * @param {Page.Node} node
 */
export const isTarget = (node) =>
  /** @type {{ nodeData?: { output_node?: boolean } }} */ (/** @type {unknown} */ (node.constructor)).nodeData
    ?.output_node === true;

/**
 * Find the turn that a run up to another makes at last: that one, or the nearest before it that is not off.
 * @param {Turn | undefined} turn
 * @param {Map<string, Turn>} turns
 * @returns {Turn | null} null where there is nothing to make
 */
export function lastMade(turn, turns) {
  const seen = new Set();
  for (let at = turn; at && !seen.has(at); at = turns.get(at.parent?.id ?? "")) {
    if (!at.off) return isTarget(at.node) ? at : null;
    seen.add(at);
  }
  return null;
}

/** Queue all of the workflow, as ComfyUI's own button does. */
export const runAll = () => app.extensionManager.command.execute("Comfy.QueuePrompt");

/**
 * Queue only what a turn needs.
 * @param {Turn | undefined} turn
 * @param {Map<string, Turn>} turns
 */
export function runUpTo(turn, turns) {
  const last = lastMade(turn, turns);
  if (last) void app.queuePrompt(0, 1, [last.id]);
  else
    app.extensionManager.toast.add({
      severity: "info",
      summary: t("Run up to here"),
      detail: t("There is nothing to run: no turn up to here makes a picture."),
      life: 4000,
    });
}
