// @ts-check
/** Saves a line of turns as a PNG: a Kontext Save Chain writes it with the next run. */

import { app } from "../../../../scripts/app.js";
import { bringIntoView } from "../lib/in_view.js";
import { takersOf } from "../lib/wires.js";
import { addTaker } from "./new_node.js";
import { chainOutput, SAVE } from "./turn_kinds.js";

/**
 * Add what saves the chain up to a turn with the next run, or show it where it is there.
 * @param {import("../lib/wires.js").Place} place
 */
export function saveBehind(place) {
  const { node } = place;
  const there = takersOf(place, chainOutput(node)).find((taker) => taker.node.type === SAVE);
  if (there) {
    app.canvas.selectNode(there.node);
    bringIntoView(there.node);
  } else addTaker(SAVE, place);
}
