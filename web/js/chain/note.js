// @ts-check
/** What is noted at a turn, and its colour: both lie in its node, and so in the workflow. */

import { app } from "../../../../scripts/app.js";
import { t } from "../lib/translate.js";

const NOTE = "Kontext.note"; // of the node's properties

/**
 * A colour of ComfyUI's own for nodes and their groups.
 * @typedef {{ color: string, bgcolor: string, groupcolor: string }} Shades
 */
/**
 * A colour that a turn can have.
 * @typedef {object} Colour
 * @property {string} name
 * @property {string} label
 * @property {Shades | null} shades null: that of all nodes
 */

const NAMES = [
  { name: "red", label: "Red" },
  { name: "brown", label: "Brown" },
  { name: "green", label: "Green" },
  { name: "blue", label: "Blue" },
  { name: "pale_blue", label: "Pale blue" },
  { name: "cyan", label: "Cyan" },
  { name: "purple", label: "Purple" },
  { name: "yellow", label: "Yellow" },
  { name: "black", label: "Black" },
];

/**
 * Get ComfyUI's colours of nodes by their names.
 * @returns {Record<string, Shades>}
 */
const palette = () =>
  /** @type {{ node_colors?: Record<string, Shades> }} */ (/** @type {unknown} */ (app.canvas.constructor))
    .node_colors ?? {};

/**
 * List the colours that there are, first none.
 * @returns {Colour[]}
 */
export function colours() {
  const known = palette();
  const there = NAMES.flatMap(({ name, label }) =>
    known[name] ? [{ name, label: t(label), shades: known[name] }] : [],
  );
  return [{ name: "", label: t("No colour"), shades: null }, ...there];
}

/**
 * Find the colour of a node.
 * @param {Page.Node} node
 * @returns {{ name: string, shown: string }} its name, "" where it has none of these; and what is seen of it
 */
export function colourOf(node) {
  if (!node.color && !node.bgcolor) return { name: "", shown: "" };
  const known = Object.entries(palette()).find(
    ([, { color, bgcolor }]) => color === node.color && bgcolor === node.bgcolor,
  );
  return known
    ? { name: known[0], shown: known[1].groupcolor } // on light and on dark
    : { name: "", shown: String(node.bgcolor ?? node.color) };
}

/**
 * Give a node a colour.
 * @param {Page.Node} node
 * @param {Shades | null} shades
 */
export const paint = (node, shades) => node.setColorOption(shades);

/**
 * Read the note of a node; "" if it has none.
 * @param {Page.Node} node
 */
export function noteOf(node) {
  const note = node.properties?.[NOTE];
  return typeof note === "string" ? note : "";
}

/**
 * Write the note of a node, or take it away.
 * @param {Page.Node} node
 * @param {string} note
 */
export function setNote(node, note) {
  if (note) node.properties[NOTE] = note;
  else delete node.properties[NOTE];
}

/**
 * Give a node the note and the colour of another.
 * @param {Page.Node} from
 * @param {Page.Node} to
 */
export function copyLook(from, to) {
  setNote(to, noteOf(from));
  const { color, bgcolor } = from;
  if (color !== undefined) to.color = color;
  if (bgcolor !== undefined) to.bgcolor = bgcolor;
}
