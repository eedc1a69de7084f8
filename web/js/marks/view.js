// @ts-check
/** Where a picture lies in a window onto it: window = offset + scale * picture, all in px. */

/** @typedef {import("./format.js").Point} Point */
/** @typedef {import("./geometry.js").Size} Size */
/** @typedef {{ readonly scale: number, readonly x: number, readonly y: number }} View */

const MARGIN_PX = 24;
const MOST_SCALE = 32;
const LEAST_SCALE = 0.02;

/**
 * Show all of the picture, in the middle of the window.
 * @param {Size} picture
 * @param {Size} window
 * @returns {View}
 */
export function fitted(picture, window) {
  const room = [window.width, window.height].map((side) => Math.max(side - 2 * MARGIN_PX, 1));
  const scale = Math.min(Number(room[0]) / picture.width, Number(room[1]) / picture.height, 8);
  return {
    scale,
    x: (window.width - picture.width * scale) / 2,
    y: (window.height - picture.height * scale) / 2,
  };
}

/**
 * Show it larger or smaller, the point under the pointer staying there.
 * @param {View} view
 * @param {number} factor
 * @param {Point} at
 * @returns {View}
 */
export function zoomed(view, factor, [x, y]) {
  const scale = Math.min(Math.max(view.scale * factor, LEAST_SCALE), MOST_SCALE);
  const share = scale / view.scale;
  return { scale, x: x - (x - view.x) * share, y: y - (y - view.y) * share };
}

/**
 * Move the picture in the window.
 * @param {View} view
 * @param {Point} by in px of the window
 * @returns {View}
 */
export const panned = (view, [x, y]) => ({ ...view, x: view.x + x, y: view.y + y });

/**
 * Find a point of the window on the picture.
 * @param {View} view
 * @param {Point} at
 * @returns {Point}
 */
export const onPicture = (view, [x, y]) => [(x - view.x) / view.scale, (y - view.y) / view.scale];

/**
 * Find a point of the picture in the window.
 * @param {View} view
 * @param {Point} at
 * @returns {Point}
 */
export const inWindow = (view, [x, y]) => [view.x + x * view.scale, view.y + y * view.scale];
