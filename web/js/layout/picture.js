// @ts-check
/**
 * A live picture in Kontext Reference: where target and references stand for the model, and what they cost.
 */

import { app } from "../../../../scripts/app.js";
import { loadWords, t } from "../lib/translate.js";
import { everyPlace } from "../lib/wires.js";
import { isForeign } from "../run/watch.js";
import { namesIn, questionOf, rememberSize } from "./stack.js";
import { drawingOf, line } from "./svg.js";

const SHOWN_IN = ["KontextReference", "KontextReferenceGrid"];
const NAME = "kontext_layout";
const HEIGHT = 170;
const MARGIN = 11; // that the page leaves above and below
const WAIT_MS = 200;
const STYLE =
  "display: flex; flex-direction: column; gap: 2px; box-sizing: border-box; overflow: hidden; padding: 4px 6px; " +
  "border-radius: 6px; background: var(--comfy-input-bg); color: var(--input-text); font-size: 10px; " +
  // some pages of Vue nodes give it no height
  `line-height: 1.3; pointer-events: none; min-height: ${HEIGHT - 2 * MARGIN}px;`;

/**
 * What is shown in a node, with the question it answers; gone with the node.
 * @type {WeakMap<Page.Node, { element: HTMLElement, asked: string }>}
 */
const pictures = new WeakMap();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let waiting;

/** Look at the graph again, once it has been left alone for a moment. */
function later() {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    for (const { node } of everyPlace()) update(node);
  }, WAIT_MS);
}

/**
 * Ask for the plan of one node, unless it is there.
 * @param {Page.Node} node
 */
async function update(node) {
  const shown = pictures.get(node);
  if (!shown) return;
  const asked = JSON.stringify(questionOf(node, later));
  if (asked === shown.asked) return;
  shown.asked = asked;
  const answer = await answerTo(asked);
  if (shown.asked !== asked) return;
  if (!answer.known) shown.asked = ""; // the next change asks again
  shown.element.replaceChildren(...answer.drawn);
}

/**
 * Ask the server, and draw its answer.
 * @param {string} body
 * @returns {Promise<{ drawn: Element[], known: boolean }>} whether it will be the same the next time
 */
async function answerTo(body) {
  await loadWords();
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await app.api.fetchApi("/kontext/plan", { method: "POST", headers, body });
    const plan = await answer.json();
    if (answer.ok) return { drawn: drawingOf(plan, namesIn(JSON.parse(body))), known: true };
    return { drawn: [line(plan.error)], known: answer.status === 400 }; // a refusal is an answer
  } catch {
    return { drawn: [line(t("ComfyUI is not responding; the next change tries again."))], known: false };
  }
}

/**
 * Give a node its picture.
 * @param {Page.Node} node
 */
function addPicture(node) {
  const element = document.createElement("div");
  element.className = "kontext-layout";
  element.style.cssText = STYLE;
  const options = { serialize: false, hideOnZoom: true, getMinHeight: () => HEIGHT };
  const widget = node.addDOMWidget(NAME, NAME, element, options);
  widget.serialize = false; // neither in the workflow nor, as its options say, in what is queued
  pictures.set(node, { element, asked: "" });

  const { onAdded, onConnectionsChange, onExecuted } = node;
  node.onAdded = function (...graph) {
    later();
    return onAdded?.apply(this, graph);
  };
  node.onConnectionsChange = function (...change) {
    later();
    return onConnectionsChange?.apply(this, change);
  };
  node.onExecuted = function (output) {
    if (!isForeign()) rememberSize(this, output);
    later();
    return onExecuted?.call(this, output);
  };
}

app.registerExtension({
  name: "Kontext.LayoutPicture",
  setup() {
    for (const kind of /** @type {const} */ ([
      "graphChanged",
      "executed",
      "execution_success",
      "reconnected",
    ]))
      app.api.addEventListener(kind, later);
    window.addEventListener("focus", later); // a picture may have been overwritten meanwhile
  },
  afterConfigureGraph: later,
  /**
   * Give a new node of references its picture.
   * @param {Page.Node} node
   */
  nodeCreated(node) {
    if (SHOWN_IN.includes(String(node.comfyClass))) addPicture(node);
  },
});
