// @ts-check
/** What is drawn: marks that the model sees, or the area that alone may change; with which tools. */

import { t } from "../lib/translate.js";
import { isArea } from "../marks/format.js";

/** @typedef {import("../marks/format.js").Mark} Mark */
/** @typedef {"marks" | "area"} Mode */
/** @typedef {"select" | "eraser" | import("../marks/format.js").Kind} Tool */

export const MODE_KEY = "m";
export const MODES = /** @type {const} */ ([
  { mode: "marks", label: "Draw marks" },
  { mode: "area", label: "Only change inside" },
]);

/**
 * Tools with their keys and signs, and the mode that alone has them, or what they are called in that mode.
 * @type {readonly { tool: Tool, key: string, sign: string, label: string, only?: Mode, area?: { label: string } }[]}
 */
export const TOOLS = [
  { tool: "select", key: "v", sign: "⬉", label: "Select" },
  { tool: "ellipse", key: "e", sign: "◯", label: "Ellipse" },
  { tool: "box", key: "b", sign: "▭", label: "Box" },
  { tool: "arrow", key: "a", sign: "↗", label: "Arrow", only: "marks" },
  { tool: "freehand", key: "f", sign: "∿", label: "Line", area: { label: "Outline" } },
  { tool: "text", key: "w", sign: "T", label: "Words", only: "marks" },
  { tool: "brush", key: "p", sign: "●", label: "Brush", only: "area" },
  { tool: "eraser", key: "r", sign: "◌", label: "Eraser", only: "area" },
];

/**
 * List the tools of a mode.
 * @param {Mode} mode
 */
export const toolsOf = (mode) => TOOLS.filter(({ only }) => !only || only === mode);

/**
 * Name the tool that drew a mark.
 * @param {Mark} mark
 * @returns {Tool}
 */
export const toolOf = (mark) => (mark.erase ? "eraser" : mark.kind);

/**
 * Tell in which mode a mark is drawn and changed.
 * @param {Mark} mark
 * @returns {Mode}
 */
export const modeOf = (mark) => (isArea(mark) ? "area" : "marks");

/**
 * Say what to do with a tool.
 * @param {Tool} tool
 */
export function howTo(tool) {
  const zoom = t("The wheel zooms, the middle button moves the picture.");
  if (tool === "select")
    return `${t("Click a mark to select it, drag it or its ends; drag elsewhere to move the picture.")} ${zoom}`;
  if (tool === "text") return `${t("Click where the words start; double-click words to edit them.")} ${zoom}`;
  if (tool === "brush") return `${t("Paint what may change; [ and ] set the size of the brush.")} ${zoom}`;
  if (tool === "eraser") return `${t("Paint what stays; [ and ] set the size of the eraser.")} ${zoom}`;
  return `${t("Drag on the picture to draw.")} ${zoom}`;
}

/** Warn of words that are not seen. */
export const outside = () =>
  t("Some of these words lie outside the picture and will be cut off: move them or make them smaller.");
