// @ts-check
/** What the chain panel says aloud, and does not show. */

import { make } from "../lib/element.js";

const KEPT = 20;

/** Sentences for those who hear the page. */
export class News {
  constructor() {
    this.element = make("kontext-news");
    this.element.setAttribute("role", "log"); // what follows soon replaces nothing that was not read out yet
    this.element.setAttribute("aria-live", "polite");
  }

  /**
   * Say something behind what is being said.
   * @param {...string} parts of a sentence
   */
  say(...parts) {
    const line = make("", "p");
    line.textContent = parts.filter(Boolean).join(", ");
    this.element.append(line);
    while (this.element.childElementCount > KEPT) this.element.firstElementChild?.remove();
  }
}
