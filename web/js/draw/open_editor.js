// @ts-check
/**
 * "Draw on the picture": a button, a command and a menu item that open the editor for a Kontext Visual Cue.
 */

import { app } from "../../../../scripts/app.js";
import { boxesOf } from "../lib/boxes.js";
import { freeSpot } from "../lib/free_spot.js";
import {
  asOneStep,
  createNode,
  graphOf,
  inputOf,
  isWired,
  originOf,
  outputOf,
  selected,
  widgetOf,
  wireAlike,
} from "../lib/graph.js";
import { forEveryNode } from "../lib/pieces.js";
import { resultOf } from "../lib/results.js";
import { t } from "../lib/translate.js";
import { finder, onLoaded } from "../lib/workflow.js";
import { isArea, readMarks, writeMarks } from "../marks/format.js";
import { loadFont } from "./canvas.js";
import { Editor } from "./editor.js";
import { loadPicture, pictureInto } from "./input_picture.js";
import { addButton, showMarks } from "./node_button.js";

const CUE = "KontextVisualCue";
const TURN = "KontextTurn"; // it holds marks of its own, upon the picture that it goes on from
const EDIT = "KontextEdit"; // it takes the area as a mask
const SHOWS = ["KontextReference", TURN, EDIT]; // those with a picture to draw upon
const GAP = 60;
const ACTION = {
  id: "Kontext.Draw",
  label: "Draw on the picture",
  need: "First select a Kontext Visual Cue, Reference, Turn or Edit.",
};
let open = false;

/**
 * Tell whether there is a picture to draw upon.
 * @param {Page.Node} node
 */
const fits = (node) => node.comfyClass === CUE || SHOWS.includes(String(node.comfyClass));

/**
 * Show a message beside the canvas.
 * @param {"info" | "warn" | "error"} severity
 * @param {string} detail
 */
function tell(severity, detail) {
  app.extensionManager.toast.add({ severity, summary: t(ACTION.label), detail, life: 6000 });
}

const gone = () =>
  new Error(t("The node you were drawing for is no longer in this workflow, so the drawing was not kept."));

/**
 * Find the node that holds what is drawn for a node: the cue that its picture comes through, or itself; null:
 * a new cue is to.
 * @param {Page.Node} node
 */
function holderOf(node) {
  const before = originOf(node, "image")?.node;
  if (node.comfyClass !== CUE && before?.comfyClass === CUE) return before;
  return widgetOf(node, "marks") ? node : null;
}

/**
 * Draw for a node, in what holds its marks or in a new cue.
 * What is drawn goes to the node it was drawn for or nowhere.
 * @param {Page.Node} node
 */
async function drawFor(node) {
  if (open) return;
  const holder = holderOf(node);
  if (holder && isWired(holder, "marks")) {
    tell("warn", t("The marks come from another node: disconnect it to draw here."));
    return;
  }
  open = true;
  const [holderNow, nodeNow] = [holder && finder(holder), finder(node)];
  try {
    const drawn = await edited(holder, node, nodeNow);
    if (drawn === null) return;
    const [into, behind] = [holderNow?.() ?? null, nodeNow()];
    if (!behind || (holder && !into)) throw gone();
    asOneStep(() => {
      const cue = into ?? inserted(behind);
      store(drawn, cue);
      if (cue && readMarks(drawn).some(isArea)) wireMask(cue, behind);
    });
  } catch (error) {
    tell("error", /** @type {Error} */ (error).message);
  } finally {
    open = false;
    app.canvas.canvas.focus();
  }
}

/**
 * Let the user draw; the text for the widget, null if cancelled, or nothing was changed.
 * @param {Page.Node | null} holder
 * @param {Page.Node} node
 * @param {() => Page.Node | null} now finds the node again
 */
async function edited(holder, node, now) {
  const url = pictureBelow(holder ?? node);
  const text = String((holder && widgetOf(holder, "marks")?.value) ?? "");
  const [font, picture] = await Promise.all([loadFont(), url ? loadPicture(url) : null]);
  if (!now()) throw gone();
  let note = picture
    ? ""
    : t("The picture is not available yet: run the graph once to see it. Marks fit any size.");
  /** @type {import("../marks/format.js").Mark[]} */
  let marks = [];
  try {
    marks = readMarks(text);
  } catch (error) {
    note = t("The marks in the node cannot be read, and Done will replace them: {why}.", {
      why: /** @type {Error} */ (error).message,
    });
  }
  const drawn = await new Editor({ picture, marks, font, note }).open();
  return drawn === null || drawn === marks || (!drawn.length && !holder) ? null : writeMarks(drawn);
}

/**
 * Find the address of the picture that a node draws upon: a turn may go on from a chain.
 * @param {Page.Node} node
 */
function pictureBelow(node) {
  const chained = isWired(node, "chain") && !isWired(node, "image");
  return (
    pictureInto(node, chained ? "chain" : "image") ||
    (node.comfyClass === CUE && resultOf(node, "beneath")) ||
    ""
  );
}

/**
 * Put what was drawn into a widget.
 * @param {string} text
 * @param {Page.Node | null} holder
 */
function store(text, holder) {
  const widget = holder && widgetOf(holder, "marks");
  if (!widget) return;
  widget.value = holder.comfyClass === TURN ? text.replace(/\s*\n\s*/g, " ") : text; // a turn has one line for it
  widget.callback?.(widget.value);
  showMarks(holder);
}

/**
 * Lead the area of a cue to the edit that it was drawn for, unless that has a mask already.
 * @param {Page.Node} cue
 * @param {Page.Node} node
 */
function wireMask(cue, node) {
  if (node.comfyClass !== EDIT || isWired(node, "mask")) return;
  const [from, into] = [outputOf(cue, "MASK"), inputOf(node, "mask")];
  if (from >= 0 && into >= 0) cue.connect(from, node, into);
}

/**
 * Put the marks of a node into a node with a text, from which they come from now on.
 * @param {Page.Node} node
 */
function wireMarks(node) {
  const source = createNode("PrimitiveStringMultiline");
  const [marks, text] = [widgetOf(node, "marks"), source?.widgets?.[0]];
  if (!source || !marks || !text) return;
  asOneStep(() => {
    text.value = marks.value;
    const graph = graphOf(node);
    const [width, height] = source.size;
    source.pos = freeSpot(boxesOf(graph), [node.pos[0] - width - GAP, node.pos[1], width, height]);
    graph.add(source);
    source.connect(0, node, inputOf(node, "marks"));
  });
}

/** Let every button say what is drawn now. */
const showAll = forEveryNode(showMarks);

/**
 * Insert a cue between a node and its picture.
 * @param {Page.Node} node
 * @returns {Page.Node | null}
 */
function inserted(node) {
  const cue = createNode(CUE);
  if (!cue) return null;
  const graph = graphOf(node);
  cue.setSize(cue.computeSize());
  cue.pos = freeSpot(boxesOf(graph), [
    node.pos[0] - cue.size[0] - GAP,
    node.pos[1],
    cue.size[0],
    cue.size[1],
  ]);
  graph.add(cue);
  wireAlike(node, "image", cue);
  cue.connect(0, node, inputOf(node, "image"));
  app.canvas.selectNode(cue);
  return cue;
}

app.registerExtension({
  name: "Kontext.Draw",
  commands: [
    {
      id: ACTION.id,
      label: ACTION.label,
      function: () => {
        const node = selected().find(fits);
        if (node) drawFor(node);
        else tell("info", t(ACTION.need));
      },
    },
  ],
  keybindings: [{ combo: { key: "d", alt: true }, commandId: ACTION.id }],
  menuCommands: [{ path: ["Kontext"], commands: [ACTION.id] }],
  /**
   * Offer drawing in a node's menu.
   * @param {Page.Node} node
   */
  getNodeMenuItems(node) {
    if (!fits(node)) return [];
    const draw = { content: `Kontext: ${t(ACTION.label)}`, callback: () => drawFor(node) };
    if (!widgetOf(node, "marks") || isWired(node, "marks")) return [draw];
    const wire = { content: `Kontext: ${t("Take the marks from a text")}`, callback: () => wireMarks(node) };
    return [draw, wire];
  },
  /**
   * Give a new node a button to draw.
   * @param {Page.Node} node
   */
  nodeCreated(node) {
    if (node.comfyClass !== CUE && node.comfyClass !== TURN) return;
    addButton(node, () => drawFor(node));
  },
  setup() {
    onLoaded(showAll);
    app.api.addEventListener("graphChanged", showAll);
  },
});
