// @ts-check
/** What a node that ran says of its pictures. Pure. */

/** @typedef {import("../lib/results.js").DrawnUpon} DrawnUpon */
/** @typedef {import("./state.js").Stored} Stored */

/**
 * List the pictures that a node made, with what it said of each.
 * @param {{ images?: Stored[], text?: string[], seeds?: unknown[], kontext_changed?: unknown[],
 *   kontext_drawn_upon?: DrawnUpon[] }} output
 * @returns {Stored[]}
 */
export function picturesOf({
  images = [],
  text,
  seeds,
  kontext_changed: veils = [],
  kontext_drawn_upon: [drawnUpon] = [],
}) {
  return images.map((image, i) => {
    const veil = String(veils[i] ?? "");
    return {
      ...image,
      ...(text && !seeds && { text }), // of several to choose from it is about the first
      ...(veil.startsWith("data:image/png;") && { veil }),
      ...(drawnUpon && { drawnUpon }),
    };
  });
}
