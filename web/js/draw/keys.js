// @ts-check
/** The editor's keys. None of them reaches the graph behind it. */

import { MODE_KEY, TOOLS } from "./modes.js";
import { endWords, write } from "./words.js";

/** @typedef {import("../marks/format.js").Point} Point */
/** @typedef {import("./editor.js").Editor} Editor */

const STEP = 0.01; // of the picture
const PAN_PX = 40;
const ZOOM = 1.25;
/**
 * Where a tool draws without a pointer.
 * @type {Record<string, Point[]> & { corners: Point[] }}
 */
const MIDDLE = {
  corners: [
    [0.35, 0.35],
    [0.65, 0.65],
  ],
  brush: [[0.5, 0.5]],
  eraser: [[0.5, 0.5]],
};
/** @type {Record<string, Point>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Listen to the editor's keys.
 * @param {Editor} editor
 */
export function listenToKeys(editor) {
  const { dialog } = editor.parts;
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    editor.close(null);
  });
  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation();
    const held = (event.ctrlKey || event.metaKey) && !isThirdLevel(event);
    const done =
      event.target === editor.words
        ? inWords(editor, event)
        : held
          ? withControl(editor, event)
          : plain(editor, event);
    if (done) event.preventDefault();
  });
  for (const kind of /** @type {const} */ (["keyup", "keypress"]))
    dialog.addEventListener(kind, (event) => event.stopPropagation());
}

/**
 * Tell whether a key is pressed with AltGr, which many keyboards need for [ and ].
 * @param {KeyboardEvent} event
 */
const isThirdLevel = (event) => event.getModifierState("AltGraph");

/**
 * Take a key while words are written.
 * @param {Editor} editor
 * @param {KeyboardEvent} event
 * @returns {boolean} whether the key was meant for the editor
 */
function inWords(editor, event) {
  if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return false;
  endWords(editor, event.key === "Enter");
  return true;
}

/**
 * Take a key that is pressed with Ctrl.
 * @param {Editor} editor
 * @param {KeyboardEvent} event
 * @returns {boolean}
 */
function withControl(editor, event) {
  const key = event.key.toLowerCase();
  if (key === "z" && !event.shiftKey) editor.undo();
  else if (key === "y" || key === "z") editor.redo();
  else if (key === "enter") editor.close(editor.marks);
  else return false;
  return true;
}

/**
 * Take a key that is pressed alone.
 * @param {Editor} editor
 * @param {KeyboardEvent} event
 * @returns {boolean}
 */
function plain(editor, event) {
  const { key, target } = event;
  const kind = target instanceof HTMLInputElement ? target.type : "";
  const onPicture = target === editor.parts.surface;
  if (event.altKey && !isThirdLevel(event)) return false;
  if (key === "Escape") {
    if (!editor.cancelDrag()) editor.close(null);
  } else if (key === "Enter" && (onPicture || kind === "radio" || kind === "range"))
    editor.close(editor.marks);
  else if (key === "Delete" || key === "Backspace") editor.remove();
  else if (key === "+" || key === "=") editor.zoom(ZOOM);
  else if (key === "-") editor.zoom(1 / ZOOM);
  else if (key === "0") editor.fit();
  else if (key === "[" || key === "]") editor.resize(key === "]" ? 1 : -1);
  else if (key.toLowerCase() === MODE_KEY) editor.setMode(editor.mode === "area" ? "marks" : "area");
  else if (onPicture && onStage(editor, event)) return true;
  else {
    const tool = TOOLS.find((one) => one.key === key.toLowerCase());
    if (!tool) return false;
    editor.choose(tool.tool);
  }
  return true;
}

/**
 * Take a key that is for the marks or the view.
 * @param {Editor} editor
 * @param {KeyboardEvent} event
 * @returns {boolean}
 */
function onStage(editor, { key, shiftKey }) {
  const arrow = ARROWS[key];
  const { own } = editor;
  const place = own.indexOf(editor.selected);
  if (arrow && editor.marks[editor.selected]) editor.nudge([arrow[0] * STEP, arrow[1] * STEP], shiftKey);
  else if (arrow) editor.pan([-arrow[0] * PAN_PX, -arrow[1] * PAN_PX]);
  else if (key === "PageDown" && own.length) editor.select(Number(own[(place + 1) % own.length]));
  else if (key === "PageUp" && own.length) editor.select(Number(own.at(place > 0 ? place - 1 : -1)));
  else if (key === " ") inTheMiddle(editor);
  else return false;
  return true;
}

/**
 * Draw a mark of the present tool in the middle of the picture, to be moved by the arrow keys.
 * @param {Editor} editor
 */
function inTheMiddle(editor) {
  const { tool } = editor;
  if (tool === "select") return;
  if (tool === "text") write(editor, [0.4, 0.45]);
  else editor.put(editor.marks.length, editor.newMark(tool, MIDDLE[tool] ?? MIDDLE.corners));
}
