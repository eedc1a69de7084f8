// @ts-check
/** A quiet line under an instruction that is being written: what may go wrong with it, as the server finds it. */

import { app } from "../../../../scripts/app.js";
import { make } from "../lib/element.js";
import { isWired, widgetOf } from "../lib/graph.js";
import { t } from "../lib/translate.js";

const ID = "kontext-advice";
const WAIT_MS = 400;

/** What is said of a text, once its typing pauses. */
export class Advice {
  /**
   * Build the line, with nothing in it.
   * @param {HTMLTextAreaElement} area
   * @param {Page.Node} node whose instruction is written
   */
  constructor(area, node) {
    this.area = area;
    this.node = node;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.waiting = undefined;
    this.asked = new AbortController();
    this.element = make("kontext-advice");
    this.element.id = ID;
    this.element.setAttribute("role", "status");
    this.element.setAttribute("aria-live", "polite");
    area.setAttribute("aria-describedby", ID);
    area.addEventListener("input", () => this.later());
    this.later();
  }

  /** Ask in a moment, unless more is written until then; an answer to what was there before is not wanted. */
  later() {
    clearTimeout(this.waiting);
    this.asked.abort();
    this.waiting = setTimeout(() => this.ask(), WAIT_MS);
  }

  /** Ask the server, and show its answer. */
  async ask() {
    this.asked = new AbortController();
    const { signal } = this.asked;
    const question = { instruction: this.area.value, pictures: picturesOf(this.node) };
    const findings = await findingsOf(question, signal);
    if (!signal.aborted) this.show(findings);
  }

  /**
   * Show the first of the sentences, and all of them while the mouse rests on it.
   * @param {string[]} findings
   */
  show([sentence, ...others]) {
    const count = others.length;
    if (!sentence) this.element.textContent = "";
    else if (!count) this.element.textContent = t("Tip: {sentence}", { sentence });
    else this.element.textContent = t("Tip: {sentence} ({count} more)", { sentence, count });
    this.element.title = [sentence, ...others].filter(Boolean).join("\n");
    if (sentence) this.element.scrollIntoView({ block: "nearest" });
  }

  /** Ask and say nothing any more. */
  end() {
    clearTimeout(this.waiting);
    this.asked.abort();
    this.element.remove();
  }
}

/**
 * Count the pictures that a turn shows the model; null where others than its own may come.
 * @param {Page.Node} node
 */
function picturesOf(node) {
  return isWired(node, "references") || isWired(node, "anchor") || widgetOf(node, "anchor")?.value ? null : 1;
}

/**
 * Ask what may go wrong with an instruction; nothing where there is no answer.
 * @param {{ instruction: string, pictures: number | null }} question
 * @param {AbortSignal} signal
 * @returns {Promise<string[]>}
 */
async function findingsOf(question, signal) {
  try {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify(question);
    const answer = await app.api.fetchApi("/kontext/lint", { method: "POST", headers, body, signal });
    return answer.ok ? (await answer.json()).findings : [];
  } catch {
    return []; // it is advice only
  }
}
