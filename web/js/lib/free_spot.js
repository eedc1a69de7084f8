// @ts-check
/** Where a new node finds room. Pure functions on boxes [x, y, width, height]. */

/** @typedef {[number, number, number, number]} Box */

/** The height of a node's title, which lies above its box. */
export const TITLE = 30;
const STEP = 40;

/**
 * Tell whether two boxes with their titles touch.
 * @param {Box} a
 * @param {Box} b
 * @param {number} gap
 */
export function touches(a, b, gap) {
  return (
    a[0] < b[0] + b[2] + gap &&
    b[0] < a[0] + a[2] + gap &&
    a[1] - TITLE < b[1] + b[3] + gap &&
    b[1] - TITLE < a[1] + a[3] + gap
  );
}

/**
 * Find the first free place at or below the wanted one.
 * @param {Box[]} taken
 * @param {Box} wanted
 * @param {number} [gap]
 * @returns {[number, number]}
 */
export function freeSpot(taken, wanted, gap = 20) {
  const [x, top, width, height] = wanted;
  let y = top;
  while (taken.some((box) => touches(box, [x, y, width, height], gap))) y += STEP;
  return [x, y];
}
