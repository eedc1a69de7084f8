// @ts-check
/**
 * The outlines of the pack's one font, web/fonts/Aileron-Regular.ttf, and where the letters of a text stand:
 * each at its own width, without kerning, as in kontext_core/images/lettering.py. Reads what that file has:
 * plain glyphs, short offsets.
 */

/** @typedef {import("./format.js").Point} Point */
/** @typedef {{ x: number, y: number, on: boolean }} Corner in em; off the curve it is a control point */
/** @typedef {{ advance: number, outlines: Corner[][] }} Glyph in em */
/** @typedef {{ glyph(letter: string): Glyph, has(letter: string): boolean }} Font */
/**
 * @typedef {{ letter: string, pen: Point, size: number }} Letter where its baseline begins, and its em, in px
 */

const ASCENT = 0.97; // from the upper edge to the baseline, in em
const LINE = 1.2; // from line to line, in em
const CURVE_PX = 0.02; // how far a chord may lie from its curve

/**
 * Read a font from its file.
 * @param {ArrayBuffer} file of a font
 * @returns {Font}
 */
export function readFont(file) {
  const data = new DataView(file);
  const tables = new Map(
    Array.from({ length: data.getUint16(4) }, (_, i) => {
      const at = 12 + 16 * i;
      const name = [0, 1, 2, 3].map((k) => String.fromCharCode(data.getUint8(at + k))).join("");
      return [name, data.getUint32(at + 8)];
    }),
  );
  const table = (/** @type {string} */ name) => {
    const at = tables.get(name);
    if (at === undefined) throw new Error(`the font has no table '${name}'`);
    return at;
  };
  const units = data.getUint16(table("head") + 18);
  const widths = data.getUint16(table("hhea") + 34);
  const cmap = table("cmap");
  const numbers = cmap + data.getUint32(cmap + 8); // the first table of letters
  /** @type {Map<number, Glyph>} */
  const known = new Map();

  /**
   * Read a glyph by its number.
   * @param {number} number
   * @returns {Glyph}
   */
  function read(number) {
    const advance = data.getUint16(table("hmtx") + 4 * Math.min(number, widths - 1)) / units;
    const at = table("loca") + 2 * number;
    const [start, end] = [2 * data.getUint16(at), 2 * data.getUint16(at + 2)];
    return { advance, outlines: end > start ? outlinesAt(data, table("glyf") + start, units) : [] };
  }

  const numberOf = (/** @type {string} */ letter) => glyphNumber(data, numbers, letter.codePointAt(0) ?? 0);

  return {
    has: (letter) => numberOf(letter) > 0,
    glyph(letter) {
      const number = numberOf(letter);
      let found = known.get(number);
      if (!found) {
        found = read(number);
        known.set(number, found);
      }
      return found;
    },
  };
}

/**
 * Find the glyph of a letter; 0 (an empty box) if there is none.
 * @param {DataView} data
 * @param {number} at of the table
 * @param {number} code
 */
function glyphNumber(data, at, code) {
  const twice = data.getUint16(at + 6); // two bytes a range
  for (let i = 0; i < twice; i += 2) {
    if (code > data.getUint16(at + 14 + i)) continue;
    const first = data.getUint16(at + 16 + twice + i);
    return code < first ? 0 : (code + data.getInt16(at + 16 + 2 * twice + i)) & 0xffff;
  }
  return 0;
}

/**
 * Read the outlines of a glyph.
 * @param {DataView} data
 * @param {number} at of the glyph
 * @param {number} units in an em
 * @returns {Corner[][]}
 */
function outlinesAt(data, at, units) {
  const count = data.getInt16(at);
  const ends = Array.from({ length: count }, (_, i) => data.getUint16(at + 10 + 2 * i));
  const corners = (ends.at(-1) ?? -1) + 1;
  let next = at + 10 + 2 * count;
  next += 2 + data.getUint16(next); // over the instructions
  /** @type {number[]} */
  const flags = [];
  while (flags.length < corners) {
    const flag = data.getUint8(next++);
    const times = flag & 8 ? data.getUint8(next++) + 1 : 1;
    for (let i = 0; i < times; i++) flags.push(flag);
  }
  /**
   * Read one coordinate of all corners.
   * @param {number} short the bit for one byte
   * @param {number} same the bit for the sign, or for no change
   */
  const read = (short, same) => {
    let value = 0;
    return flags.map((flag) => {
      if (flag & short) value += flag & same ? data.getUint8(next++) : -data.getUint8(next++);
      else if (!(flag & same)) {
        value += data.getInt16(next);
        next += 2;
      }
      return value / units;
    });
  };
  const xs = read(2, 16);
  const ys = read(4, 32);
  return ends.map((end, i) => {
    const start = i ? Number(ends[i - 1]) + 1 : 0;
    return flags
      .slice(start, end + 1)
      .map((flag, k) => ({ x: Number(xs[start + k]), y: Number(ys[start + k]), on: Boolean(flag & 1) }));
  });
}

/**
 * Place the letters of a text.
 * @param {Font} font
 * @param {string} text
 * @param {Point} at its upper left corner in px
 * @param {number} size of an em in px
 * @returns {Letter[]}
 */
export function lettersOf(font, text, [left, top], size) {
  return text.split("\n").flatMap((line, row) => {
    let x = left;
    const y = top + (ASCENT + LINE * row) * size;
    return [...line].map((letter) => {
      /** @type {Letter} */
      const placed = { letter, pen: [x, y], size };
      x += font.glyph(letter).advance * size;
      return placed;
    });
  });
}

/**
 * Measure the width and height of a text, in em.
 * @param {Font} font
 * @param {string} text
 * @returns {[number, number]}
 */
export function measured(font, text) {
  const lines = text.split("\n");
  const wide = lines.map((line) => [...line].reduce((sum, letter) => sum + font.glyph(letter).advance, 0));
  return [Math.max(...wide), LINE * lines.length];
}

/**
 * Draw the outlines of a letter as straight pieces in px.
 * @param {Font} font
 * @param {Letter} placed
 * @returns {[Point, Point][]}
 */
export function letterPieces(font, { letter, pen, size }) {
  return font.glyph(letter).outlines.flatMap((outline) => {
    const corners = outline.map(({ x, y, on }) => ({ x: pen[0] + x * size, y: pen[1] - y * size, on }));
    return closedPieces(corners);
  });
}

/**
 * Draw one outline, back to where it began, as straight pieces.
 * @param {Corner[]} corners
 * @returns {[Point, Point][]}
 */
function closedPieces(corners) {
  /** @type {Corner[]} */
  const whole = []; // between two control points lies a point of the curve
  corners.forEach((corner, i) => {
    const before = /** @type {Corner} */ (corners.at(i - 1));
    if (!before.on && !corner.on)
      whole.push({ x: (before.x + corner.x) / 2, y: (before.y + corner.y) / 2, on: true });
    whole.push(corner);
  });
  const first = whole.findIndex((corner) => corner.on);
  if (first < 0) return [];
  const turned = [...whole.slice(first), ...whole.slice(0, first + 1)];
  /** @type {[Point, Point][]} */
  const pieces = [];
  let from = /** @type {Corner} */ (turned[0]);
  for (let i = 1; i < turned.length; i++) {
    const corner = /** @type {Corner} */ (turned[i]);
    if (corner.on) {
      pieces.push([
        [from.x, from.y],
        [corner.x, corner.y],
      ]);
      from = corner;
    } else {
      const to = /** @type {Corner} */ (turned[++i]);
      pieces.push(...curvePieces(from, corner, to));
      from = to;
    }
  }
  return pieces;
}

/**
 * Draw a quadratic curve as chords.
 * @param {Corner} from
 * @param {Corner} control
 * @param {Corner} to
 * @returns {[Point, Point][]}
 */
function curvePieces(from, control, to) {
  const bend = Math.hypot(from.x - 2 * control.x + to.x, from.y - 2 * control.y + to.y) / 4;
  const count = Math.max(Math.ceil(Math.sqrt(bend / CURVE_PX)), 1);
  const points = Array.from({ length: count + 1 }, (_, i) => {
    const [t, s] = [i / count, 1 - i / count];
    return /** @type {Point} */ ([
      s * s * from.x + 2 * s * t * control.x + t * t * to.x,
      s * s * from.y + 2 * s * t * control.y + t * t * to.y,
    ]);
  });
  return points.slice(1).map((point, i) => [/** @type {Point} */ (points[i]), point]);
}
