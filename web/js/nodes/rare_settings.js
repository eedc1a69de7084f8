// @ts-check
/**
 * Settings that newcomers do not need are folded away in a node until its row "More settings" is pressed. Those
 * that act stay visible: where the value is not the default, or something is wired.
 */

import { app } from "../../../../scripts/app.js";
import { FOR_ONE_RUN } from "../lib/for_one_run.js";
import { asOneStep, isOurs, isWired } from "../lib/graph.js";
import { isHidden, setHidden } from "../lib/hide.js";
import { forEveryNode } from "../lib/pieces.js";
import { t } from "../lib/translate.js";

const MORE = { label: "More settings" };
const FEWER = { label: "Fewer settings" };
const OPEN = "kontext_more"; // of a node's properties, which are saved with the workflow
const ALWAYS = "Comfy.Node.AlwaysShowAdvancedWidgets"; // newer pages' own choice for all nodes

/**
 * What a node folds away: names of widgets with their defaults.
 * @type {WeakMap<Page.Node, Map<string, unknown>>}
 */
const folds = new WeakMap();

/** The row that unfolds a node. @type {WeakMap<Page.Node, Page.Widget>} */
const rows = new WeakMap();

/**
 * List the names of the inputs that a node's schema marks as advanced.
 * @param {Page.Node} node
 */
function rareInputs(node) {
  const { input } = /** @type {Page.NodeClass} */ (node.constructor).nodeData ?? {};
  return Object.entries({ ...input?.required, ...input?.optional })
    .filter(([, [, options]]) => options?.advanced)
    .map(([name]) => name);
}

/**
 * Tell whether a node shows all of its settings.
 * @param {Page.Node} node
 */
const isOpen = (node) => node.properties[OPEN] === true || app.extensionManager.setting.get(ALWAYS) === true;

/**
 * Tell whether a widget of a node acts: its value is not the default, or something is wired to it.
 * @param {Page.Node} node
 * @param {Page.Widget} widget
 */
const acts = (node, widget) =>
  widget.value !== folds.get(node)?.get(widget.name) || isWired(node, widget.name);

/**
 * Show what is to be seen of a node's settings.
 * @param {Page.Node} node
 * @param {boolean} [closes] whether a setting that acts no more is folded too: not while someone drags its value
 */
function arrange(node, closes = true) {
  const names = folds.get(node);
  if (!names) return 0;
  const open = isOpen(node);
  const before = node.computeSize()[1];
  for (const widget of node.widgets ?? []) {
    if (!names.has(widget.name)) continue;
    const rare = widget.name === FOR_ONE_RUN;
    const hidden = !acts(node, widget) && (rare || !open) && (rare || closes || isHidden(widget));
    if (isHidden(widget) !== hidden) setHidden(widget, hidden);
  }
  name(node, t(open ? FEWER.label : MORE.label));
  return node.computeSize()[1] - before;
}

/**
 * Give a node's last row its words.
 * @param {Page.Node} node
 * @param {string} label
 */
function name(node, label) {
  const [row, widgets] = [rows.get(node), node.widgets];
  if (!row || !widgets) return;
  row.label = label;
  if (!("visibility" in row)) row.name = label; // Vue nodes of older pages show no other
  const place = widgets.indexOf(row);
  // Vue nodes of older pages look at all widgets anew once their list has changed
  if (place >= 0) widgets.push(...widgets.splice(place, 1));
}

/**
 * Show what is to be seen of a node's settings, and let the node grow or shrink with them.
 * @param {Page.Node} node
 * @param {boolean} [closes]
 */
function fit(node, closes) {
  const growth = arrange(node, closes);
  if (!growth) return;
  node.setSize([node.size[0], Math.max(node.size[1] + growth, node.computeSize()[1])]);
  node.graph?.setDirtyCanvas(true, true);
}

/**
 * Fold or unfold a node, as one step of undo.
 * @param {Page.Node} node
 */
function toggle(node) {
  asOneStep(() => {
    if (node.properties[OPEN]) delete node.properties[OPEN];
    else node.properties[OPEN] = true;
    fit(node);
  });
}

/**
 * Look again when a node is loaded, wired, or given a value.
 * @param {Page.Node} node
 */
function watch(node) {
  const { onConfigure, onConnectionsChange } = node;
  node.onConfigure = function (...values) {
    onConfigure?.apply(this, values);
    arrange(node); // its size was saved with it
  };
  node.onConnectionsChange = function (...values) {
    onConnectionsChange?.apply(this, values);
    if (!app.configuringGraph) fit(node, false);
  };
}

app.registerExtension({
  name: "Kontext.RareSettings",
  setup() {
    app.api.addEventListener(
      "graphChanged",
      forEveryNode((node) => fit(node, false)),
    );
  },
  /**
   * Fold a new node's rare settings.
   * @param {Page.Node} node
   */
  nodeCreated(node) {
    if (!isOurs(node)) return;
    const names = rareInputs(node);
    const rare = (node.widgets ?? []).filter(({ name }) => names.includes(name));
    if (!rare.length) return;
    folds.set(node, new Map(rare.map(({ name, value }) => [name, value])));
    for (const widget of rare) {
      widget.advanced = false; // one way of folding on every page
      Object.assign(widget.options, { advanced: false });
    }
    const row = node.addWidget("button", MORE.label, "", () => toggle(node), { serialize: false });
    row.serialize = false;
    rows.set(node, /** @type {Page.Widget} */ (row));
    watch(node);
    arrange(node);
    node.setSize([node.size[0], node.computeSize()[1]]);
  },
});
