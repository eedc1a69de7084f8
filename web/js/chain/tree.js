// @ts-check
/** The turns of a graph as a tree, and the lines between its rows. Pure functions. */

/**
 * @typedef {object} Entry A node that hands on a chain.
 * @property {string} id
 * @property {string[]} children the entries that go on from it, in order of wiring
 * @property {number | null} turns how many turns it adds; null: how many came before is not known behind it
 */

/**
 * One entry's place in the drawing. Lanes are columns of lines, 0 at the left.
 * @typedef {object} Row
 * @property {string} id
 * @property {number} chain number of its chain, from 0
 * @property {number} lane
 * @property {number} level 1 for a chain's own line, 2 for its branches, 3 for theirs
 * @property {boolean} up whether a line comes to it from above
 * @property {boolean} down whether its line goes on to the next row
 * @property {number[]} forks lanes of the branches that begin at it
 * @property {number[]} passes lanes of other lines that go by
 * @property {[number, number] | null} turns numbers of its first and last turn, from 1; null where they are
 *   not known
 */

/**
 * Lay out rows from top to bottom: a line without a break, then the branches of it, those of its last turn
 * first, so that no two lines cross.
 * Entries that feed each other in a circle come last, each once.
 * @param {Entry[]} entries
 * @returns {Row[]}
 */
export function rowsOf(entries) {
  const byId = new Map(entries.map((one) => [one.id, one]));
  const fed = new Set(entries.flatMap((one) => one.children));
  /** @type {Row[]} */
  const rows = [];
  const placed = new Set();
  let chain = -1;

  /**
   * Find the first that goes on from an entry and has no row yet.
   * @param {Entry} entry
   */
  const next = (entry) => entry.children.map((id) => byId.get(id)).find((one) => one && !placed.has(one.id));

  /**
   * Lay out a line and its branches; the last lane that they use.
   * @param {Entry} start
   * @param {number} lane
   * @param {number} level
   * @param {number | null} before
   * @returns {number}
   */
  function place(start, lane, level, before) {
    /** @type {{ entry: Entry, row: Row, at: number, after: number | null }[]} */
    const line = [];
    for (let entry = start, count = before; ; ) {
      placed.add(entry.id);
      const turns = numbers(count, entry.turns);
      const row = { id: entry.id, chain, lane, level, up: false, down: false, forks: [], passes: [], turns };
      const last = line.at(-1);
      if (last) {
        last.row.down = true;
        row.up = true;
      }
      const at = rows.push(row) - 1;
      count = count === null || entry.turns === null ? null : count + entry.turns;
      line.push({ entry, row, at, after: count });
      const following = next(entry);
      if (!following) break;
      entry = following;
    }
    let free = lane + 1;
    for (const { entry, row, at, after } of line.reverse()) {
      for (let branch = next(entry); branch; branch = next(entry)) {
        const first = rows.length;
        row.forks.push(free);
        for (let i = at + 1; i < first; i++) /** @type {Row} */ (rows[i]).passes.push(free);
        const used = place(branch, free, level + 1, after);
        /** @type {Row} */ (rows[first]).up = true;
        free = used + 1;
      }
    }
    return free - 1;
  }

  const starts = entries.filter((one) => !fed.has(one.id));
  for (const start of [...starts, ...entries]) {
    if (placed.has(start.id)) continue;
    chain += 1;
    place(start, 0, 1, start.turns === null ? null : 0);
  }
  return rows;
}

/**
 * The rows of entries that are asked about again and again: laid out anew only where an entry or a wire has
 * changed.
 */
export class Shape {
  constructor() {
    this.key = "";
    /** @type {Row[]} */
    this.rows = [];
  }

  /**
   * Lay out the rows of entries, or give those of before.
   * @param {Entry[]} entries
   * @returns {Row[]}
   */
  rowsOf(entries) {
    const key = entries.map((one) => `${one.id}>${one.children}>${one.turns}`).join(" ");
    if (key !== this.key) {
      this.key = key;
      this.rows = rowsOf(entries);
    }
    return this.rows;
  }
}

/**
 * Number the turns that an entry adds.
 * @param {number | null} before
 * @param {number | null} turns
 * @returns {[number, number] | null}
 */
const numbers = (before, turns) => (before === null || !turns ? null : [before + 1, before + turns]);

/**
 * Find the entry that the arrow keys lead to.
 * @param {string[]} ids in order
 * @param {string | null} current
 * @param {string} key
 */
export function keyLeadsTo(ids, current, key) {
  const at = current === null ? -1 : ids.indexOf(current);
  const wanted = { ArrowDown: at + 1, ArrowUp: Math.max(at - 1, 0), Home: 0, End: ids.length - 1 }[key];
  return wanted === undefined ? null : (ids[Math.min(wanted, ids.length - 1)] ?? null);
}

/**
 * List the instructions of a script.
 * @param {string} script
 */
export function linesOf(script) {
  const lines = script.split("\n").map((line) => line.trim());
  return lines.filter((line) => line && !line.startsWith("#"));
}
