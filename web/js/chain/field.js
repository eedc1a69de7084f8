// @ts-check
/** A text that is written in its place in a row. */

import { make } from "./row.js";

/**
 * Let a text be written in the place of an element: Enter or leaving keeps it, Escape does not.
 * @param {HTMLElement} shown what it stands in for meanwhile
 * @param {{ text: string, label: string, done: (written: string | null, undo: boolean) => void }} how `done`
 *   gets what was written, and whether to undo what came before
 */
export function writeInPlace(shown, { text, label, done }) {
  const area = /** @type {HTMLTextAreaElement} */ (make("kontext-edit", "textarea"));
  area.value = text;
  area.rows = 2;
  area.setAttribute("aria-label", label);
  let open = true;
  const close = (/** @type {string | null} */ written, undo = false) => {
    if (!open) return;
    open = false;
    area.replaceWith(shown);
    done(written, undo);
  };
  area.addEventListener("keydown", (event) => {
    const held = event.ctrlKey || event.altKey || event.metaKey;
    if (!held) event.stopPropagation();
    const undo = event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
    if (undo && area.value !== text) return; // what was written, by the browser
    if (!undo && event.key !== "Escape" && (event.key !== "Enter" || event.shiftKey || event.isComposing))
      return;
    event.preventDefault();
    event.stopPropagation();
    close(event.key === "Enter" ? area.value : null, undo);
  });
  area.addEventListener("blur", () => close(area.value));
  shown.replaceWith(area);
  area.focus();
  area.select();
}
