// @ts-check
/** The head of the chain panel: it runs the workflow, or what the chosen turn needs. */

import { make } from "../lib/element.js";
import { t } from "../lib/translate.js";

/** Two buttons, of which one is a stop of the Tab key. */
export class Head {
  /**
   * Build the buttons.
   * @param {() => void} all runs the workflow
   * @param {() => void} upTo runs what the chosen turn needs
   */
  constructor(all, upTo) {
    this.element = make("kontext-toolbar");
    this.element.setAttribute("role", "toolbar");
    this.element.setAttribute("aria-label", t("Run"));
    this.all = command("pi-play", all);
    this.upTo = command("pi-step-forward", upTo);
    this.all.append(t("Run"));
    this.all.title = t("Run all of the workflow");
    this.label = make("kontext-command-label", "span");
    this.upTo.append(this.label);
    this.upTo.tabIndex = -1;
    this.element.append(this.all, this.upTo);
    this.element.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: this.all, Home: this.all, ArrowRight: this.upTo, End: this.upTo }[event.key];
      if (!to || to.disabled) return;
      event.preventDefault();
      event.stopPropagation();
      to.focus();
    });
    this.element.addEventListener("focusin", ({ target }) => {
      for (const button of [this.all, this.upTo]) button.tabIndex = button === target ? 0 : -1;
    });
  }

  /**
   * Name the chosen turn.
   * @param {string} name "" where there is none
   * @param {boolean} runs whether a run can end with it
   */
  show(name, runs) {
    this.element.hidden = !name;
    const text = t("Run up to {turn}", { turn: name });
    if (this.label.textContent !== text) this.label.textContent = this.upTo.title = text;
    if (this.upTo.disabled === runs) this.upTo.disabled = !runs;
    if (!runs && this.upTo.tabIndex === 0) [this.all.tabIndex, this.upTo.tabIndex] = [0, -1];
  }
}

/**
 * Make a button with an icon.
 * @param {string} icon
 * @param {() => void} run
 */
function command(icon, run) {
  const button = /** @type {HTMLButtonElement} */ (make("kontext-command", "button"));
  button.type = "button";
  const picture = make(`pi ${icon}`, "span");
  picture.setAttribute("aria-hidden", "true");
  button.append(picture);
  button.addEventListener("click", run);
  return button;
}
