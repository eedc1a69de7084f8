// @ts-check
/** Sentences of the page in the user's language: ComfyUI serves the pack's locales, English is the key. */

import { app } from "../../../scripts/app.js";

/** @type {Record<string, string>} */
let table = {};

/** Get the translations, unless the page is in English. From ComfyUI's own server, once, when the page is loaded. */
export async function loadWords() {
  const language = String(app.extensionManager.setting.get("Comfy.Locale") ?? "en");
  if (language === "en" || Object.keys(table).length) return;
  const answer = await app.api.fetchApi("/i18n");
  if (answer.ok) table = (await answer.json())[language]?.kontextPage ?? {};
}

/**
 * An English sentence in the user's language. Sentences are found in the scripts by tools/make_locales.py.
 * @param {string} sentence @param {Record<string, string | number>} [values] for its {places}
 */
export function t(sentence, values = {}) {
  return (table[sentence] ?? sentence).replace(/\{(\w+)\}/g, (place, name) => String(values[name] ?? place));
}
