// @ts-check
/** What a node's result depends on, as one short text: where that is the same, a run makes nothing new. */

import { isOurs, widgetOf } from "../lib/graph.js";
import { feedOf } from "../lib/passing.js";
import { everyPlace, idOf, settingOf, wallWidget } from "../lib/wires.js";

/** @typedef {import("../lib/wires.js").Place} Place */
/** @typedef {import("./state.js").Wanted} Wanted */

/** Signatures of the graph as it is now, each worked out once. */
export class Signatures {
  constructor() {
    /** @type {Map<string, string>} by id */
    this.known = new Map();
  }

  /**
   * Get the signature of a node.
   * @param {Place} place
   * @returns {string}
   */
  of(place) {
    const open = [place];
    const begun = new Set();
    for (let at = open.at(-1); at; at = open.at(-1)) {
      const id = idOf(at);
      const feeds = this.known.has(id) ? [] : feedsOf(at);
      const before = feeds.flatMap(({ origin }) => (origin ? [origin.place] : []));
      const unknown = begun.has(id) ? [] : before.filter((one) => !this.known.has(idOf(one)));
      begun.add(id);
      if (unknown.length) open.push(...unknown.filter((one) => !begun.has(idOf(one))));
      else {
        if (!this.known.has(id)) this.known.set(id, this.signatureOf(at, feeds));
        open.pop();
      }
    }
    return /** @type {string} */ (this.known.get(idOf(place)));
  }

  /**
   * Get the signature that a node would have with another seed.
   * @param {Place} place
   * @param {number} seed
   */
  withSeed(place, seed) {
    this.of(place); // then all before it are known
    return this.signatureOf(place, feedsOf(place), { seed });
  }

  /**
   * Work out the signature of a node, once those of all before it are known.
   * @param {Place} place
   * @param {ReturnType<typeof feedsOf>} feeds
   * @param {Record<string, unknown>} [others] settings that count in place of its own
   */
  signatureOf(place, feeds, others = {}) {
    const wired = new Map(
      feeds.map(({ name, origin, value }) => [
        name,
        origin ? [this.known.get(idOf(origin.place)) ?? "", origin.slot] : [others[name] ?? value],
      ]),
    );
    const set = (place.node.widgets ?? []).filter(
      (one) => one.name && one.options?.serialize !== false && !wired.has(one.name),
    );
    const settings = set.map(({ name, value }) => [
      name,
      name in others ? others[name] : (settingOf(place, name) ?? { value }).value,
    ]);
    return digest(JSON.stringify([place.node.type, settings, [...wired]]));
  }
}

/**
 * Find what feeds the inputs of a node that are wired.
 * @param {Place} place
 */
function feedsOf(place) {
  return (place.node.inputs ?? []).flatMap((input, slot) => {
    if (!place.node.isInputConnected(slot)) return [];
    const { origin } = feedOf(place, slot);
    const own = origin || widgetOf(place.node, input.name);
    const value = own ? null : (wallWidget(place, slot)?.value ?? null);
    return origin || value !== null ? [{ name: input.name, origin, value }] : [];
  });
}

/**
 * List what each Kontext node of the graph is asked to make, by its id.
 * @returns {Map<string, Wanted>}
 */
export function wantedNow() {
  const signatures = new Signatures();
  /** @type {Map<string, Wanted>} */
  const wanted = new Map();
  for (const place of everyPlace()) {
    if (!isOurs(place.node)) continue;
    const seed = settingOf(place, "seed")?.value;
    wanted.set(idOf(place), {
      signature: signatures.of(place),
      seed: typeof seed === "number" ? seed : null,
      words: String(settingOf(place, "instruction")?.value ?? ""),
    });
  }
  return wanted;
}

/**
 * Make 64 bits of a text, to tell it from others.
 * @param {string} text
 */
function digest(text) {
  let [first, second] = [0x811c9dc5, 0x1000193];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    first = Math.imul(first ^ code, 0x01000193);
    second = Math.imul(second ^ code, 0x85ebca6b) + i;
  }
  return [first, second].map((one) => (one >>> 0).toString(16).padStart(8, "0")).join("");
}
