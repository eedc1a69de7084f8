// @ts-check
/** Marks painted on a canvas of the picture's size, as Python will draw them. */

import { remembered } from "../lib/remembered.js";
import { t } from "../lib/translate.js";
import { coverOf } from "../marks/coverage.js";
import { readFont } from "../marks/font.js";
import { isArea } from "../marks/format.js";

/** @typedef {import("../marks/font.js").Font} Font */
/** @typedef {import("../marks/format.js").Mark} Mark */
/** @typedef {{ canvas: HTMLCanvasElement, left: number, top: number, size: string } | null} Painted */

const FONT = new URL("../../fonts/Aileron-Regular.ttf", import.meta.url);
const OUTSIDE = { marks: "#b0b0b0", area: "#606060" }; // by which the picture is darker outside the area
const INSIDE = { marks: "#ffffff", area: "#b4dcff" }; // and which colours it lets through inside
const GLOW = { colour: "#0a84ff", share: 0.3 }; // that shows the area on a dark picture too
const MOST_KEPT = 60; // marks whose pixels are kept, so that only what changes is drawn anew

/** The pack's font, got once. */
export const loadFont = remembered(async () => {
  const answer = await fetch(FONT).catch(() => null);
  if (answer?.ok) return readFont(await answer.arrayBuffer());
  const why = answer ? `${answer.status} ${answer.statusText}` : t("ComfyUI is not responding");
  throw new Error(t("The font could not be loaded ({why}). Open the editor again to retry.", { why }));
});

/** @type {WeakMap<Mark, { size: string, painted: Painted }>} */
const kept = new WeakMap();

/**
 * Paint the picture, or plain paper where there is none, with the marks upon it, and the area.
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasImageSource | null} picture
 * @param {readonly Mark[]} marks
 * @param {Font} font
 * @param {import("./modes.js").Mode} [mode]
 */
export function paint(canvas, picture, marks, font, mode = "marks") {
  const context = canvas.getContext("2d");
  if (!context) return;
  if (picture) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  } else {
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  const keep = marks.length <= MOST_KEPT;
  for (const mark of marks.filter((one) => !isArea(one))) {
    const painted = paintedMark(mark, canvas, font, keep);
    if (painted) context.drawImage(painted.canvas, painted.left, painted.top);
  }
  const mask = paintedMask(canvas, marks, font);
  if (!mask) return;
  const light = blank(canvas, OUTSIDE[mode]);
  light.globalCompositeOperation = "lighten";
  light.drawImage(coloured(mask, INSIDE[mode]), 0, 0);
  context.save();
  context.globalCompositeOperation = "multiply";
  context.drawImage(light.canvas, 0, 0);
  if (mode === "area") {
    context.globalCompositeOperation = "screen";
    context.globalAlpha = GLOW.share;
    context.drawImage(coloured(mask, GLOW.colour), 0, 0);
  }
  context.restore();
}

/**
 * Paint the mask of the areas, white on black, as Python makes it: an area gives each pixel the larger of both
 * values, an eraser takes its share; null where there are none.
 * @param {{ width: number, height: number }} size
 * @param {readonly Mark[]} marks
 * @param {Font} font
 * @returns {HTMLCanvasElement | null}
 */
export function paintedMask(size, marks, font) {
  const areas = marks.filter(isArea);
  if (!areas.length) return null;
  const context = blank(size, "#000000");
  for (const area of areas) {
    const painted = paintedMark(area, context.canvas, font, areas.length <= MOST_KEPT);
    if (!painted) continue;
    context.globalCompositeOperation = area.erase ? "multiply" : "lighten";
    context.drawImage(painted.canvas, painted.left, painted.top);
  }
  return context.canvas;
}

/**
 * Give a mask a colour in place of white.
 * @param {HTMLCanvasElement} mask
 * @param {string} colour
 */
function coloured(mask, colour) {
  const context = blank(mask, colour);
  context.globalCompositeOperation = "multiply";
  context.drawImage(mask, 0, 0);
  return context.canvas;
}

/**
 * Make a canvas of one colour.
 * @param {{ width: number, height: number }} size
 * @param {string} colour
 */
function blank({ width, height }, colour) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = colour;
  context.fillRect(0, 0, width, height);
  return context;
}

/**
 * Paint a mark, or take it from those that were painted before.
 * @param {Mark} mark
 * @param {HTMLCanvasElement} sheet
 * @param {Font} font
 * @param {boolean} keep
 * @returns {Painted}
 */
function paintedMark(mark, sheet, font, keep) {
  const size = `${sheet.width} ${sheet.height}`;
  const known = kept.get(mark);
  if (known?.size === size) return known.painted;
  const painted = newlyPainted(mark, sheet, font, size);
  if (keep) kept.set(mark, { size, painted });
  return painted;
}

/**
 * Paint a mark on a sheet of its own.
 * @param {Mark} mark
 * @param {HTMLCanvasElement} sheet
 * @param {Font} font
 * @param {string} size
 * @returns {Painted}
 */
function newlyPainted(mark, sheet, font, size) {
  const cover = coverOf(mark, sheet, font);
  if (!cover) return null;
  const canvas = document.createElement("canvas");
  canvas.width = cover.width;
  canvas.height = cover.height;
  const pixels = new ImageData(cover.width, cover.height);
  canvas
    .getContext("2d")
    ?.putImageData(isArea(mark) ? greys(pixels, cover, mark) : inks(pixels, cover, mark), 0, 0);
  return { canvas, left: cover.left, top: cover.top, size };
}

/**
 * Give each pixel as much of an area as it has, as a grey; of an eraser what it leaves.
 * @param {ImageData} pixels
 * @param {import("../marks/coverage.js").Cover} cover
 * @param {Mark} mark
 */
function greys(pixels, { values }, { erase }) {
  for (let i = 0; i < values.length; i++) {
    const grey = Math.round(255 * (erase ? 1 - Number(values[i]) : Number(values[i])));
    pixels.data.fill(grey, 4 * i, 4 * i + 3);
    pixels.data[4 * i + 3] = 255;
  }
  return pixels;
}

/**
 * Give each pixel as much of a mark's colour as it has.
 * @param {ImageData} pixels
 * @param {import("../marks/coverage.js").Cover} cover
 * @param {Mark} mark
 */
function inks(pixels, cover, mark) {
  const [red, green, blue] = [1, 3, 5].map((i) => Number.parseInt(mark.colour.slice(i, i + 2), 16));
  const words = new Uint8ClampedArray([Number(red), Number(green), Number(blue), 0]);
  for (let i = 0; i < cover.values.length; i++) {
    const value = Number(cover.values[i]);
    if (!value) continue;
    pixels.data.set(words, 4 * i);
    pixels.data[4 * i + 3] = Math.round(255 * value);
  }
  return pixels;
}
