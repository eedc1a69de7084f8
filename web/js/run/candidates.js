// @ts-check
/** The pictures that each turn of a workflow was given, to choose from: newest first. Pure. */

/** @typedef {import("./state.js").Stored} Stored */
/** @typedef {import("./state.js").Wanted} Wanted */

/**
 * A picture of a turn, and what it was made of.
 * @typedef {Wanted & { image: Stored }} Candidate
 */

export const MOST = 60; // of a turn

/** Candidates of turns by the turns' ids. They hold addresses of pictures, and none of the pictures. */
export class Candidates {
  constructor() {
    /** @type {Map<string, readonly Candidate[]>} */
    this.lists = new Map();
  }

  /**
   * List the candidates of a turn, newest first.
   * @param {string} id
   * @returns {readonly Candidate[]}
   */
  of(id) {
    return this.lists.get(id) ?? NONE;
  }

  /**
   * Find the candidate of a turn that is what the turn asks for.
   * @param {string} id
   * @param {string | null} signature
   */
  find(id, signature) {
    return this.of(id).find((one) => one.signature === signature) ?? null;
  }

  /**
   * Note a picture of a turn. One that was made of the same before takes its place.
   * @param {string} id
   * @param {Candidate} candidate
   */
  add(id, candidate) {
    const list = this.of(id);
    const at = list.findIndex((one) => one.signature === candidate.signature);
    if (at >= 0)
      this.lists.set(
        id,
        list.map((one, i) => (i === at ? candidate : one)),
      );
    else this.lists.set(id, [candidate, ...list].slice(0, MOST));
  }

  /**
   * Let go of the candidates of a turn.
   * @param {string} id
   */
  forget(id) {
    this.lists.delete(id);
  }

  clear() {
    this.lists.clear();
  }
}

/** @type {readonly Candidate[]} */
const NONE = [];
