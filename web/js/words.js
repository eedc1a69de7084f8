// @ts-check
/** Sentences of the page in the user's language: ComfyUI serves the pack's locales, English is the key. */

import { app } from "../../../scripts/app.js";

/** @type {Record<string, { kontextPage?: Record<string, string> } | undefined>} */
let tables = {};

/** Get the translations, unless the page is in English. From ComfyUI's own server, once. */
export async function loadWords() {
  if (language() === "en" || Object.keys(tables).length) return;
  const answer = await app.api.fetchApi("/i18n");
  if (answer.ok) tables = await answer.json();
}

const language = () => String(app.extensionManager.setting.get("Comfy.Locale") ?? "en");

/**
 * An English sentence in the user's language. Sentences are found in the scripts by tools/make_locales.py.
 * @param {string} sentence @param {Record<string, string | number>} [values] for its {places}
 */
export function t(sentence, values = {}) {
  const found = tables[language()]?.kontextPage?.[sentence] ?? sentence;
  return found.replace(/\{(\w+)\}/g, (place, name) => String(values[name] ?? place));
}
