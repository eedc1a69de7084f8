// @ts-check
/** Two pictures below the rows of the chain panel: the chosen turn before and after, or two that are compared. */

import { beforeAfter } from "../compare/before_after.js";
import { openLarge } from "../compare/large_view.js";
import { iconButton, make } from "../lib/element.js";
import { t } from "../lib/translate.js";

/** @typedef {import("../compare/before_after.js").Pair} Pair */

/**
 * Make a button of the viewer.
 * @param {string} icon
 * @param {string} label
 * @param {() => void} run
 */
function button(icon, label, run) {
  const made = iconButton(icon, label);
  made.addEventListener("click", run);
  return made;
}

/** Two pictures with their names. */
export class Viewer {
  /**
   * Build an empty viewer.
   * @param {() => void} leave ends the comparison of two turns
   */
  constructor(leave) {
    /** @type {Pair | null} */
    this.pair = null;
    this.element = make("kontext-viewer");
    this.names = [make("kontext-viewer-name", "span"), make("kontext-viewer-name", "span")];
    this.caption = make("kontext-caption");
    this.hint = make("kontext-hint", "p");
    this.slider = beforeAfter(() => this.enlarge());
    this.large = button("pi-window-maximize", t("Large view (Enter, or a double click)"), () =>
      this.enlarge(),
    );
    this.leave = button("pi-times", t("Back to before and after"), leave);
    const buttons = make("kontext-viewer-buttons", "span");
    buttons.append(this.large, this.leave);
    this.caption.append(...this.names, buttons);
    this.element.append(this.caption, this.slider.element, this.hint);
  }

  /** Show the two pictures large over the page. */
  enlarge() {
    openLarge(this.pair);
  }

  /**
   * Show two pictures, or nothing.
   * @param {Pair | null} pair
   * @param {string} hint what is said where there is no picture
   */
  show(pair, hint = "") {
    this.pair = pair;
    this.element.hidden = !pair;
    if (!pair) return;
    const whole = Boolean(pair.after) && (!pair.names || Boolean(pair.before));
    this.slider.element.hidden = this.large.hidden = !whole;
    this.leave.hidden = !pair.names;
    this.hint.hidden = whole;
    this.hint.textContent = hint;
    if (whole) this.slider.show(pair);
  }

  /**
   * Name what is seen.
   * @param {string} first
   * @param {string} [second] the picture on the right, where it is another turn's
   */
  name(first, second = "") {
    for (const [i, text] of [first, second].entries()) {
      const name = this.names[i];
      if (!name || name.textContent === text) continue;
      name.textContent = name.title = text;
    }
  }
}
