// @ts-check
/**
 * The editor's window: bar of tools, stage, a line of text. Everything that can have the focus is an <input>,
 * also what looks like a button: while an <input> has the focus, ComfyUI's page leaves Ctrl+Z to it and
 * undoes nothing of the graph.
 */

import { t } from "../lib/translate.js";
import { MODE_KEY, MODES, TOOLS } from "./modes.js";
import { addStyle } from "./style.js";

/** @typedef {import("./modes.js").Mode} Mode */
/** @typedef {import("./modes.js").Tool} Tool */
/** @typedef {ReturnType<typeof buildDialog>} Dialog */

const SWATCHES = ["#ee0d14", "#ffd500", "#00b050", "#0060ff", "#ff00ff", "#000000", "#ffffff"];

/**
 * Make an element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string>} attributes
 * @param {(Node | string)[]} children
 */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * Make a button of the bar.
 * @param {string} value what it says
 * @param {string} hint
 * @param {string} [looks]
 */
const button = (value, hint, looks = "") =>
  make("input", { type: "button", class: `action ${looks}`, value, title: hint });

/**
 * Make a choice of several.
 * @param {string} name of all of them
 * @param {string} value
 * @param {string} hint
 * @param {string} words
 */
function choice(name, value, hint, words) {
  const radio = make("input", { type: "radio", name: `kontext-draw-${name}`, value });
  const shown = make("span", {}, words);
  return { radio, shown, label: make("label", { class: "tool", title: hint }, radio, shown) };
}

/**
 * Show the tools of a mode, and which one is in use.
 * @param {Dialog} parts
 * @param {Mode} mode
 * @param {Tool} tool
 */
export function showTools({ dialog, modes, tools, buttons, surface }, mode, tool) {
  dialog.dataset.mode = mode;
  buttons.clear.title = mode === "area" ? t("Delete the area") : t("Delete all marks");
  surface.dataset.tool = tool;
  for (const { radio } of modes) radio.checked = radio.value === mode;
  TOOLS.forEach(({ tool: own, key, sign, label, only, area }, i) => {
    const part = tools[i];
    if (!part) return;
    const words = t((mode === "area" && area?.label) || label);
    part.radio.checked = own === tool;
    part.label.hidden = part.radio.disabled = Boolean(only && only !== mode);
    part.label.title = `${words} (${key.toUpperCase()})`;
    part.shown.textContent = `${sign} ${words}`;
  });
}

/** Build the window, not yet shown. */
export function buildDialog() {
  addStyle();
  const modes = MODES.map(({ mode, label }) =>
    choice("mode", mode, `${t(label)} (${MODE_KEY.toUpperCase()})`, t(label)),
  );
  const tools = TOOLS.map(({ tool }) => choice("tool", tool, "", ""));
  const colour = make("input", {
    type: "color",
    list: "kontext-draw-swatches",
    "aria-label": t("Colour"),
    title: t("Colour"),
  });
  const swatches = make("datalist", { id: "kontext-draw-swatches" });
  swatches.append(...SWATCHES.map((value) => make("option", { value })));
  const width = make("input", {
    type: "range",
    min: "0.002",
    max: "0.3",
    step: "0.002",
    "aria-label": t("Width"),
  });
  const widthShown = make("output", { "aria-hidden": "true" });
  const buttons = {
    undo: button(t("Undo"), "Ctrl+Z"),
    redo: button(t("Redo"), "Ctrl+Y"),
    remove: button(t("Delete"), t("Delete the selected mark (Delete)")),
    clear: button(t("Clear"), ""),
    smaller: button("−", t("Zoom out (-)")),
    larger: button("+", t("Zoom in (+)")),
    fit: button(t("Fit"), t("Show the whole picture (0)")),
    cancel: button(t("Cancel"), "Escape"),
    done: button(t("Done"), "Enter", "main"),
  };
  buttons.smaller.setAttribute("aria-label", t("Zoom out (-)"));
  buttons.larger.setAttribute("aria-label", t("Zoom in (+)"));
  const zoomShown = make("output", { "aria-hidden": "true" });
  const bar = make(
    "div",
    { class: "kontext-draw-bar", role: "toolbar", "aria-label": t("Drawing") },
    make(
      "div",
      { class: "modes", role: "radiogroup", "aria-label": t("Drawing") },
      ...modes.map((one) => one.label),
    ),
    make("div", { role: "radiogroup", "aria-label": t("Tool") }, ...tools.map((one) => one.label)),
    make("div", { class: "colour" }, colour, swatches),
    make("div", {}, make("label", {}, t("Width"), width), widthShown),
    make("div", {}, buttons.undo, buttons.redo, buttons.remove, buttons.clear),
  );
  const canvas = make("canvas");
  const overlay = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  overlay.setAttribute("aria-hidden", "true");
  const surface = make("input", {
    type: "button",
    class: "surface",
    value: "",
    "aria-label": t(
      "The picture. Space draws in the middle, Page Up and Page Down select a mark, arrow keys move it, and with Shift they move its end.",
    ),
  });
  const stage = make("div", { class: "kontext-draw-stage" }, canvas, overlay, surface);
  const note = make("p", { "aria-live": "polite" });
  const foot = make(
    "div",
    { class: "kontext-draw-foot" },
    note,
    buttons.smaller,
    zoomShown,
    buttons.larger,
    buttons.fit,
    buttons.cancel,
    buttons.done,
  );
  const dialog = make(
    "dialog",
    { class: "kontext-draw", "aria-label": t("Draw on the picture") },
    bar,
    stage,
    foot,
  );
  return {
    dialog,
    modes,
    tools,
    colour,
    width,
    widthShown,
    zoomShown,
    buttons,
    canvas,
    overlay,
    surface,
    stage,
    note,
  };
}

/**
 * Show a frame around a mark, with its grips.
 * @param {SVGSVGElement} overlay
 * @param {[number, number, number, number]} box
 * @param {[number, number][]} grips
 */
export function frame(overlay, [left, top, right, bottom], grips) {
  const shape = (/** @type {string} */ name, /** @type {Record<string, number>} */ values) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(values)) element.setAttribute(key, String(value));
    return element;
  };
  const rectangle = shape("rect", {
    x: left - 4,
    y: top - 4,
    width: right - left + 8,
    height: bottom - top + 8,
  });
  rectangle.setAttribute("stroke-dasharray", "5 4");
  overlay.replaceChildren(rectangle, ...grips.map(([cx, cy]) => shape("circle", { cx, cy, r: 5 })));
}

/**
 * Open a line to write words in, near a place of the stage.
 * @param {Dialog} parts
 * @param {[number, number]} at
 * @param {string} text
 * @param {number} most letters
 */
export function wordsAt({ stage }, [x, y], text, most) {
  const words = make("input", {
    type: "text",
    class: "words",
    maxlength: String(most),
    "aria-label": t("Words"),
  });
  words.value = text;
  words.style.left = `${Math.max(Math.min(x, stage.clientWidth - 240), 0)}px`;
  words.style.top = `${Math.max(Math.min(y, stage.clientHeight - 40), 0)}px`;
  stage.append(words);
  words.focus();
  return words;
}
