// @ts-check
/** What was done, and can be undone and done again. Values are never changed, only replaced. */

/**
 * @template T
 * @typedef {{ readonly past: readonly T[], readonly now: T, readonly future: readonly T[] }} History
 */

const MOST_STEPS = 200;

/**
 * Begin a history.
 * @template T
 * @param {T} now
 * @returns {History<T>}
 */
export const begin = (now) => ({ past: [], now, future: [] });

/**
 * Take one step more; what was undone is forgotten.
 * @template T
 * @param {History<T>} history
 * @param {T} now
 * @returns {History<T>}
 */
export const did = (history, now) =>
  now === history.now
    ? history
    : { past: [...history.past, history.now].slice(-MOST_STEPS), now, future: [] };

/**
 * Take one step back, if there is one.
 * @template T
 * @param {History<T>} history
 * @returns {History<T>}
 */
export function undone({ past, now, future }) {
  if (!past.length) return { past, now, future };
  return { past: past.slice(0, -1), now: /** @type {T} */ (past.at(-1)), future: [now, ...future] };
}

/**
 * Take one step forth again, if there is one.
 * @template T
 * @param {History<T>} history
 * @returns {History<T>}
 */
export function redone({ past, now, future }) {
  if (!future.length) return { past, now, future };
  return { past: [...past, now], now: /** @type {T} */ (future[0]), future: future.slice(1) };
}
