// @ts-check
/** The writing of words upon the picture. */

import { t } from "../lib/translate.js";
import { MOST_LETTERS } from "../marks/format.js";
import { linesOf, pixelsOf, roomFor, runsOut, strokeOf, wrapped } from "../marks/geometry.js";
import { inWindow } from "../marks/view.js";
import { wordsAt } from "./dialog.js";
import { howTo, outside } from "./modes.js";

/** @typedef {import("../marks/format.js").Point} Point */
/** @typedef {import("./editor.js").Editor} Editor */

/**
 * Let the user write words, at a new place or those of a mark.
 * @param {Editor} editor
 * @param {Point} at in fractions
 * @param {number} [index]
 */
export function write(editor, at, index = editor.marks.length) {
  endWords(editor, true);
  const { measure, size } = editor;
  const mark = editor.marks[index] ?? editor.newMark("text", [at]);
  const [[x, y]] = /** @type {[Point]} */ (pixelsOf(mark, size));
  const high = strokeOf(mark, size) * measure(linesOf(mark, size, measure))[1];
  const below = inWindow(editor.view, [x, y + high]);
  const words = wordsAt(editor.parts, below, mark.text.replace(/\s+/g, " "), MOST_LETTERS);
  words.addEventListener("blur", () => endWords(editor, true));
  words.addEventListener("input", () => {
    const text = words.value;
    const unknown = [...text].filter((letter) => !editor.font.has(letter)).join(" ");
    const warning = t("The bundled font has no {letters}: a box is drawn instead.", {
      letters: unknown,
    });
    const written = { ...mark, text: wrapped(text.trim(), roomFor(mark, size), measure) };
    const out = runsOut(written, size, measure);
    editor.say(unknown ? warning : out ? outside() : howTo("text"));
    editor.draft = text.trim() ? { index, mark: written } : null;
    editor.refresh();
  });
  editor.words = words;
}

/**
 * End the writing of words.
 * @param {Editor} editor
 * @param {boolean} keep what was written
 */
export function endWords(editor, keep) {
  const { words, draft } = editor;
  if (!words) return;
  editor.words = null;
  words.remove();
  editor.draft = null;
  if (keep && draft && draft.mark.text !== editor.marks[draft.index]?.text)
    editor.put(draft.index, draft.mark);
  editor.parts.surface.focus();
  editor.refresh();
}
