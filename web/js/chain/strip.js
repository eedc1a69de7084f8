// @ts-check
/** The strip of a turn's pictures to choose from, under its row: newest first, favourites with a star. */

import { make } from "../lib/element.js";
import { t } from "../lib/translate.js";
import { thumbnailOf } from "./more.js";
import { placeAmong, starsOf } from "./stars.js";

/** @typedef {import("../run/candidates.js").Candidate} Candidate */
/** @typedef {import("./read_graph.js").Turn} Turn */

/**
 * What the strip shows: a candidate, or a favourite whose picture is not there any more.
 * @typedef {{ seed: number | null, words: string, candidate: Candidate | null, star: boolean }} Choice
 */

/**
 * List what there is to choose from for a turn: its pictures, then favourites from before the page was opened.
 * @param {Turn} turn
 * @param {readonly Candidate[]} candidates
 * @returns {Choice[]}
 */
export function choicesFor({ node }, candidates) {
  const stars = starsOf(node);
  const shown = candidates.map((candidate) => ({
    seed: candidate.seed,
    words: candidate.words,
    candidate,
    star: placeAmong(stars, candidate) >= 0,
  }));
  const absent = stars.filter((star) => placeAmong(/** @type {any} */ (candidates), star) < 0);
  return [...shown, ...absent.map((star) => ({ ...star, candidate: null, star: true }))];
}

/** The strip of one row; nothing in the page changes where nothing changed. */
export class Strip {
  /**
   * Build an empty strip.
   * @param {(choice: Choice, what: "take" | "star" | "compare") => void} choose
   */
  constructor(choose) {
    this.choose = choose;
    this.element = make("kontext-strip");
    this.element.setAttribute("role", "listbox");
    this.element.setAttribute("aria-orientation", "horizontal");
    this.element.hidden = true;
    /** @type {Choice[]} */
    this.choices = [];
    this.shown = "";
    this.element.addEventListener("mousedown", (event) => {
      if (event.shiftKey) event.preventDefault(); // else the page selects text, and no picture can be dragged
    });
    this.element.addEventListener("click", (event) => this.clicked(event));
    this.element.addEventListener("keydown", (event) => this.pressed(event));
  }

  /**
   * Show what there is to choose from.
   * @param {Choice[]} choices
   * @param {string} signature of what the turn asks for now
   * @param {string} name of the turn
   */
  show(choices, signature, name) {
    const hidden = choices.length < 2 && !choices.some((one) => one.star && !one.candidate);
    const key = hidden
      ? ""
      : JSON.stringify([
          name,
          signature,
          choices.map(({ seed, words, candidate, star }) => [seed, words, candidate?.image.filename, star]),
        ]);
    if (key === this.shown) return;
    this.shown = key;
    const focused = this.items().indexOf(/** @type {HTMLElement} */ (document.activeElement));
    this.choices = choices;
    this.element.hidden = hidden;
    this.element.setAttribute("aria-label", t("Pictures of {turn}", { turn: name }));
    const chosen = choices.findIndex((one) => one.candidate?.signature === signature);
    this.element.replaceChildren(...(hidden ? [] : choices.map((choice, i) => item(choice, i === chosen))));
    const items = this.items();
    stopAt(items, Math.max(chosen, 0));
    if (focused >= 0) items[Math.min(focused, items.length - 1)]?.focus();
  }

  /** List the elements of what there is to choose from. */
  items() {
    return /** @type {HTMLElement[]} */ ([...this.element.children]);
  }

  /**
   * Take the picture that was clicked, change its star, or with Shift compare it with the turn's picture.
   * @param {MouseEvent} event
   */
  clicked(event) {
    event.stopPropagation(); // the row below would show its node
    const target = /** @type {Element} */ (event.target);
    const at = this.items().findIndex((one) => one.contains(target));
    const choice = this.choices[at];
    if (!choice) return;
    this.items()[at]?.focus();
    const star = target.closest(".kontext-star");
    this.choose(choice, star ? "star" : event.shiftKey ? "compare" : "take");
  }

  /**
   * Do what a key is for.
   * @param {KeyboardEvent} event
   */
  pressed(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.key === "Tab") return;
    const items = this.items();
    const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const choice = this.choices[at];
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (!choice || ["ArrowUp", "ArrowDown", "Escape"].includes(event.key)) return; // those are the panel's
    event.stopPropagation();
    if (to !== undefined) focusOnly(items, Math.min(Math.max(to, 0), items.length - 1));
    else if (event.key.toLowerCase() === "c" || (event.key === "Enter" && event.shiftKey))
      this.choose(choice, "compare");
    else if (event.key === "Enter" || event.key === " ") this.choose(choice, "take");
    else if (event.key.toLowerCase() === "s" || event.key === "*") this.choose(choice, "star");
    event.preventDefault();
  }
}

/**
 * Let the Tab key lead to one of several alone.
 * @param {HTMLElement[]} items
 * @param {number} at
 */
function stopAt(items, at) {
  for (const [i, item] of items.entries()) item.tabIndex = i === at ? 0 : -1;
}

/**
 * Give the focus to one of several.
 * @param {HTMLElement[]} items
 * @param {number} at
 */
function focusOnly(items, at) {
  stopAt(items, at);
  items[at]?.focus();
  items[at]?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/**
 * Build the element of one choice.
 * @param {Choice} choice
 * @param {boolean} chosen whether it is what the turn asks for now
 */
function item({ seed, words, candidate, star }, chosen) {
  const element = make("kontext-choice");
  const label = [
    t("seed {seed}", { seed: seed ?? "" }),
    words || t("no instruction"),
    star ? t("favourite") : "",
    candidate ? "" : t("its picture has to be made again"),
  ];
  element.setAttribute("role", "option");
  element.setAttribute("aria-selected", String(chosen));
  element.setAttribute("aria-label", label.filter(Boolean).join(", "));
  const compared = candidate ? t("Shift+click, or C: compare with the turn's picture") : "";
  element.title = [...label, compared].filter(Boolean).join("\n");
  if (candidate) {
    element.draggable = true;
    const image = /** @type {HTMLImageElement} */ (make("", "img"));
    image.alt = "";
    image.draggable = false; // else a browser drags nothing while it waits for the picture
    image.loading = "lazy";
    image.decoding = "async";
    image.src = thumbnailOf(candidate);
    element.append(image);
  } else {
    const number = make("kontext-choice-seed", "span");
    number.textContent = String(seed);
    element.append(number);
  }
  const icon = make(`kontext-star pi ${star ? "pi-star-fill" : "pi-star"}`, "span");
  icon.title = star ? t("No favourite any more") : t("Make it a favourite");
  icon.setAttribute("aria-hidden", "true");
  element.append(icon);
  return element;
}
