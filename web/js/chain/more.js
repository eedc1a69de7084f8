// @ts-check
/** More pictures of one turn, to choose from: several seeds in one run of only what the turn needs. */

import { app } from "../../../../scripts/app.js";
import { FOR_ONE_RUN } from "../lib/for_one_run.js";
import { asOneStep, widgetOf } from "../lib/graph.js";
import { addressOf, resultsKey, resultsOf, setResults, TEXT_WIDGET } from "../lib/results.js";
import { randomSeed } from "../lib/seed.js";
import { t } from "../lib/translate.js";
import { idOf, isOff, settingOf } from "../lib/wires.js";
import { Signatures, wantedNow } from "../run/signature.js";
import { needed, prepareLike } from "../run/watch.js";

/** @typedef {import("../lib/wires.js").Place} Place */
/** @typedef {import("../run/candidates.js").Candidate} Candidate */
/** @typedef {import("../run/state.js").Stored} Stored */

export const MORE = 4; // pictures in one run
const KIND = "KontextTurn";

/**
 * Tell whether a node can make several pictures to choose from.
 * @param {Page.Node} node
 */
export const hasChoices = (node) => node.type === KIND;

/**
 * Queue several pictures of a turn.
 * @param {Place | null} place
 */
export async function makeMore(place) {
  const seed = place && settingOf(place, "seed");
  if (!place || !seed) return say(t("The seed comes from another node: change it there."));
  if (isOff(place)) return say(t("The turn is switched off."));
  try {
    const seeds = Array.from({ length: MORE }, randomSeed);
    if (!(await queue(place, seeds))) say(t("Nothing can be run: the turn lacks what it needs."));
  } catch {
    say(t("The pictures could not be queued: see the turn."));
  }
}

/**
 * Queue what a turn needs, and the turn with several seeds in place of its own.
 * @param {Place} place
 * @param {number[]} seeds
 * @returns {Promise<boolean>} false if the turn is not part of a run
 */
async function queue(place, seeds) {
  const id = idOf(place);
  const choices = choicesOf(place, seeds);
  const ready = await app.graphToPrompt();
  const output = /** @type {Record<string, { inputs: Record<string, unknown> }>} */ (ready.output);
  const turn = output[id];
  if (!turn) return false;
  const ids = needed(output, [id]);
  const asked = {
    ...ready,
    output: {
      ...Object.fromEntries(Object.entries(output).filter(([key]) => ids.has(key))),
      [id]: { ...turn, inputs: { ...turn.inputs, [FOR_ONE_RUN]: JSON.stringify(seeds) } },
    },
  };
  prepareLike(asked, ready, ({ wanted }) => ({
    choices,
    wanted: new Map([...wanted].filter(([key]) => key !== id)), // the turn is not made as it asks
  }));
  await app.api.queuePrompt(0, /** @type {any} */ (asked));
  return true;
}

/**
 * List what a turn would be asked for with each of some seeds.
 * @param {Place} place
 * @param {number[]} seeds
 */
function choicesOf(place, seeds) {
  const words = wantedNow().get(idOf(place))?.words ?? "";
  const signatures = new Signatures();
  return new Map(seeds.map((seed) => [seed, { seed, words, signature: signatures.withSeed(place, seed) }]));
}

/**
 * Take a candidate's seed and words back, as one step of undo; its picture comes with them.
 * @param {Place} place
 * @param {{ seed: number | null, words: string }} candidate
 */
export function take(place, { seed, words }) {
  const values = { seed, instruction: words };
  asOneStep(() => {
    for (const [name, value] of Object.entries(values)) {
      const widget = settingOf(place, name);
      if (!widget || value === null || widget.value === value) continue;
      widget.value = value;
      widget.callback?.(value);
    }
  });
}

/**
 * Let a node show a picture that it had before, with what was said of it.
 * @param {Page.Node} node
 * @param {Stored} image
 */
export function showAgain(node, image) {
  const { text: _, ...others } = /** @type {Record<string, unknown>} */ (resultsOf(node) ?? {});
  const { filename, subfolder, type, text } = image;
  setResults(resultsKey(node), {
    ...others,
    images: [{ filename, subfolder, type }],
    ...(text && { text }),
  });
  const info = widgetOf(node, TEXT_WIDGET);
  if (info) info.value = (text ?? []).join("\n");
  app.canvas.setDirty(true, true);
}

/**
 * Get the address of a candidate's picture, small enough for a strip of many.
 * @param {Candidate} candidate
 */
export const thumbnailOf = ({ image }) => `${addressOf(image)}&preview=${encodeURIComponent("webp;60")}`;

/**
 * Say why nothing is made.
 * @param {string} detail
 */
function say(detail) {
  app.extensionManager.toast.add({ severity: "info", summary: t("4 more"), detail, life: 4000 });
}
