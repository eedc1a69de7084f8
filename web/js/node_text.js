// @ts-check
/** A Kontext node shows the text of its output: what is loaded, the size of a reference, what was rounded. */

import { app } from "../../../scripts/app.js";
import { ComfyWidgets } from "../../../scripts/widgets.js";
import { t } from "./words.js";

const NAME = "kontext_text";

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
    const area = widget.inputEl ?? widget.element;
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
    };
  },
});
