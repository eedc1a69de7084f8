// @ts-check
/** Marks painted on a canvas of the picture's size, as Python will draw them. */

import { remembered } from "../lib/remembered.js";
import { t } from "../lib/translate.js";
import { coverOf } from "../marks/coverage.js";
import { readFont } from "../marks/font.js";

/** @typedef {import("../marks/font.js").Font} Font */
/** @typedef {import("../marks/format.js").Mark} Mark */
/** @typedef {{ canvas: HTMLCanvasElement, left: number, top: number, size: string } | null} Painted */

const FONT = new URL("../../fonts/Aileron-Regular.ttf", import.meta.url);
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
 * Paint the picture, or plain paper where there is none, with the marks upon it.
 * @param {HTMLCanvasElement} canvas
 * @param {CanvasImageSource | null} picture
 * @param {readonly Mark[]} marks
 * @param {Font} font
 */
export function paint(canvas, picture, marks, font) {
  const context = canvas.getContext("2d");
  if (!context) return;
  if (picture) {
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  } else {
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  for (const mark of marks) {
    const painted = paintedMark(mark, canvas, font, marks.length <= MOST_KEPT);
    if (painted) context.drawImage(painted.canvas, painted.left, painted.top);
  }
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
  const [red, green, blue] = [1, 3, 5].map((i) => Number.parseInt(mark.colour.slice(i, i + 2), 16));
  const words = new Uint8ClampedArray([Number(red), Number(green), Number(blue), 0]);
  for (let i = 0; i < cover.values.length; i++) {
    const value = Number(cover.values[i]);
    if (!value) continue;
    pixels.data.set(words, 4 * i);
    pixels.data[4 * i + 3] = Math.round(255 * value);
  }
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
  return { canvas, left: cover.left, top: cover.top, size };
}
