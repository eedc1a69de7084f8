// @ts-check
/** Saves a line of turns, or one turn before and after, as an animation: a Kontext Chain Sheet writes it. */

import { app } from "../../../../scripts/app.js";
import { asOneStep, isWired, widgetOf } from "../lib/graph.js";
import { bringIntoView, showGraphOf } from "../lib/in_view.js";
import { t } from "../lib/translate.js";
import { takersOf } from "../lib/wires.js";
import { lastOf } from "./go_on.js";
import { isSwitchedOff, toggle } from "./line.js";
import { addTaker } from "./new_node.js";
import { chainOutput, hasChain, MAKES_TURNS, SHEET } from "./turn_kinds.js";

/** @typedef {import("../lib/wires.js").Place} Place */
/** @typedef {import("./panel.js").Panel} Panel */

const LAST_TWO = -2; // the turn a sheet begins with that shows the last one before and after

/** What can be saved, by the ids of the commands. */
const KINDS = /** @type {const} */ ([
  { id: "animation-gif", label: "Chain as GIF", format: "gif", pair: false },
  { id: "animation-webp", label: "Chain as WebP", format: "webp", pair: false },
  { id: "animation-pair-gif", label: "Before and after as GIF", format: "gif", pair: true },
  { id: "animation-pair-webp", label: "Before and after as WebP", format: "webp", pair: true },
]);

/** @typedef {typeof KINDS[number]} Kind */

/**
 * Find a sheet behind a turn that shows what is asked for, and whose settings are its own.
 * @param {Place} place
 * @param {boolean} pair
 */
function sheetBehind(place, pair) {
  const own = (/** @type {Page.Node} */ node) => ["first", "animation"].every((name) => !isWired(node, name));
  return takersOf(place, chainOutput(place.node)).find(
    ({ node }) => node.type === SHEET && own(node) && (widgetOf(node, "first")?.value === LAST_TWO) === pair,
  );
}

/**
 * Have the next run write an animation: of the line of a turn, or of the turn before and after.
 * @param {Place} place
 * @param {Kind} kind
 */
function animate(place, { format, pair }) {
  const end = pair ? place : lastOf(place);
  const known = sheetBehind(end, pair);
  showGraphOf(known ?? end);
  const sheet = known ?? addTaker(SHEET, end);
  if (!sheet) return;
  const { node } = sheet;
  /** @type {[string, unknown][]} */
  const values = [
    ["animation", format],
    ...(pair ? /** @type {[string, unknown][]} */ ([["first", LAST_TWO]]) : []),
  ];
  for (const [name, value] of values) {
    const widget = widgetOf(node, name);
    if (!widget) continue;
    widget.value = /** @type {any} */ (value);
    widget.callback?.(value);
  }
  if (isSwitchedOff(node)) toggle(node);
  app.canvas.selectNode(node);
  bringIntoView(node);
}

/**
 * List what can be saved of a turn, for a menu.
 * @param {Panel} panel
 * @param {import("./read_graph.js").Turn} turn
 * @returns {import("./menu.js").Item[]}
 */
export function animationItems(panel, { node, place }) {
  return KINDS.map((kind) => ({
    id: kind.id,
    label: t(kind.label),
    icon: kind.pair ? "pi-arrows-h" : "pi-images",
    disabled: !hasChain(node) || (kind.pair && !MAKES_TURNS.includes(String(node.type))),
    run() {
      asOneStep(() => animate(place, kind));
      panel.redraw();
      app.extensionManager.toast.add({
        severity: "info",
        summary: t("Save as animation"),
        detail: t("The next run saves it to kontext/ in ComfyUI's output folder."),
        life: 4000,
      });
    },
  }));
}
