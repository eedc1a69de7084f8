// @ts-check
/** Questions whose answer is kept: one that failed is no answer, and is asked again. Pure. */

/**
 * Keep the answer to a question that was answered.
 * @template T
 * @param {() => Promise<T>} ask
 * @returns {() => Promise<T>} the answer, asked for once as long as it holds
 */
export function remembered(ask) {
  /** @type {Promise<T> | null} */
  let answer = null;
  return () => {
    answer ??= ask().catch((error) => {
      answer = null;
      throw error;
    });
    return answer;
  };
}
