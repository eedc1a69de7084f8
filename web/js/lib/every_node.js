// @ts-check
/** Work on every node of a workflow, in pieces between which the page can do other things. */

import { everyPlace } from "./wires.js";

const PIECE_MS = 8;

/**
 * Make a function that begins some work on every node; called again meanwhile, it begins anew.
 * @param {(node: Page.Node) => void} work
 * @returns {() => void}
 */
export function forEveryNode(work) {
  /** @type {Iterator<{ node: Page.Node }> | null} */
  let places = null;
  let waiting = false;
  const piece = () => {
    waiting = false;
    for (const end = performance.now() + PIECE_MS; places && performance.now() < end; ) {
      const next = places.next();
      if (next.done) places = null;
      else work(next.value.node);
    }
    if (!places) return;
    waiting = true;
    setTimeout(piece);
  };
  return () => {
    places = everyPlace()[Symbol.iterator]();
    if (!waiting) piece();
  };
}
