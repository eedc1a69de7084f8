// @ts-check
/**
 * A Kontext node shows the text of its output: what is loaded, the size of a reference, what was rounded; or
 * why it failed.
 */

import { app } from "../../../../scripts/app.js";
import { ComfyWidgets } from "../../../../scripts/widgets.js";
import { isOurs, widgetOf } from "../lib/graph.js";
import { PICTURE_WIDGET, resultsOf, TEXT_WIDGET, WIPE_WIDGET } from "../lib/results.js";
import { t } from "../lib/translate.js";
import { everyPlace, idOf, isOff } from "../lib/wires.js";
import { onLoaded } from "../lib/workflow.js";
import { Signatures } from "../run/signature.js";
import { isForeign, onRun, shownRun } from "../run/watch.js";

const LOOK_MS = 100;
const PATIENCE = 100; // looks

/**
 * Read the text of a node's output; "" if it has none.
 * @param {Page.Output | undefined} output
 */
export function textOf(output) {
  return (output?.text ?? []).join("\n");
}

/**
 * Find the place for the text.
 * @param {Page.Node} node
 * @returns {Page.TextWidget | undefined}
 */
const infoOf = (node) => /** @type {Page.TextWidget | undefined} */ (widgetOf(node, TEXT_WIDGET));

/**
 * Show a text in a node.
 * @param {Page.Node} node
 * @param {string} text
 * @param {boolean} [failed]
 */
function show(node, text, failed = false) {
  const widget = infoOf(node) ?? (text ? added(node) : undefined);
  if (!widget) return;
  const area = widget.element ?? widget.inputEl; // newer pages warn of the latter
  if (area) area.style.color = failed ? "var(--error-text)" : "";
  if (widget.value !== text) widget.value = text;
  node.graph?.setDirtyCanvas(true, false);
}

/**
 * Add the place for the text, for which the node grows once: it is the same size with every later run.
 * @param {Page.Node} node
 */
function added(node) {
  const widget = ComfyWidgets.STRING(node, TEXT_WIDGET, ["STRING", { multiline: true }], app).widget;
  widget.label = t("Info");
  widget.serialize = false; // neither in the workflow
  widget.options.serialize = false; // nor in what is queued
  const area = widget.element ?? widget.inputEl;
  if (area) {
    area.readOnly = true;
    area.style.opacity = "0.7";
  }
  const widgets = node.widgets ?? [];
  const picture = widgets.findIndex(({ name }) => [PICTURE_WIDGET, WIPE_WIDGET].includes(name));
  // the same order in all nodes
  if (picture >= 0) widgets.splice(picture, 0, ...widgets.splice(widgets.indexOf(widget), 1));
  const wanted = node.computeSize();
  if (wanted[0] > node.size[0] || wanted[1] > node.size[1])
    node.setSize([Math.max(node.size[0], wanted[0]), Math.max(node.size[1], wanted[1])]);
  return widget;
}

/**
 * Have a node drawn once more when its picture is there.
 * The page adds a node's picture while it draws the node, and gives the node room for it when it draws it
 * once more: which is asked for here, or the picture would hang out of the node until then.
 * @param {Page.Node} node
 * @param {number} [looks]
 */
function giveRoom(node, looks = PATIENCE) {
  if (widgetOf(node, PICTURE_WIDGET)) app.graph.setDirtyCanvas(true, true);
  else if (looks && node.graph) setTimeout(() => giveRoom(node, looks - 1), LOOK_MS);
}

/**
 * Let every node say what is true of it now: after a graph was loaded, or a run has begun, failed or ended.
 */
function refresh() {
  const run = shownRun();
  const signatures = new Signatures();
  for (const place of everyPlace()) {
    const { node } = place;
    if (!isOurs(node)) continue;
    const id = idOf(place);
    const state = run.failures.has(id) ? run.of(id, signatures.of(place)) : null;
    if (isOff(place) && run.unmet.has(id))
      show(node, t("This turn is off, and not every node after it can take what comes before it."));
    else if (state?.kind === "failed" && state.why) show(node, t("Failed: {why}", { why: state.why }), true);
    else show(node, textOf(resultsOf(node)));
  }
}

app.registerExtension({
  name: "Kontext.NodeText",
  setup() {
    onLoaded(refresh);
    onRun((kind) => kind !== "progress_state" && kind !== "executed" && refresh());
    app.api.addEventListener("graphChanged", () => shownRun().failures.size && refresh());
  },
  /**
   * Let a new node show the text of its results.
   * @param {Page.Node} node
   */
  nodeCreated(node) {
    if (!isOurs(node)) return;
    const before = node.onExecuted;
    node.onExecuted = function (output) {
      before?.call(this, output);
      if (isForeign()) return;
      show(this, textOf(output));
      if (output?.images?.length && !window.LiteGraph.vueNodesMode) giveRoom(this);
    };
  },
});
