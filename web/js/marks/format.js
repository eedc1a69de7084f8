// @ts-check
/**
 * The marks of a Kontext Visual Cue as they stand in the workflow: the same format that
 * kontext_core/images/marks.py reads. Points are fractions of the picture's width and height; a width is a
 * fraction of its shorter side.
 */

/** @typedef {[x: number, y: number]} Point */
/** @typedef {"ellipse" | "box" | "arrow" | "freehand" | "text" | "brush"} Kind */
/**
 * @typedef {object} Mark One mark; never changed, only replaced.
 * @property {Kind} kind
 * @property {readonly Point[]} points
 * @property {string} colour "#rrggbb"
 * @property {number} width of the stroke; of a text its height; an area has one only if it is a brush's
 * @property {string} text
 * @property {boolean} [mask] whether it is an area: a part of where an edit may reach
 * @property {boolean} [erase] whether a brush takes away from the areas before it
 */

export const VERSION = 2; // 1 has no areas
/** @type {readonly Kind[]} */
export const KINDS = ["ellipse", "box", "arrow", "freehand", "text"];
/** @type {readonly Kind[]} */
export const AREA_KINDS = ["ellipse", "box", "freehand", "brush"];
export const MOST_MARKS = 500;
export const MOST_POINTS = 10_000;
export const MOST_LETTERS = 200;
export const COLOUR = "#ee0d14";
export const WIDTH = 0.02;
const DIGITS = 1e5; // of a fraction: a tenth of a pixel in 10,000

/**
 * Read the marks in a widget's text; empty is none.
 * @param {string} text
 * @returns {Mark[]}
 * @throws {Error} in one sentence that names the mark
 */
export function readMarks(text) {
  if (!text.trim()) return [];
  let given;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw new Error(`the marks are not JSON: ${/** @type {Error} */ (error).message}`);
  }
  if (!Array.isArray(given?.marks)) throw new Error('the marks must be {"version": 1, "marks": [...]}');
  if (given.version !== 1 && given.version !== VERSION)
    throw new Error(
      `the marks have version ${given.version}, but this pack reads versions up to ${VERSION}; update the pack`,
    );
  if (given.marks.length > MOST_MARKS)
    throw new Error(`there are ${given.marks.length} marks, but ${MOST_MARKS} is the maximum`);
  /** @type {Mark[]} */
  const marks = given.marks.map((/** @type {unknown} */ one, /** @type {number} */ i) =>
    readMark(one, i + 1),
  );
  const first = marks.findIndex(isArea);
  if (first >= 0 && given.version === 1)
    throw new Error(
      `mark ${first + 1}: it is an area, which version 1 of the marks does not have: write "version": 2`,
    );
  return marks;
}

/**
 * Tell whether a mark is an area, which the model does not see.
 * @param {Mark} mark
 */
export const isArea = (mark) => mark.mask === true;

/**
 * Write the text for a widget, a mark a line; "" where there are none. Without areas it is as older packs
 * read it.
 * @param {readonly Mark[]} marks
 */
export function writeMarks(marks) {
  if (!marks.length) return "";
  const lines = marks.map(({ kind, points, colour, width, text, mask, erase }) =>
    JSON.stringify({
      kind,
      points: points.map((point) => point.map(rounded)),
      colour,
      width: Math.max(rounded(width), 1 / DIGITS),
      ...(kind === "text" ? { text } : {}),
      ...(mask ? { mask } : {}),
      ...(erase ? { erase } : {}),
    }),
  );
  return `{"version": ${marks.some(isArea) ? VERSION : 1}, "marks": [\n  ${lines.join(",\n  ")}\n]}`;
}

/**
 * Find the nearest point that a mark may have.
 * @param {Point} point
 * @returns {Point}
 */
export const allowed = ([x, y]) => [clamped(x), clamped(y)];

const clamped = (/** @type {number} */ part) => Math.min(Math.max(part, -1), 2);

const rounded = (/** @type {number} */ value) => Math.round(value * DIGITS) / DIGITS;

const isNumber = (/** @type {unknown} */ value) => typeof value === "number" && Number.isFinite(value);

/**
 * Read one mark, with its default looks.
 * @param {unknown} given
 * @param {number} number
 * @returns {Mark}
 */
function readMark(given, number) {
  const wrong = (/** @type {string} */ what) => new Error(`mark ${number}: ${what}`);
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw wrong("it must be an object with 'kind' and 'points'");
  const { kind, points, colour = COLOUR, width = WIDTH, text = "" } = /** @type {any} */ (given);
  const { mask = false, erase = false } = /** @type {any} */ (given);
  if (typeof mask !== "boolean" || typeof erase !== "boolean")
    throw wrong("its mask and erase must be true or false");
  const kinds = mask ? AREA_KINDS : KINDS;
  if (!kinds.includes(kind)) throw wrong(`its kind must be one of ${kinds.join(", ")}`);
  if (erase && kind !== "brush") throw wrong("only a brush can erase");
  const [least, most] = rangeOf(kind, mask);
  if (!Array.isArray(points) || points.length < least || points.length > most || !points.every(isPoint))
    throw wrong(
      `its points must be ${least === most ? least : `${least} to ${most}`} pairs [x, y] from -1 to 2`,
    );
  if (typeof colour !== "string" || !/^#[0-9a-f]{6}$/i.test(colour))
    throw wrong("its colour must be written #rrggbb");
  if (!isNumber(width) || width <= 0 || width > 1) throw wrong("its width must be above 0 and up to 1");
  if (typeof text !== "string" || [...text].length > MOST_LETTERS || (kind === "text" && !text.trim()))
    throw wrong(`its text must have 1 to ${MOST_LETTERS} letters`);
  return { kind, points, colour, width, text, ...(mask ? { mask, erase } : {}) };
}

/**
 * Tell how few and how many points a mark has.
 * @param {Kind} kind
 * @param {boolean} mask
 * @returns {[number, number]}
 */
function rangeOf(kind, mask) {
  if (kind === "freehand") return [mask ? 3 : 2, MOST_POINTS];
  if (kind === "brush") return [1, MOST_POINTS];
  return kind === "text" ? [1, 1] : [2, 2];
}

/**
 * Tell whether a value is a point that a mark may have.
 * @param {unknown} given
 */
const isPoint = (given) =>
  Array.isArray(given) &&
  given.length === 2 &&
  given.every((part) => isNumber(part) && part >= -1 && part <= 2);
