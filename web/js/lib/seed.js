// @ts-check
/** Seeds that the page draws. */

const MOST_SEED = 2 ** 50;

/** Draw a seed. */
export const randomSeed = () => Math.floor(Math.random() * MOST_SEED);
