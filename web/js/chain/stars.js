// @ts-check
/** Favourites among the pictures of a turn: they lie in its node, and so in the workflow. */

const STARS = "Kontext.stars"; // of the node's properties
export const MOST_STARS = 30;

/** @typedef {{ seed: number, words: string }} Star */

/**
 * List the favourites of a turn, the last one first.
 * @param {Page.Node} node
 * @returns {Star[]}
 */
export function starsOf(node) {
  const stars = /** @type {unknown} */ (node.properties?.[STARS]);
  return Array.isArray(stars) ? stars.filter(isStar).slice(0, MOST_STARS) : [];
}

/**
 * Tell whether what a workflow holds is a favourite.
 * @param {any} star
 * @returns {star is Star}
 */
const isStar = (star) => Number.isSafeInteger(star?.seed) && typeof star?.words === "string";

/**
 * Find where a picture stands among favourites; -1 if it is none.
 * @param {readonly Star[]} stars
 * @param {{ seed: number | null, words: string }} picture
 */
export const placeAmong = (stars, { seed, words }) =>
  stars.findIndex((star) => star.seed === seed && star.words === words);

/**
 * Make a picture of a turn a favourite, or no longer.
 * @param {Page.Node} node
 * @param {{ seed: number | null, words: string }} picture
 */
export function toggleStar(node, { seed, words }) {
  if (seed === null) return;
  const stars = starsOf(node);
  const at = placeAmong(stars, { seed, words });
  const others = at < 0 ? [{ seed, words }, ...stars].slice(0, MOST_STARS) : stars.filter((_, i) => i !== at);
  const { [STARS]: _, ...properties } = node.properties ?? {};
  node.properties = others.length ? { ...properties, [STARS]: others } : properties;
}
