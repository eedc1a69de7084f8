// @ts-check
/**
 * The window of the large view: bar, stage, keys. Everything that can have the focus is an <input>, also what
 * looks like a button: while an <input> has the focus, ComfyUI's page leaves Ctrl+Z to it and undoes nothing
 * of the graph.
 */

import { make } from "../lib/element.js";
import { t } from "../lib/translate.js";
import { addStyle } from "./style.js";

/** @typedef {"wipe" | "side" | "difference" | "one"} Mode */
/** @typedef {ReturnType<typeof buildDialog>} Dialog */

/** Ways to look at two pictures, with their keys. */
export const MODES = /** @type {const} */ ([
  { mode: "wipe", key: "w", label: "Wipe" },
  { mode: "side", key: "s", label: "Side by side" },
  { mode: "difference", key: "d", label: "Difference" },
  { mode: "one", key: "o", label: "First picture" },
]);

/**
 * Make an input that looks like a button.
 * @param {string} value what it says
 * @param {string} hint
 */
function button(value, hint) {
  const made = /** @type {HTMLInputElement} */ (make("", "input"));
  made.type = "button";
  made.value = value;
  made.title = hint;
  if (value.length < 2) made.setAttribute("aria-label", hint);
  return made;
}

/**
 * Make the choice of one way to look.
 * @param {typeof MODES[number]} mode
 */
function choiceOf({ mode, key, label }) {
  const radio = /** @type {HTMLInputElement} */ (make("", "input"));
  radio.type = "radio";
  radio.name = "kontext-large-mode";
  radio.value = mode;
  const words = make("", "span");
  words.textContent = t(label);
  const element = make("kontext-large-mode", "label");
  element.title = `${t(label)} (${key.toUpperCase()})`;
  element.append(radio, words);
  return { radio, element };
}

/**
 * Build one of the panes of the stage.
 * @param {string} name of its class
 * @param {HTMLElement} picture
 * @param {string} label
 */
function paneOf(name, picture, label) {
  const pane = make(`kontext-large-pane kontext-large-${name}`);
  const words = make("kontext-picture-name", "span");
  words.textContent = label;
  pane.append(picture, words);
  return pane;
}

/**
 * Put elements side by side.
 * @param {string} className
 * @param {HTMLElement[]} children
 */
function group(className, ...children) {
  const element = make(className);
  element.append(...children);
  return element;
}

/**
 * Build the window, not yet shown.
 * @param {readonly [string, string]} names of the two pictures
 * @param {boolean} single whether only the second is known
 */
export function buildDialog([first, second], single) {
  addStyle();
  const choices = MODES.map(choiceOf);
  const buttons = {
    other: button(t("Hold: second picture"), t("Show the second picture alone while held (F or Space)")),
    smaller: button("−", t("Zoom out (-)")),
    larger: button("+", t("Zoom in (+)")),
    fit: button(t("Fit"), t("Show the whole picture (0)")),
    full: button("100 %", t("Show it at its own size (1)")),
    close: button(t("Close"), t("Close (Escape)")),
  };
  const zoom = make("", "output");
  zoom.setAttribute("aria-hidden", "true");
  const modes = group("", ...choices.map(({ element }) => element));
  modes.setAttribute("role", "radiogroup");
  modes.setAttribute("aria-label", t("View"));
  const bar = group(
    "kontext-large-bar",
    ...(single ? [] : [modes, group("", buttons.other)]),
    group("", buttons.smaller, zoom, buttons.larger, buttons.fit, buttons.full),
    group("kontext-large-end", buttons.close),
  );
  const pictures = [first, second].map((name) => {
    const image = /** @type {HTMLImageElement} */ (make("", "img"));
    image.alt = name;
    image.draggable = false;
    return image;
  });
  const [before, after] = /** @type {[HTMLImageElement, HTMLImageElement]} */ (pictures);
  const panes = {
    second: paneOf("second", after, second),
    first: paneOf("first", before, first),
    difference: paneOf("difference", make("", "canvas"), t("Difference")),
  };
  const surface = button("", "");
  surface.className = "kontext-large-surface";
  surface.removeAttribute("title");
  surface.setAttribute("aria-label", single ? second : t("{first} and {second}", { first, second }));
  const line = make("kontext-line");
  line.setAttribute("aria-hidden", "true");
  const stage = group("kontext-large-stage", panes.second, panes.first, panes.difference, surface, line);
  const keys = make("", "p");
  keys.id = "kontext-large-keys";
  const zooming = t("Wheel, + and −: zoom. 0: fit. 1: 100 %. Drag, or Shift with an arrow key: move.");
  const ways = t(
    "W: wipe, ← and → move the line. S: side by side. D: difference. O: first picture. F or Space, held: second picture.",
  );
  keys.textContent = [...(single ? [] : [ways]), zooming, t("Escape: close.")].join(" ");
  surface.setAttribute("aria-describedby", keys.id);
  const note = make("kontext-large-note", "p");
  note.setAttribute("role", "status");
  const dialog = /** @type {HTMLDialogElement} */ (make("kontext-large", "dialog"));
  dialog.setAttribute("aria-label", single ? second : t("{first} and {second}", { first, second }));
  dialog.setAttribute("aria-modal", "true");
  dialog.append(bar, stage, group("kontext-large-foot", note, keys));
  const radios = choices.map(({ radio }) => radio);
  return { dialog, radios, buttons, zoom, before, after, panes, surface, line, stage, note };
}
