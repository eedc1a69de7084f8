// @ts-check
/**
 * How much of each pixel a mark covers, by the same rule as kontext_core/images/marks.py: so the page shows
 * what will be drawn, in every browser.
 */

import { letterPieces, lettersOf, measured } from "./font.js";
import { isFilled, linesOf, pixelsOf, segmentsOf, strokeOf } from "./geometry.js";

/** @typedef {import("./font.js").Font} Font */
/** @typedef {import("./format.js").Mark} Mark */
/** @typedef {import("./format.js").Point} Point */
/** @typedef {import("./geometry.js").Size} Size */
/**
 * A part of the picture, and how much of each of its pixels is covered, 0 to 1, row by row.
 * @typedef {object} Cover
 * @property {number} left
 * @property {number} top
 * @property {number} width
 * @property {number} height
 * @property {Float32Array} values
 */

/**
 * Work out what a mark covers; null where it lies outside.
 * @param {Mark} mark
 * @param {Size} size
 * @param {Font} font
 * @returns {Cover | null}
 */
export function coverOf(mark, size, font) {
  if (mark.kind === "text") return textCover(mark, size, font);
  return isFilled(mark) ? areaCover(mark, size) : lineCover(mark, size);
}

/**
 * Work out what the outline of an area goes around.
 * @param {Mark} mark
 * @param {Size} size
 */
function areaCover(mark, size) {
  const pieces = segmentsOf(mark, size);
  const cover = emptyCover(pieces.flat(), 1, size);
  if (cover) fill(cover, pieces);
  return cover;
}

/**
 * Work out what the stroke of a mark covers.
 * @param {Mark} mark
 * @param {Size} size
 */
function lineCover(mark, size) {
  const stroke = strokeOf(mark, size);
  const reach = stroke / 2 + 1;
  const pieces = segmentsOf(mark, size);
  const cover = emptyCover(pieces.flat(), reach, size);
  if (!cover) return null;
  for (const [[x0, y0], [x1, y1]] of pieces) {
    const [left, right] = span(x0, x1, reach, cover.left, cover.left + cover.width);
    const [top, bottom] = span(y0, y1, reach, cover.top, cover.top + cover.height);
    const [alongX, alongY] = [x1 - x0, y1 - y0];
    const length = alongX ** 2 + alongY ** 2;
    for (let row = top; row < bottom; row++) {
      const start = (row - cover.top) * cover.width - cover.left;
      const offY = row + 0.5 - y0;
      for (let column = left; column < right; column++) {
        const offX = column + 0.5 - x0;
        const share = length ? Math.min(Math.max((offX * alongX + offY * alongY) / length, 0), 1) : 0;
        const [acrossX, acrossY] = [offX - share * alongX, offY - share * alongY];
        const value = stroke / 2 + 0.5 - Math.sqrt(acrossX * acrossX + acrossY * acrossY);
        if (value > /** @type {number} */ (cover.values[start + column]))
          cover.values[start + column] = Math.min(value, 1);
      }
    }
  }
  return cover;
}

/**
 * Work out what words cover.
 * @param {Mark} mark
 * @param {Size} size
 * @param {Font} font
 */
function textCover(mark, size, font) {
  const [at] = /** @type {[Point]} */ (pixelsOf(mark, size));
  const text = linesOf(mark, size, (words) => measured(font, words));
  const letters = lettersOf(font, text, at, strokeOf(mark, size)).map((one) => letterPieces(font, one));
  const cover = emptyCover(letters.flat(2), 1, size);
  if (!cover) return null;
  for (const pieces of letters) {
    const part = emptyCover(pieces.flat(), 1, size);
    if (!part) continue;
    fill(part, pieces);
    for (let row = 0; row < part.height; row++) {
      const from = row * part.width;
      const to = (row + part.top - cover.top) * cover.width + part.left - cover.left;
      for (let i = 0; i < part.width; i++)
        cover.values[to + i] = Math.max(Number(cover.values[to + i]), Number(part.values[from + i]));
    }
  }
  return cover;
}

/**
 * Make a cover around points, with nothing in it.
 * @param {Point[]} points
 * @param {number} reach
 * @param {Size} size
 * @returns {Cover | null}
 */
function emptyCover(points, reach, size) {
  if (!points.length) return null;
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    [x0, x1] = [Math.min(x0, x), Math.max(x1, x)];
    [y0, y1] = [Math.min(y0, y), Math.max(y1, y)];
  }
  const [left, right] = span(x0, x1, reach, 0, size.width);
  const [top, bottom] = span(y0, y1, reach, 0, size.height);
  if (left >= right || top >= bottom) return null;
  const [width, height] = [right - left, bottom - top];
  return { left, top, width, height, values: new Float32Array(width * height) };
}

/**
 * Find the whole pixels between two ends that a stroke reaches.
 * @param {number} first
 * @param {number} second
 * @param {number} reach
 * @param {number} low
 * @param {number} high
 * @returns {[number, number]}
 */
function span(first, second, reach, low, high) {
  return [
    Math.max(Math.floor(Math.min(first, second) - reach), low),
    Math.min(Math.ceil(Math.max(first, second) + reach), high),
  ];
}

/**
 * Fill closed outlines, each pixel by the area that is inside.
 * What crosses a row adds its share to the pixel it goes through and to all right of it; sums along the row
 * are the areas.
 * @param {Cover} cover
 * @param {[Point, Point][]} pieces
 */
function fill(cover, pieces) {
  const { left, top, width, height, values } = cover;
  const sums = new Float64Array((width + 1) * height);
  for (const [[ax, ay], [bx, by]] of pieces) {
    if (ay === by) continue;
    const way = ay < by ? 1 : -1;
    const [x0, y0, x1, y1] = ay < by ? [ax, ay, bx, by] : [bx, by, ax, ay];
    const slope = (x1 - x0) / (y1 - y0);
    for (let row = Math.max(Math.floor(y0) - top, 0); row < Math.min(Math.ceil(y1) - top, height); row++) {
      const [from, to] = [Math.max(y0, row + top), Math.min(y1, row + top + 1)];
      if (to <= from) continue;
      const [xa, xb] = [x0 + (from - y0) * slope - left, x0 + (to - y0) * slope - left];
      addCrossing(sums, row * (width + 1), width, Math.min(xa, xb), Math.max(xa, xb), way * (to - from));
    }
  }
  for (let row = 0; row < height; row++) {
    let sum = 0;
    for (let column = 0; column < width; column++) {
      sum += Number(sums[row * (width + 1) + column]);
      values[row * width + column] = Math.min(Math.abs(sum), 1);
    }
  }
}

/**
 * Add one piece within one row, from x0 to x1: how much it changes the area from pixel to pixel.
 * @param {Float64Array} sums
 * @param {number} start of the row
 * @param {number} width
 * @param {number} x0
 * @param {number} x1
 * @param {number} rise how much of the row's height it crosses, with its sign
 */
function addCrossing(sums, start, width, x0, x1, rise) {
  const area = (/** @type {number} */ column) => areaLeftOf(x0, x1, column + 1) * rise;
  let before = 0;
  const first = Math.min(Math.max(Math.floor(x0), 0), width);
  if (first >= width) return; // right of all that is looked at
  const last = Math.min(Math.max(Math.ceil(x1), first + 1), width);
  for (let column = first; column < last; column++) {
    const inside = area(column) - area(column - 1); // of this pixel's own column
    sums[start + column] = Number(sums[start + column]) + inside - before;
    before = inside;
  }
  sums[start + last] = Number(sums[start + last]) + rise - before;
}

/**
 * Integrate, up to x, the share of a piece from x0 to x1 that lies left of it.
 * @param {number} x0
 * @param {number} x1
 * @param {number} x
 */
function areaLeftOf(x0, x1, x) {
  if (x <= x0) return 0;
  if (x >= x1) return x - (x0 + x1) / 2;
  return (x - x0) ** 2 / (2 * (x1 - x0));
}
