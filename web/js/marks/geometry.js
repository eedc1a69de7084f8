// @ts-check
/**
 * Geometry of marks in pixels of a picture: their straight pieces, bounds, what lies under a pointer, moving.
 */

import { allowed, isArea } from "./format.js";

/** @typedef {import("./format.js").Mark} Mark */
/** @typedef {import("./format.js").Point} Point */
/** @typedef {[left: number, top: number, right: number, bottom: number]} Bounds */
/** @typedef {{ width: number, height: number }} Size of a picture in px */

const HEAD = 4.5; // length of an arrow's head, in stroke widths
const CORNERS = 96; // of the polygon that stands for an ellipse
const LETTER = 0.55; // an average letter's width in em, for bounds before the font is there

const SLACK = 1e-6; // em by which a line may be too long, so that one that just fits does so on every size

/**
 * Tell whether all that a mark's outline goes around counts, and no stroke.
 * @param {Mark} mark
 */
export const isFilled = (mark) => isArea(mark) && mark.kind !== "brush";

/**
 * Tell the stroke's width, or a text's height, in px.
 * @param {Mark} mark
 * @param {Size} size
 */
export function strokeOf(mark, { width, height }) {
  if (isFilled(mark)) return 0;
  const stroke = mark.width * Math.min(width, height);
  return mark.kind === "text" ? Math.max(stroke, 1) : stroke;
}

/**
 * Convert a mark's points into px.
 * @param {Mark} mark
 * @param {Size} size
 * @returns {Point[]}
 */
export const pixelsOf = (mark, { width, height }) => mark.points.map(([x, y]) => [x * width, y * height]);

/**
 * List the straight pieces of a mark that is no text, in px.
 * @param {Mark} mark
 * @param {Size} size
 * @returns {[Point, Point][]}
 */
export function segmentsOf(mark, size) {
  const points = pixelsOf(mark, size);
  if (mark.kind === "freehand" || mark.kind === "brush") {
    const closed = points.length === 1 || isFilled(mark); // a dot, or a line that goes around
    return pairwise(closed ? [...points, /** @type {Point} */ (points[0])] : points);
  }
  const [[x0, y0], [x1, y1]] = /** @type {[Point, Point]} */ (points);
  if (mark.kind === "box") {
    return pairwise([
      [x0, y0],
      [x1, y0],
      [x1, y1],
      [x0, y1],
      [x0, y0],
    ]);
  }
  if (mark.kind === "ellipse") {
    const [x, y, halfWidth, halfHeight] = [(x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2];
    return pairwise(
      Array.from({ length: CORNERS + 1 }, (_, i) => {
        const turn = (2 * Math.PI * i) / CORNERS;
        return [x + halfWidth * Math.cos(turn), y + halfHeight * Math.sin(turn)];
      }),
    );
  }
  const back = Math.atan2(y0 - y1, x0 - x1);
  const length = HEAD * strokeOf(mark, size);
  const side = (/** @type {number} */ turn) =>
    /** @type {[Point, Point]} */ ([
      [x1, y1],
      [x1 + length * Math.cos(back + turn), y1 + length * Math.sin(back + turn)],
    ]);
  return [
    [
      [x0, y0],
      [x1, y1],
    ],
    side(-Math.PI / 6),
    side(Math.PI / 6),
  ];
}

/**
 * List the pieces between each point and the next.
 * @param {Point[]} points
 * @returns {[Point, Point][]}
 */
const pairwise = (points) => points.slice(1).map((point, i) => [/** @type {Point} */ (points[i]), point]);

/**
 * Measure how far a point is from a straight piece.
 * @param {Point} point
 * @param {[Point, Point]} piece
 */
export function distance([x, y], [[x0, y0], [x1, y1]]) {
  const [alongX, alongY] = [x1 - x0, y1 - y0];
  const length = alongX ** 2 + alongY ** 2;
  const share = length ? Math.min(Math.max(((x - x0) * alongX + (y - y0) * alongY) / length, 0), 1) : 0;
  return Math.hypot(x - x0 - share * alongX, y - y0 - share * alongY);
}

/**
 * The size of a text in em: how wide its longest line is, how many lines.
 * @typedef {(text: string) => [number, number]} Measure
 */

/** @type {Measure} */
const roughly = (text) => {
  const lines = text.split("\n");
  return [Math.max(...lines.map((line) => [...line].length)) * LETTER, lines.length * 1.2];
};

/**
 * Tell how many em of a text's line lie between its beginning and the picture's right edge.
 * @param {Mark} mark
 * @param {Size} size
 */
export function roomFor(mark, size) {
  const [[x]] = /** @type {[Point]} */ (pixelsOf(mark, size));
  return (size.width - x) / strokeOf(mark, size);
}

/**
 * Break a text into lines that fit into so many em, between words; a word alone may be longer. A line that
 * fits stays as it is, with all its spaces. As kontext_core/images/lettering.py does it.
 * @param {string} text
 * @param {number} room
 * @param {Measure} measure
 */
export function wrapped(text, room, measure) {
  const fits = (/** @type {string} */ line) => measure(line)[0] <= room + SLACK;
  return text
    .split("\n")
    .flatMap((line) => {
      if (fits(line)) return [line];
      /** @type {string[]} */
      const parts = [];
      for (const word of line.split(" ").filter(Boolean)) {
        const longer = `${parts.at(-1) ?? ""} ${word}`.trim();
        if (parts.length && fits(longer)) parts[parts.length - 1] = longer;
        else parts.push(word);
      }
      return parts.length ? parts : [line];
    })
    .join("\n");
}

/**
 * Get the words of a mark in the lines in which they are drawn.
 * @param {Mark} mark
 * @param {Size} size
 * @param {Measure} measure
 */
export const linesOf = (mark, size, measure) => wrapped(mark.text, roomFor(mark, size), measure);

/**
 * Tell whether words of a mark lie outside of the picture, where nobody sees them.
 * @param {Mark} mark
 * @param {Size} size
 * @param {Measure} measure
 */
export function runsOut(mark, size, measure) {
  if (mark.kind !== "text") return false;
  const [left, top, right, bottom] = boundsOf(mark, size, measure);
  const slack = 0.5; // of a pixel
  return left < -slack || top < -slack || right > size.width + slack || bottom > size.height + slack;
}

/**
 * Find the box that a mark covers, in px.
 * @param {Mark} mark
 * @param {Size} size
 * @param {Measure} [measure]
 * @returns {Bounds}
 */
export function boundsOf(mark, size, measure = roughly) {
  const stroke = strokeOf(mark, size);
  if (mark.kind === "text") {
    const [[x, y]] = /** @type {[Point]} */ (pixelsOf(mark, size));
    const [wide, high] = measure(linesOf(mark, size, measure));
    return [x, y, x + wide * stroke, y + high * stroke];
  }
  const points = segmentsOf(mark, size).flat();
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const least = (/** @type {number[]} */ all) => all.reduce((a, b) => Math.min(a, b)) - stroke / 2;
  const most = (/** @type {number[]} */ all) => all.reduce((a, b) => Math.max(a, b)) + stroke / 2;
  return [least(xs), least(ys), most(xs), most(ys)];
}

/**
 * Find the uppermost mark under a point; -1 if there is none.
 * @param {readonly Mark[]} marks
 * @param {Point} at in px
 * @param {Size} size
 * @param {number} reach in px
 * @param {Measure} [measure]
 */
export function hit(marks, at, size, reach, measure = roughly) {
  return lastIndex(marks, (mark) => {
    if (mark.kind === "text") {
      const [left, top, right, bottom] = boundsOf(mark, size, measure);
      return (
        at[0] >= left - reach && at[0] <= right + reach && at[1] >= top - reach && at[1] <= bottom + reach
      );
    }
    const near = strokeOf(mark, size) / 2 + reach;
    if (isFilled(mark) && isAround(segmentsOf(mark, size), at)) return true;
    return segmentsOf(mark, size).some((piece) => distance(at, piece) <= near);
  });
}

/**
 * Tell whether pieces go around a point.
 * @param {[Point, Point][]} pieces
 * @param {Point} point
 */
function isAround(pieces, [x, y]) {
  let turns = 0;
  for (const [[x0, y0], [x1, y1]] of pieces) {
    if (y0 <= y === y1 <= y) continue;
    if (x0 + ((y - y0) / (y1 - y0)) * (x1 - x0) > x) turns += y1 > y0 ? 1 : -1;
  }
  return turns !== 0;
}

/**
 * Find the last that fits.
 * @template T
 * @param {readonly T[]} all
 * @param {(one: T) => boolean} fits
 * @returns {number} -1 if none does
 */
function lastIndex(all, fits) {
  let i = all.length - 1;
  while (i >= 0 && !fits(/** @type {T} */ (all[i]))) i--;
  return i;
}

/**
 * List where a mark can be taken to reshape it: numbers of its points.
 * @param {Mark} mark
 */
export const gripsOf = (mark) => (["freehand", "text", "brush"].includes(mark.kind) ? [] : [0, 1]);

/**
 * Find the grip of a mark under a point; -1 if there is none.
 * @param {Mark} mark
 * @param {Point} at
 * @param {Size} size
 * @param {number} reach
 */
export function hitGrip(mark, at, size, reach) {
  const points = pixelsOf(mark, size);
  return lastIndex(gripsOf(mark), (i) => {
    const [x, y] = /** @type {Point} */ (points[i]);
    return Math.hypot(at[0] - x, at[1] - y) <= reach;
  });
}

/**
 * Move a mark, as far as its points may go.
 * @param {Mark} mark
 * @param {Point} by in fractions
 * @returns {Mark}
 */
export function moved(mark, by) {
  const span = [0, 1].map((axis) => {
    const all = mark.points.map((point) => /** @type {number} */ (point[axis]));
    const [low, high] = [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
    return Math.min(Math.max(/** @type {number} */ (by[axis]), -1 - low), 2 - high);
  });
  const [byX, byY] = /** @type {Point} */ (span);
  return { ...mark, points: mark.points.map(([x, y]) => allowed([x + byX, y + byY])) };
}

/**
 * Put one point of a mark elsewhere.
 * @param {Mark} mark
 * @param {number} index
 * @param {Point} to
 * @returns {Mark}
 */
export const reshaped = (mark, index, to) => ({
  ...mark,
  points: mark.points.map((point, i) => (i === index ? allowed(to) : point)),
});

/**
 * Give a drawn line fewer points, none farther from the given ones than the tolerance (Douglas and Peucker,
 * 1973).
 * @param {readonly Point[]} points in fractions
 * @param {Size} size
 * @param {number} tolerance in px
 * @returns {Point[]}
 */
export function simplified(points, size, tolerance) {
  const [first, last] = [points[0], points.at(-1)];
  if (!first || !last) return [];
  const kept = new Set([0, points.length - 1]);
  const scaled = points.map(([x, y]) => /** @type {Point} */ ([x * size.width, y * size.height]));
  const open = [[0, points.length - 1]];
  for (let part = open.pop(); part; part = open.pop()) {
    const [from, to] = /** @type {[number, number]} */ (part);
    const line = /** @type {[Point, Point]} */ ([scaled[from], scaled[to]]);
    let [farthest, away] = [-1, tolerance];
    for (let i = from + 1; i < to; i++) {
      const far = distance(/** @type {Point} */ (scaled[i]), line);
      if (far > away) [farthest, away] = [i, far];
    }
    if (farthest < 0) continue;
    kept.add(farthest);
    open.push([from, farthest], [farthest, to]);
  }
  const thinned = points.filter((_, i) => kept.has(i));
  return thinned.length > 1 ? thinned : [first, last];
}
