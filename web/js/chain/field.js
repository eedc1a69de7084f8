// @ts-check
/** A text that is written in its place in a row. */

import { make } from "./row.js";

/**
 * Let a text be written in the place of an element: Enter or leaving keeps it, Ctrl+Enter keeps it for a run, Escape
 * does not.
 * @param {HTMLElement} shown what it stands in for meanwhile
 * @param {{ text: string, label: string, done: (written: string | null, next: "" | "undo" | "run") => void }} how
 *   `done` gets what was written, and what is to be done next
 */
export function writeInPlace(shown, { text, label, done }) {
  const area = /** @type {HTMLTextAreaElement} */ (make("kontext-edit", "textarea"));
  area.value = text;
  area.rows = 2;
  area.setAttribute("aria-label", label);
  let open = true;
  /**
   * Put back what was shown.
   * @param {string | null} written null: nothing
   * @param {"" | "undo" | "run"} [next]
   */
  const close = (written, next = "") => {
    if (!open) return;
    open = false;
    area.replaceWith(shown);
    done(written, next);
  };
  area.addEventListener("keydown", (event) => {
    const held = event.ctrlKey || event.altKey || event.metaKey;
    if (!held) event.stopPropagation();
    const control = event.ctrlKey || event.metaKey;
    const undo = event.key.toLowerCase() === "z" && control && !event.shiftKey;
    if (undo && area.value !== text) return; // what was written, by the browser
    if (!undo && event.key !== "Escape" && (event.key !== "Enter" || event.shiftKey || event.isComposing))
      return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Enter") close(area.value, control ? "run" : "");
    else close(null, undo ? "undo" : "");
  });
  area.addEventListener("blur", () => close(area.value));
  shown.replaceWith(area);
  area.focus();
  area.select();
}
