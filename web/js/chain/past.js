// @ts-check
/** Instructions that were written before: how many are kept, and which fit what is being written. Pure. */

/** How many are kept, and how many bytes they may take. */
const MOST = 200;
const MOST_BYTES = 20_000;
const MOST_SHOWN = 8;

/**
 * Put instructions before those that were kept, newest first, each once, and let go of what is too much.
 * @param {string[]} kept
 * @param {string[]} newest of several the last one is the newest
 * @returns {string[]}
 */
export function keepNewest(kept, newest) {
  const fitting = newest.map((words) => words.trim()).filter((words) => words && size([words]) <= MOST_BYTES);
  const all = [...new Set([...fitting.reverse(), ...kept])].slice(0, MOST);
  while (size(all) > MOST_BYTES) all.pop();
  return all;
}

/**
 * Count the bytes that instructions take where they are kept.
 * @param {string[]} all
 */
const size = (all) => new TextEncoder().encode(JSON.stringify(all)).length;

/**
 * Read what was kept; nothing where it is not a list of instructions.
 * @param {string | null} text
 * @returns {string[]}
 */
export function readKept(text) {
  try {
    const kept = JSON.parse(text ?? "[]");
    return Array.isArray(kept)
      ? keepNewest(
          kept.filter((words) => typeof words === "string"),
          [],
        )
      : [];
  } catch {
    return []; // others may have written it
  }
}

/**
 * Find the instructions that have all words of what is being written, those of the graph first.
 * @param {string} text
 * @param {string[]} own those of the graph
 * @param {string[]} recent
 * @returns {string[]}
 */
export function fitting(text, own, recent) {
  const asked = text.toLowerCase().split(/\s+/).filter(Boolean);
  const all = [...new Set([...own, ...recent].map((words) => words.trim()))];
  const fits = (/** @type {string} */ words) => {
    const low = words.toLowerCase();
    return words !== "" && words !== text.trim() && asked.every((word) => low.includes(word));
  };
  return all.filter(fits).slice(0, MOST_SHOWN);
}
