// @ts-check
/** A Kontext node shows the text of its output: what is loaded, the size of a reference, what was rounded. */

import { app } from "../../../scripts/app.js";
import { ComfyWidgets } from "../../../scripts/widgets.js";
import { t } from "./words.js";

const NAME = "kontext_text";
const PICTURE = "$$canvas-image-preview"; // the page's widget for a node's picture
const LOOK_MS = 100;
const PATIENCE = 100; // looks

/** The text of a node's output, "" if it has none. @param {Page.Output | undefined} output */
export function textOf(output) {
  return (output?.text ?? []).join("\n");
}

/** @param {Page.Node} node @param {string} text */
function show(node, text) {
  let widget = /** @type {Page.TextWidget | undefined} */ (node.widgets?.find((one) => one.name === NAME));
  if (!widget) {
    widget = ComfyWidgets.STRING(node, NAME, ["STRING", { multiline: true }], app).widget;
    widget.label = t("Info");
    widget.serialize = false; // neither in the workflow
    widget.options.serialize = false; // nor in what is queued
    const area = widget.element ?? widget.inputEl; // newer pages warn of the latter
    if (area) {
      area.readOnly = true;
      area.style.opacity = "0.7";
    }
  }
  widget.value = text;
  const wanted = node.computeSize();
  node.setSize([Math.max(node.size[0], wanted[0]), Math.max(node.size[1], wanted[1])]);
  app.graph.setDirtyCanvas(true, false);
}

/**
 * The page adds a node's picture while it draws the node, and gives the node room for it when it draws it once more: which
 * is asked for here, or the picture would hang out of the node until then. @param {Page.Node} node @param {number} [looks]
 */
function giveRoom(node, looks = PATIENCE) {
  if (node.widgets?.some((one) => one.name === PICTURE)) app.graph.setDirtyCanvas(true, true);
  else if (looks && node.graph) setTimeout(() => giveRoom(node, looks - 1), LOOK_MS);
}

app.registerExtension({
  name: "Kontext.NodeText",
  /** @param {Page.Node} node */
  nodeCreated(node) {
    if (!String(node.comfyClass).startsWith("Kontext")) return;
    const before = node.onExecuted;
    node.onExecuted = function (output) {
      before?.call(this, output);
      const text = textOf(output);
      if (text || this.widgets?.some((one) => one.name === NAME)) show(this, text);
      if (output?.images?.length && !window.LiteGraph.vueNodesMode) giveRoom(this);
    };
  },
});
