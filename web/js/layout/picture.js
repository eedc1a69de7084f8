// @ts-check
/**
 * A live picture in Kontext Reference: where target and references stand for the model, and what they cost.
 */

import { app } from "../../../../scripts/app.js";
import { addStyleSheet } from "../lib/style_sheet.js";
import { loadWords, t } from "../lib/translate.js";
import { everyPlace } from "../lib/wires.js";
import { isForeign } from "../run/watch.js";
import { rememberSize } from "./source_picture.js";
import { stackOf } from "./stack.js";
import { LayoutView, viewOf } from "./view.js";

/** @typedef {import("./geometry.js").Plan} Plan */
/** @typedef {import("./stack.js").Stack} Stack */

const SHOWN_IN = ["KontextReference", "KontextReferenceGrid"];
const NAME = "kontext_layout";
const HEIGHT = 170;
const WAIT_MS = 200;

/**
 * @typedef {object} Answer
 * @property {string} asked what the server was asked for a node
 * @property {Plan | null} plan its answer, where there is one
 * @property {Stack | null} stack what is in the graph now
 * @property {unknown[]} drawn
 */
/** @type {WeakMap<Page.Node, Answer>} */
const answers = new WeakMap();
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
 * Ask for the plan of one node, unless it is there, and draw it, unless that is drawn.
 * @param {Page.Node} node
 */
async function update(node) {
  const [view, known] = [viewOf(node), answers.get(node)];
  if (!view || !known) return;
  known.stack = stackOf(node, later);
  const asked = JSON.stringify(known.stack.question);
  if (asked !== known.asked) {
    Object.assign(known, { asked, plan: null, drawn: [] });
    const answer = await answerTo(asked);
    if (known.asked !== asked) return;
    if (!answer.known) known.asked = ""; // the next change asks again
    known.plan = answer.plan;
    if (!answer.plan) view.refuse(answer.words);
  }
  const { plan, stack, drawn } = known;
  if (!plan || !stack) return;
  known.drawn = [stack.numbersOf, ...stack.tiles.flatMap((tile) => Object.values(tile))];
  if (drawn.length === known.drawn.length && drawn.every((value, i) => value === known.drawn[i])) return;
  view.show(plan, stack);
}

/**
 * Ask the server.
 * @param {string} body
 * @returns {Promise<{ plan: Plan | null, words: string, known: boolean }>} also whether it will be the same the
 *   next time, and words where there is no plan
 */
async function answerTo(body) {
  await loadWords();
  try {
    const headers = { "Content-Type": "application/json" };
    const answer = await app.api.fetchApi("/kontext/plan", { method: "POST", headers, body });
    const plan = await answer.json();
    if (answer.ok) return { plan, words: "", known: true };
    return { plan: null, words: plan.error, known: answer.status === 400 }; // a refusal is an answer
  } catch {
    const words = t("ComfyUI is not responding; the next change tries again.");
    return { plan: null, words, known: false };
  }
}

/**
 * Give a node its picture.
 * @param {Page.Node} node
 */
function addPicture(node) {
  const { element } = new LayoutView(node);
  const options = { serialize: false, hideOnZoom: true, getMinHeight: () => HEIGHT };
  const widget = node.addDOMWidget(NAME, NAME, element, options);
  widget.serialize = false; // neither in the workflow nor, as its options say, in what is queued
  answers.set(node, { asked: "", plan: null, stack: null, drawn: [] });

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
    addStyleSheet("layout");
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
