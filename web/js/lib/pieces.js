// @ts-check
/** Long work in pieces, between which the page can do other things. */

import { everyPlace } from "./wires.js";

const PIECE_MS = 8; // without a pause

/**
 * Do one piece of a work that takes small steps.
 * @param {Iterator<void>} steps
 * @param {number} [start] when this piece began, in ms of the page
 * @returns {boolean} whether all of it is done
 */
export function doPiece(steps, start = performance.now()) {
  while (performance.now() - start < PIECE_MS) if (steps.next().done) return true;
  return false;
}

/**
 * Make a function that begins some work on every node; called again meanwhile, it begins anew.
 * @param {(node: Page.Node) => void} work
 * @returns {() => void}
 */
export function forEveryNode(work) {
  /** @type {Iterator<void> | null} */
  let left = null;
  let asked = false;

  function* visit() {
    for (const { node } of everyPlace()) {
      work(node);
      yield;
    }
  }

  function next() {
    asked = false;
    if (left && doPiece(left)) left = null;
    if (!left) return;
    asked = true;
    setTimeout(next);
  }

  return () => {
    left = visit();
    if (!asked) next();
  };
}
