// @ts-check
/**
 * Where the boxes of the layout picture lie: one plane for each index, all to one scale. Pure functions on
 * numbers.
 */

/**
 * @typedef {object} Picture One picture as the plan has it, in tokens.
 * @property {[number, number, number]} corner index, row, column
 * @property {[number, number]} size height, width
 * @property {number} tokens
 * @property {boolean} known whether its size is
 * @property {boolean} [region] whether only a part of its tokens ride along
 */

/**
 * @typedef {object} Plan What the server answers.
 * @property {string} layout
 * @property {boolean} published whether it is for the published model, for want of another
 * @property {Picture} target
 * @property {(Picture | null)[]} references null: left out
 * @property {number} text_tokens
 * @property {number} tokens
 * @property {number} time_factor
 * @property {number} memory bytes of activations
 */

/** @typedef {{ x: number, y: number, width: number, height: number }} Box */
/** @typedef {Box & { number: number, picture: Picture }} Placed number 0 is the target */
/** @typedef {Box & { index: number, boxes: Placed[] }} Plane */

const GAP = 14;
const TITLE = 12;
const FAR = 4;

/**
 * Find the part of a plane to show, in tokens: from its origin, unless its pictures lie far from it.
 * @param {Picture[]} pictures
 */
function extent(pictures) {
  const bottom = Math.max(...pictures.map(({ corner, size }) => corner[1] + size[0]));
  const right = Math.max(...pictures.map(({ corner, size }) => corner[2] + size[1]));
  let top = Math.min(...pictures.map(({ corner }) => corner[1]));
  let left = Math.min(...pictures.map(({ corner }) => corner[2]));
  if (top <= FAR * (bottom - top)) top = 0;
  if (left <= FAR * (right - left)) left = 0;
  return { top, left, height: bottom - top, width: right - left };
}

/**
 * Place planes side by side, in as many rows as make them largest.
 * @param {Plan} plan
 * @param {number} width
 * @param {number} height room for all
 * @returns {Plane[]}
 */
export function planesOf(plan, width, height) {
  /** @type {Map<number, { number: number, picture: Picture }[]>} */
  const byIndex = new Map();
  [plan.target, ...plan.references].forEach((picture, number) => {
    if (picture)
      byIndex.set(picture.corner[0], [...(byIndex.get(picture.corner[0]) ?? []), { number, picture }]);
  });
  const groups = [...byIndex].sort(([a], [b]) => a - b);
  const extents = groups.map(([, given]) => extent(given.map((one) => one.picture)));
  let best = { scale: 0, perRow: groups.length };
  for (let rows = 1; rows <= groups.length; rows++) {
    const perRow = Math.ceil(groups.length / rows);
    const scale = scaleFor(extents, perRow, width, height);
    if (scale > best.scale) best = { scale, perRow };
  }
  const { scale, perRow } = best;
  /** @type {Plane[]} */
  const planes = [];
  let y = 0;
  for (let start = 0; start < groups.length; start += perRow) {
    const row = groups.slice(start, start + perRow);
    const sizes = extents.slice(start, start + perRow);
    const taken = sizes.reduce((sum, one) => sum + one.width * scale, GAP * (row.length - 1));
    let x = (width - taken) / 2;
    row.forEach(([index, given], i) => {
      const seen = /** @type {ReturnType<typeof extent>} */ (sizes[i]);
      const top = y + TITLE;
      planes.push({
        index,
        x,
        y: top,
        width: seen.width * scale,
        height: seen.height * scale,
        boxes: given.map(({ number, picture }) => ({
          number,
          picture,
          x: x + (picture.corner[2] - seen.left) * scale,
          y: top + (picture.corner[1] - seen.top) * scale,
          width: picture.size[1] * scale,
          height: picture.size[0] * scale,
        })),
      });
      x += seen.width * scale + GAP;
    });
    y += Math.max(...sizes.map((one) => one.height)) * scale + TITLE;
  }
  return planes;
}

/**
 * Find how many pixels a token takes, so that rows of so many planes fit.
 * @param {{ width: number, height: number }[]} extents
 * @param {number} perRow
 * @param {number} width
 * @param {number} height
 */
function scaleFor(extents, perRow, width, height) {
  let high = 0;
  let scale = Number.POSITIVE_INFINITY;
  let rows = 0;
  for (let start = 0; start < extents.length; start += perRow, rows++) {
    const row = extents.slice(start, start + perRow);
    const wide = row.reduce((sum, one) => sum + one.width, 0);
    scale = Math.min(scale, (width - GAP * (row.length - 1)) / wide);
    high += Math.max(...row.map((one) => one.height));
  }
  return Math.min(scale, (height - TITLE * rows) / high);
}

/**
 * Write bytes for people.
 * @param {number} bytes
 */
export function inWords(bytes) {
  const units = ["KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(Math.max(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), 1), units.length);
  const count = bytes / 1024 ** power;
  return `${count < 10 ? count.toFixed(1) : Math.round(count)} ${units[power - 1]}`;
}
