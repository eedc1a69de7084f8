// @ts-check
/** The chain panel's sidebar tab: when it is drawn, what it listens to, its settings. */

import { app } from "../../../../scripts/app.js";
import { isOurs } from "../lib/graph.js";
import { doPiece } from "../lib/pieces.js";
import { addStyleSheet } from "../lib/style_sheet.js";
import { loadWords, t } from "../lib/translate.js";
import { onLoaded } from "../lib/workflow.js";
import { onRun } from "../run/watch.js";
import { Panel } from "./panel.js";
import { keepQueued } from "./recent.js";
import { isTurn } from "./turn_kinds.js";

const MEASURE = "kontext-chain-panel"; // how long each piece of drawing takes, for whoever watches

/** While the tab is open. @type {Panel | null} */
let panel = null;

let waiting = "";

/** What is left of a drawing that has begun. @type {Iterator<void> | null} */
let left = null;

let asked = false;

/**
 * Draw at the next frame, once for all that happens until then.
 * @param {"all" | "states"} [what]
 */
function redraw(what = "all") {
  if (!panel) return;
  if (waiting !== "all") waiting = what;
  ask();
}

/** Have it drawn in a task of its own, behind those that draw the canvas at the same frame. */
function ask() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => setTimeout(drawNow));
}

function drawNow() {
  asked = false;
  const what = waiting;
  waiting = "";
  if (!panel) {
    left = null;
    return;
  }
  const start = performance.now();
  if (what === "all") left = panel.draw();
  else if (what === "states") panel.drawStates();
  if (left && doPiece(left, start)) left = null;
  performance.measure(MEASURE, { start });
  performance.clearMeasures(MEASURE);
  if (left) ask();
}

/**
 * Call something after a node's own handler of the same name.
 * @param {Page.Node} node
 * @param {string} name
 * @param {() => void} more
 */
function after(node, name, more) {
  const hooks = /** @type {Record<string, Function | undefined>} */ (/** @type {unknown} */ (node));
  const before = hooks[name];
  hooks[name] = function (/** @type {unknown[]} */ ...values) {
    const answer = before?.apply(this, values);
    more();
    return answer;
  };
}

/**
 * Call something after a property of a node was set.
 * @param {Page.Node} node
 * @param {"title" | "mode"} name
 * @param {() => void} more
 */
function afterSet(node, name, more) {
  let owner = /** @type {object | null} */ (node);
  while (owner && !Object.hasOwn(owner, name)) owner = Object.getPrototypeOf(owner);
  const before = owner && Object.getOwnPropertyDescriptor(owner, name);
  let plain = node[name];
  Object.defineProperty(node, name, {
    configurable: true,
    enumerable: before?.enumerable ?? true,
    get: () => (before?.get ? before.get.call(node) : plain),
    set(value) {
      if (before?.set) before.set.call(node, value);
      else plain = value;
      more();
    },
  });
}

/** Messages of a run after which pictures or failures have changed, and not only how far it is. */
const NEWS = ["executed", "execution_error", "queued", "ended"];

function listen() {
  onRun((kind) => {
    if (kind === "queued") keepQueued();
  });
  onRun((kind) => redraw(NEWS.includes(kind) ? "all" : "states"));
  onLoaded(() => redraw());
  app.api.addEventListener("graphChanged", () => redraw());
  app.canvas.canvas.addEventListener("litegraph:set-graph", () => redraw());
}

/** Let the words of the turn that is made now be written in the panel, if it is open. */
export function writeNew() {
  if (!panel) return;
  panel.writeNext = true;
  redraw();
}

/** @type {any} */
const SETTINGS = [
  {
    id: "Kontext.ChainPanel.Follow",
    name: "Scroll to the running turn",
    tooltip: "The chain panel keeps the running turn in view.",
    category: ["Kontext", "Chain panel", "Follow"],
    type: "boolean",
    defaultValue: true,
  },
  {
    id: "Kontext.ChainPanel.Thumbnails",
    name: "Show thumbnails",
    tooltip: "Each turn of the chain panel shows its last picture.",
    category: ["Kontext", "Chain panel", "Thumbnails"],
    type: "boolean",
    defaultValue: true,
    onChange: () => redraw(),
  },
];

app.registerExtension({
  name: "Kontext.ChainPanel",
  settings: SETTINGS,
  async setup() {
    await loadWords();
    addStyleSheet("chain_panel");
    addStyleSheet("chain_commands");
    listen();
    app.extensionManager.registerSidebarTab({
      id: "kontext-chain",
      icon: "pi pi-sitemap",
      title: t("Chain"),
      tooltip: t("Turns of this graph"),
      type: "custom",
      render(container) {
        if (panel?.container !== container) panel = new Panel(container, redraw);
        redraw();
      },
      destroy() {
        panel = null;
      },
    });
  },
  /**
   * Watch what changes a new node's row.
   * @param {Page.Node} node
   */
  nodeCreated(node) {
    if (!isOurs(node)) return;
    for (const name of ["onAdded", "onRemoved", "onConnectionsChange", "onWidgetChanged"])
      after(node, name, () => redraw());
    if (!isTurn(node)) return;
    for (const name of /** @type {const} */ (["title", "mode"])) afterSet(node, name, () => redraw());
    after(node, "onSelected", () => panel?.chooseNode(node));
    after(node, "onDeselected", () => panel?.drawChoice());
  },
  afterConfigureGraph() {
    redraw();
  },
});
