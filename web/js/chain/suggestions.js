// @ts-check
/** A list under a text field, of what may be meant: a combobox. */

import { make } from "../lib/element.js";
import { t } from "../lib/translate.js";

const ID = "kontext-suggestions";

/** What comes up while a text is written. */
export class Suggestions {
  /**
   * Build the list, with nothing in it.
   * @param {HTMLTextAreaElement} area
   * @param {(text: string) => string[]} find
   */
  constructor(area, find) {
    this.area = area;
    this.find = find;
    this.at = -1;
    this.element = make("kontext-suggestions");
    this.element.id = ID;
    this.element.setAttribute("role", "listbox");
    this.element.setAttribute("aria-label", t("Past instructions"));
    this.element.addEventListener("mousedown", (event) => event.preventDefault()); // the text keeps the focus
    this.element.addEventListener("click", (event) => {
      event.stopPropagation();
      const option = event.target instanceof Element ? event.target.closest("[role=option]") : null;
      if (option) this.take(option);
    });
    area.setAttribute("role", "combobox");
    area.setAttribute("aria-autocomplete", "list");
    area.setAttribute("aria-haspopup", "listbox");
    area.setAttribute("aria-controls", ID);
    area.addEventListener("input", () => this.show());
    this.close();
  }

  /** List what fits what is written now. */
  show() {
    const options = this.find(this.area.value).map((words, i) => {
      const option = make("kontext-suggestion");
      option.id = `${ID}-${i}`;
      option.setAttribute("role", "option");
      option.textContent = option.title = words;
      return option;
    });
    this.element.replaceChildren(...options);
    this.element.hidden = !options.length;
    this.area.setAttribute("aria-expanded", String(!this.element.hidden));
    this.choose(-1);
    if (options.length) this.element.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.element.replaceChildren();
    this.element.hidden = true;
    this.area.setAttribute("aria-expanded", "false");
    this.choose(-1);
  }

  /**
   * Make one of the list the one that Enter takes.
   * @param {number} at -1 for none
   */
  choose(at) {
    this.at = at;
    [...this.element.children].forEach((option, i) => {
      option.setAttribute("aria-selected", String(i === at));
      if (i === at) option.scrollIntoView({ block: "nearest" });
    });
    const option = this.element.children[at];
    if (option) this.area.setAttribute("aria-activedescendant", option.id);
    else this.area.removeAttribute("aria-activedescendant");
  }

  /**
   * Write one of the list in the place of what is written.
   * @param {Element} option
   */
  take(option) {
    const words = option.textContent ?? "";
    this.area.focus();
    this.area.select();
    // so that the browser can take it back
    if (!document.execCommand("insertText", false, words)) this.area.value = words;
    this.close();
  }

  /**
   * Do what a key is for.
   * @param {KeyboardEvent} event
   * @returns {boolean} whether the key was meant for the list
   */
  pressed({ key, altKey, ctrlKey, metaKey, shiftKey, isComposing }) {
    if (isComposing || ctrlKey || metaKey || shiftKey) return false;
    const count = this.element.childElementCount;
    if (!count) {
      if (key !== "ArrowDown" || !(altKey || this.area.value === "")) return false;
      this.show();
      return true;
    }
    const option = this.element.children[this.at];
    if (key === "ArrowDown") this.choose(this.at + 1 < count ? this.at + 1 : -1);
    else if (key === "ArrowUp") this.choose(this.at < 0 ? count - 1 : this.at - 1);
    else if (key === "Enter" && option) this.take(option);
    else if (key === "Escape") this.close();
    else return false;
    return true;
  }
}
