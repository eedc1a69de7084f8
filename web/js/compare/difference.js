// @ts-check
/** What differs between two pictures, made visible: black where they are equal. */

export const GAIN = 4; // how much larger a difference is shown than it is
const SEEN = 16; // of 255: a channel that is off by more is a change that one can see, as in Kontext Compare
const MOST_PIXELS = 2 ** 24; // of what is compared; larger pictures are compared smaller

/** @typedef {{ canvas: HTMLCanvasElement, changed: number }} Difference changed: share of the pixels */

/**
 * Write the amplified difference of two pictures into the first.
 * @param {Uint8ClampedArray} first RGBA
 * @param {Uint8ClampedArray} second RGBA, as long
 * @returns {number} the share of pixels that differ visibly
 */
export function subtract(first, second) {
  let changed = 0;
  for (let i = 0; i < first.length; i += 4) {
    let most = 0;
    for (let channel = i; channel < i + 3; channel++) {
      const distance = Math.abs((first[channel] ?? 0) - (second[channel] ?? 0));
      most = Math.max(most, distance);
      first[channel] = distance * GAIN;
    }
    first[i + 3] = 255;
    if (most > SEEN) changed++;
  }
  return first.length ? (4 * changed) / first.length : 0;
}

/**
 * Draw the difference of two pictures, at the size of the first.
 * @param {HTMLImageElement} first
 * @param {HTMLImageElement} second
 * @returns {Difference}
 */
export function differenceOf(first, second) {
  const share = Math.min(1, Math.sqrt(MOST_PIXELS / (first.naturalWidth * first.naturalHeight)));
  const width = Math.max(1, Math.round(first.naturalWidth * share));
  const height = Math.max(1, Math.round(first.naturalHeight * share));
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  const [before, after] = [first, second].map((image) => {
    pen.clearRect(0, 0, width, height);
    pen.drawImage(image, 0, 0, width, height);
    return pen.getImageData(0, 0, width, height);
  });
  if (!before || !after) return { canvas, changed: 0 };
  const changed = subtract(before.data, after.data);
  pen.putImageData(before, 0, 0);
  return { canvas, changed };
}
