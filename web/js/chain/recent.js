// @ts-check
/** The instructions of the graph that is shown, and those that were written or run in this browser. */

import { everyPlace, settingOf } from "../lib/wires.js";
import { fitting, keepNewest, readKept } from "./past.js";
import { isEditable } from "./read_graph.js";

/** @typedef {import("../lib/wires.js").Place} Place */

const KEPT = "Kontext.instructions"; // in the browser's storage

/**
 * Keep instructions for later.
 * @param {string[]} newest
 */
function keep(newest) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(keepNewest(readKept(localStorage.getItem(KEPT)), newest)));
  } catch {
    // there is no room for them, or it is not allowed: those of the graph come up all the same
  }
}

/**
 * List the instructions of the graph.
 * @param {Page.Node} [except] whose own does not count
 */
function ofGraph(except) {
  const places = [...everyPlace()].filter(({ node }) => isEditable(node) && node !== except);
  return places.map((place) => String(settingOf(place, "instruction")?.value ?? "")).filter(Boolean);
}

/**
 * Keep an instruction that was written.
 * @param {string} words
 */
export const keepWritten = (words) => keep([words]);

/** Keep the instructions that were queued. */
export const keepQueued = () => keep(ofGraph());

/**
 * Find what was written before that fits what is being written now.
 * @param {string} text
 * @param {Page.Node} node at which it is
 */
export function suggest(text, node) {
  let recent = /** @type {string[]} */ ([]);
  try {
    recent = readKept(localStorage.getItem(KEPT));
  } catch {
    // it is not allowed
  }
  return fitting(text, ofGraph(node), recent);
}
