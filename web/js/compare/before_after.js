// @ts-check
/** Two pictures in one frame, with a line between them that mouse and arrow keys move. */

import { t } from "../lib/translate.js";
import { addStyle } from "./style.js";

/**
 * Two pictures to compare.
 * @typedef {object} Pair
 * @property {string} before address; "" where it is not known
 * @property {string} after address
 * @property {readonly [string, string] | null} names null for one turn before and after
 */

const STEP = 2;
const LEAP = 10;

/**
 * Tell where a key moves the line.
 * @param {string} key
 * @param {number} value in percent from the left
 * @returns {number | null}
 */
export function movedBy(key, value) {
  const moved = {
    ArrowLeft: value - STEP,
    ArrowDown: value - STEP,
    ArrowRight: value + STEP,
    ArrowUp: value + STEP,
    PageDown: value - LEAP,
    PageUp: value + LEAP,
    Home: 0,
    End: 100,
  }[key];
  return moved === undefined ? null : Math.min(100, Math.max(0, moved));
}

/**
 * Say what the two pictures of a pair are called.
 * @param {Pair} pair
 * @returns {readonly [string, string]}
 */
export const namesOf = ({ names }) => names ?? [t("Before"), t("After")];

/**
 * Build the frame: `element` to show and `show` to fill it.
 * @param {() => void} open shows the two pictures large: after a double click, or Enter
 * @param {{ labelled?: boolean, failed?: () => void }} [how] whether each picture has its name in it, and what
 *   to do where a picture is not there any more
 */
export function beforeAfter(open, { labelled = false, failed } = {}) {
  addStyle();
  const element = document.createElement("div");
  element.className = "kontext-before-after";
  const after = picture("after");
  const before = picture("before");
  const labels = [label("before"), label("after")];
  if (failed) for (const image of [before, after]) image.addEventListener("error", failed);
  const line = document.createElement("div");
  line.className = "kontext-line";
  line.tabIndex = 0;
  line.setAttribute("role", "slider");
  line.setAttribute("aria-valuemin", "0");
  line.setAttribute("aria-valuemax", "100");
  element.append(after, before, ...(labelled ? labels : []), line);

  let value = 50;
  /**
   * Move the line between the two pictures.
   * @param {number} percent
   */
  function moveTo(percent) {
    value = percent;
    element.style.setProperty("--kontext-line", `${percent}%`);
    line.setAttribute("aria-valuenow", String(Math.round(percent)));
  }

  /**
   * Move the line to the pointer.
   * @param {PointerEvent} event
   */
  function drag(event) {
    const box = element.getBoundingClientRect();
    if (box.width) moveTo(Math.min(100, Math.max(0, ((event.clientX - box.left) / box.width) * 100)));
  }

  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    element.setPointerCapture(event.pointerId);
    line.focus();
    drag(event);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) drag(event);
  });
  line.addEventListener("keydown", (event) => {
    const moved = movedBy(event.key, value);
    if (moved === null && event.key !== "Enter") return;
    event.preventDefault();
    event.stopPropagation();
    if (moved === null) open();
    else moveTo(moved);
  });
  element.addEventListener("dblclick", (event) => {
    event.stopPropagation();
    open();
  });
  after.addEventListener("load", () => {
    const ratio = after.naturalWidth / after.naturalHeight;
    element.style.aspectRatio = String(ratio);
    element.style.setProperty("--kontext-ratio", String(ratio)); // so high that the turns have room beside it
  });
  moveTo(value);

  return {
    element,
    /**
     * Show two pictures, or one where the other is not known.
     * @param {Pair} pair
     */
    show(pair) {
      const [first, second] = namesOf(pair);
      for (const [i, name] of [first, second].entries()) {
        const words = labels[i]?.firstElementChild;
        if (words && words.textContent !== name) words.textContent = name;
      }
      line.hidden = before.hidden = !pair.before;
      line.setAttribute(
        "aria-label",
        pair.names ? t("{first} and {second}", { first, second }) : t("Before and after"),
      );
      point(before, pair.before);
      point(after, pair.after);
    },
  };
}

/**
 * Give a picture its address, once.
 * @param {HTMLImageElement} image
 * @param {string} address
 */
export function point(image, address) {
  if (image.getAttribute("src") === address) return;
  if (address) image.src = address;
  else image.removeAttribute("src");
}

/**
 * Build one of the two pictures.
 * @param {string} name
 */
function picture(name) {
  const image = document.createElement("img");
  image.className = `kontext-${name}`;
  image.alt = "";
  image.draggable = false;
  return image;
}

/**
 * Build the name of one of the two pictures, seen as far as the picture is.
 * @param {string} name
 */
function label(name) {
  const element = document.createElement("div");
  element.className = `kontext-${name}-label`;
  const words = document.createElement("span");
  words.className = "kontext-picture-name";
  element.append(words);
  return element;
}
