// @ts-check
/** A text that is written in its place in a row. */

import { make } from "../lib/element.js";
import { Advice } from "./advice.js";
import { Suggestions } from "./suggestions.js";

/**
 * What comes next once a text was written: nothing, since the focus went elsewhere; or the row gets the focus, and the
 * change before is undone, or a run begins.
 * @typedef {"left" | "row" | "undo" | "run"} Next
 */

/**
 * Let a text be written in the place of an element: Enter or leaving keeps it, Ctrl+Enter keeps it for a run,
 * Escape does not.
 * @param {HTMLElement} shown what it stands in for meanwhile
 * @param {{ text: string, label: string, done: (written: string | null, next: Next) => void,
 *   suggest?: (text: string) => string[], advised?: Page.Node }} how `done` gets what was written, and what comes
 *   next; `suggest` finds what may be meant; `advised` is the node whose instruction it is
 */
export function writeInPlace(shown, { text, label, done, suggest, advised }) {
  const area = /** @type {HTMLTextAreaElement} */ (make("kontext-edit", "textarea"));
  area.value = text;
  area.rows = 2;
  area.setAttribute("aria-label", label);
  const list = suggest && new Suggestions(area, suggest);
  const advice = advised && new Advice(area, advised);
  let open = true;
  /**
   * Put back what was shown.
   * @param {string | null} written null: nothing
   * @param {Next} next
   */
  const close = (written, next) => {
    if (!open) return;
    open = false;
    removeEventListener("pointerdown", press, true);
    const putBack = () => {
      list?.element.remove();
      advice?.end();
      area.replaceWith(shown);
    };
    if (next === "left" && pressing) whenReleased(putBack);
    else putBack();
    done(written === text ? null : written, next); // what was not touched here may be other words by now
  };
  let pressing = false;
  const press = () => {
    pressing = true;
    whenReleased(() => {
      pressing = false;
    });
  };
  addEventListener("pointerdown", press, true);
  area.addEventListener("keydown", (event) => {
    const control = event.ctrlKey || event.metaKey;
    if (!control && !event.altKey) event.stopPropagation();
    if (list?.pressed(event)) {
      event.preventDefault();
      event.stopPropagation();
      return;
    }
    const undo = event.key.toLowerCase() === "z" && control && !event.shiftKey;
    if (undo && area.value !== text) return; // what was written, by the browser
    if (!undo && event.key !== "Escape" && (event.key !== "Enter" || event.shiftKey || event.isComposing))
      return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Enter") close(area.value, control ? "run" : "row");
    else close(null, undo ? "undo" : "row");
  });
  area.addEventListener("blur", () => close(area.value, "left"));
  shown.replaceWith(area);
  area.after(...[list?.element, advice?.element].filter((element) => element !== undefined));
  area.focus();
  area.select();
}

/**
 * Call something once the mouse is released: rows that moved before would not get the click.
 * @param {() => void} then
 */
function whenReleased(then) {
  const end = new AbortController();
  for (const kind of ["pointerup", "pointercancel"])
    addEventListener(
      kind,
      () => {
        end.abort();
        then();
      },
      { capture: true, signal: end.signal },
    );
}
