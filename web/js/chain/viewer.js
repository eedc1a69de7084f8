// @ts-check
/** The chosen turn before and after, below the rows of the chain panel. */

import { make } from "../lib/element.js";
import { t } from "../lib/translate.js";
import { beforeAfter } from "./before_after.js";

/** @typedef {import("./read_graph.js").Turn} Turn */

/** What a turn's picture was and is, with its name. */
export class Viewer {
  constructor() {
    this.element = make("kontext-viewer");
    this.caption = make("kontext-caption");
    this.hint = make("kontext-hint", "p");
    this.slider = beforeAfter();
    this.element.append(this.caption, this.slider.element, this.hint);
  }

  /**
   * Show a turn's two pictures, or nothing.
   * @param {Turn | undefined} turn
   */
  show(turn) {
    this.element.hidden = !turn;
    if (!turn) return;
    this.slider.element.hidden = !turn.after;
    this.hint.hidden = Boolean(turn.after);
    this.hint.textContent = t("Run the graph to see this turn before and after.");
    this.slider.show(turn.before, turn.after);
  }

  /**
   * Name the turn that is seen.
   * @param {string} name
   * @param {boolean} old whether the picture is not that of what the turn says now
   */
  name(name, old) {
    const text = old ? t("{turn}, out of date", { turn: name }) : name;
    if (this.caption.textContent !== text) this.caption.textContent = text;
  }
}
