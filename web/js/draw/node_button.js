// @ts-check
/**
 * The button that stands in a node for what is drawn for it: the marks themselves are numbers for the machine,
 * and hidden.
 */

import { isWired, widgetOf } from "../lib/graph.js";
import { setHidden } from "../lib/hide.js";
import { t } from "../lib/translate.js";
import { isArea, readMarks } from "../marks/format.js";

const LABEL = "Draw on the picture";

const PAINTED_MS = 100; // after which a page has shown what it shows by itself

/** @type {WeakMap<Page.Node, ReturnType<Page.Node["addWidget"]>>} */
const buttons = new WeakMap();

/**
 * Say in short what is drawn in a text of marks.
 * @param {string} text
 */
export function summary(text) {
  try {
    const marks = readMarks(text);
    const areas = marks.filter(isArea).length;
    const count = marks.length - areas;
    const words = [
      count && (count === 1 ? t("1 mark") : t("{count} marks", { count })),
      areas && t("area drawn"),
    ];
    return words.filter(Boolean).join(", ") || t(LABEL);
  } catch {
    return t(LABEL); // the editor says why
  }
}

/**
 * Give a node its button.
 * @param {Page.Node} node
 * @param {() => void} draw
 */
export function addButton(node, draw) {
  const button = node.addWidget("button", LABEL, "", draw, { serialize: false });
  button.serialize = false;
  buttons.set(node, button);
  const changed = () => showMarks(node);
  const [configured, connected] = [node.onConfigure, node.onConnectionsChange];
  node.onConfigure = function (...values) {
    configured?.apply(this, values);
    changed();
  };
  node.onConnectionsChange = function (...values) {
    connected?.apply(this, values);
    changed();
  };
  const marks = widgetOf(node, "marks");
  if (marks) {
    const before = marks.callback;
    marks.callback = function (...values) {
      before?.apply(this, values);
      changed();
    };
  }
  changed();
  node.setSize([node.size[0], node.computeSize()[1]]); // without the room of what is hidden
}

/**
 * Write what a Vue node's button says where an older page has not done so: it reads a label only once.
 * @param {Page.Node} node
 * @param {string} before
 * @param {string} label
 */
function rewrite(node, before, label) {
  const fields = document.querySelectorAll(`.lg-node[data-node-id="${node.id}"] button`);
  const texts = [...fields].flatMap((field) => [...field.querySelectorAll("*"), field]);
  for (const { childNodes } of texts)
    for (const text of childNodes)
      if (text.nodeType === Node.TEXT_NODE && text.nodeValue?.trim() === before) text.nodeValue = label;
}

/**
 * Let a node's button say what is drawn, and the marks stay hidden.
 * @param {Page.Node} node
 */
export function showMarks(node) {
  const [button, marks] = [buttons.get(node), widgetOf(node, "marks")];
  if (!button || !marks) return;
  const wired = isWired(node, "marks");
  const label = wired ? t(LABEL) : summary(String(marks.value ?? ""));
  const before = button.label ?? "";
  if (before !== label) {
    button.label = label;
    if (before && window.LiteGraph.vueNodesMode) setTimeout(() => rewrite(node, before, label), PAINTED_MS);
  }
  if (marks.options.hidden === !wired) return;
  setHidden(marks, true, !wired); // Vue nodes of older pages need the row for the wire's end
  node.graph?.setDirtyCanvas(true, true);
}
