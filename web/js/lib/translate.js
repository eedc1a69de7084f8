// @ts-check
/** Sentences of the page in the user's language: ComfyUI serves the pack's locales, English is the key. */

import { app } from "../../../../scripts/app.js";
import { remembered } from "./remembered.js";

/** @type {Record<string, string>} */
let table = {};

/**
 * The sentences of all languages, from ComfyUI's own server.
 * @type {() => Promise<Record<string, { kontextPage?: Record<string, string> }>>}
 */
const everyLanguage = remembered(async () => {
  const answer = await app.api.fetchApi("/i18n");
  if (!answer.ok) throw new Error(`/i18n: ${answer.status}`);
  return answer.json();
});

/**
 * Get the sentences of the page's language.
 * Where they cannot be had the page speaks English until this is asked again.
 */
export async function loadWords() {
  const language = String(app.extensionManager.setting.get("Comfy.Locale") ?? "en");
  try {
    table = language === "en" ? {} : ((await everyLanguage())[language]?.kontextPage ?? {});
  } catch (error) {
    console.warn("Kontext: no translations.", error);
  }
}

/**
 * Translate an English sentence into the user's language.
 * Sentences are found in the scripts by tools/make_locales.py.
 * @param {string} sentence
 * @param {Record<string, string | number>} [values] for its {places}
 */
export function t(sentence, values = {}) {
  return (table[sentence] ?? sentence).replace(/\{(\w+)\}/g, (place, name) => String(values[name] ?? place));
}
