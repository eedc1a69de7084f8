// @ts-check
/**
 * Kontext Compare shows its two pictures in one frame, with a line between them to move, in place of the
 * picture of both side by side, which stays the node's picture for all else.
 */

import { app } from "../../../../scripts/app.js";
import { beforeAfter } from "../compare/before_after.js";
import { openLarge } from "../compare/large_view.js";
import { make } from "../lib/element.js";
import { widgetOf } from "../lib/graph.js";
import { isHidden, setHidden } from "../lib/hide.js";
import { addressOf, PICTURE_WIDGET, resultsOf, WIPE_WIDGET } from "../lib/results.js";
import { t } from "../lib/translate.js";
import { everyPlace } from "../lib/wires.js";
import { onLoaded } from "../lib/workflow.js";
import { isForeign, onRun } from "../run/watch.js";

/** @typedef {import("../compare/before_after.js").Pair} Pair */

/**
 * What a node shows.
 * @typedef {object} Wipe
 * @property {HTMLElement} element
 * @property {ReturnType<typeof beforeAfter>} frame
 * @property {Page.Widget} widget
 * @property {Pair | null} pair
 */

const KIND = "KontextCompare";
const HEIGHT = 220; // as the page's own pictures in nodes
const MIDDLE = 1; // button of the mouse

/** @type {WeakMap<Page.Node, Wipe>} */
const wipes = new WeakMap();

/**
 * Name a picture.
 * @param {string} side
 * @param {number} turn
 */
const nameOf = (side, turn) =>
  turn ? t("{side}: turn {number}", { side, number: turn }) : t("{side}: start", { side });

/**
 * Read the two pictures of a node's results; null if there are none.
 * @param {Page.Output | undefined} output
 * @returns {Pair | null}
 */
function pairIn(output) {
  const [compared] = output?.kontext_compare ?? [];
  if (!compared) return null;
  const [turn, other] = compared.turns;
  const ordered = !compared.branches && turn <= other;
  const [first, second] = ordered ? [t("Before"), t("After")] : [t("First"), t("Second")];
  return {
    before: addressOf(compared.before),
    after: addressOf(compared.after),
    names: [nameOf(first, turn), nameOf(second, other)],
  };
}

/**
 * Show two pictures in a node, or none.
 * @param {Page.Node} node
 * @param {Pair | null} pair
 */
function show(node, pair) {
  const wipe = wipes.get(node) ?? (pair ? added(node) : null);
  if (!wipe) return;
  wipe.pair = pair;
  if (pair) wipe.frame.show(pair);
  wipe.element.hidden = !pair;
  if (isHidden(wipe.widget) === Boolean(pair)) setHidden(wipe.widget, !pair);
  arrange(node);
  const [width, height] = node.computeSize();
  if (pair && (width > node.size[0] || height > node.size[1]))
    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
  node.graph?.setDirtyCanvas(true, true);
}

/**
 * Let the page's own picture make room for the two, or come back.
 * @param {Page.Node} node
 */
function arrange(node) {
  const instead = Boolean(wipes.get(node)?.pair);
  node.hideOutputImages = instead; // newer pages' Vue nodes ask
  const picture = widgetOf(node, PICTURE_WIDGET);
  if (picture && isHidden(picture) !== instead) setHidden(picture, instead);
}

/**
 * Give a node the place for its two pictures.
 * @param {Page.Node} node
 * @returns {Wipe}
 */
function added(node) {
  const element = make("kontext-wipe");
  const frame = beforeAfter(() => openLarge(wipe.pair), { labelled: true, failed: () => show(node, null) });
  element.append(frame.element);
  passOn(element);
  const widget = node.addDOMWidget(WIPE_WIDGET, WIPE_WIDGET, element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => HEIGHT,
  });
  widget.serialize = false; // neither in the workflow nor, as its options say, in what is queued
  const wipe = { element, frame, widget, pair: /** @type {Pair | null} */ (null) };
  wipes.set(node, wipe);
  return wipe;
}

/**
 * Hand to the canvas what is meant for it: elements of a node lie above it, unless they are a Vue node's.
 * @param {HTMLElement} element
 */
function passOn(element) {
  element.addEventListener(
    "wheel",
    (event) => {
      if (window.LiteGraph.vueNodesMode) return;
      event.preventDefault();
      app.canvas.processMouseWheel(event);
    },
    { passive: false },
  );
  element.addEventListener("pointerdown", (event) => {
    if (event.button === 0)
      event.stopPropagation(); // a Vue node is not dragged by its line
    else if (event.button === MIDDLE && !window.LiteGraph.vueNodesMode) app.canvas.processMouseDown(event);
  });
}

/** Let every node show the pictures of its results: after a graph was loaded, or a run has ended. */
function refresh() {
  for (const { node } of everyPlace()) if (node.comfyClass === KIND) show(node, pairIn(resultsOf(node)));
}

app.registerExtension({
  name: "Kontext.Wipe",
  setup() {
    onLoaded(refresh);
    onRun((kind) => kind === "ended" && refresh());
  },
  /**
   * Let a new node show the pictures of its results.
   * @param {Page.Node} node
   */
  nodeCreated(node) {
    if (node.comfyClass !== KIND) return;
    const { onExecuted, onDrawBackground } = node;
    node.onExecuted = function (output) {
      onExecuted?.call(this, output);
      if (!isForeign()) show(this, pairIn(output));
    };
    node.onDrawBackground = function (...given) {
      const answer = onDrawBackground?.apply(this, given);
      arrange(node); // the page adds its picture while it draws the node
      return answer;
    };
  },
});
