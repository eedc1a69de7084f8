// @ts-check
/** Two pictures large over the page: which of them is seen, and from where. Mouse and keys are in large_input.js. */

import { t } from "../lib/translate.js";
import { fitted, panned, zoomed } from "../marks/view.js";
import { namesOf } from "./before_after.js";
import { differenceOf, GAIN } from "./difference.js";
import { buildDialog } from "./large_dialog.js";
import { listen } from "./large_input.js";

/** @typedef {import("./before_after.js").Pair} Pair */
/** @typedef {import("./large_dialog.js").Mode} Mode */
/** @typedef {{ width: number, height: number }} Size */

export const ZOOM = 1.25;
const SHARP = 2; // from this zoom on single pixels are seen

/** The large view of one pair of pictures. */
export class LargeView {
  /**
   * Build the view, not yet shown.
   * @param {Pair} pair
   */
  constructor(pair) {
    this.pair = pair;
    this.single = !pair.before;
    this.parts = buildDialog(namesOf(pair), this.single);
    /** @type {Mode} */
    this.mode = "wipe";
    this.held = false;
    this.percent = 50;
    this.view = { scale: 1, x: 0, y: 0 };
    this.fitting = true;
    this.ready = false;
    /** @type {number | null} share of the pixels that differ, once they were compared */
    this.changed = null;
  }

  /** Show it until the user closes it; then the focus is where it was. */
  async open() {
    const { dialog, surface, stage, before, after } = this.parts;
    const focused = document.activeElement;
    document.body.append(dialog);
    dialog.showModal();
    surface.focus();
    listen(this);
    const resized = new ResizeObserver(() => (this.fitting ? this.fit() : this.draw()));
    dialog.addEventListener("close", () => {
      resized.disconnect();
      dialog.remove();
      if (focused instanceof HTMLElement) focused.focus();
    });
    this.choose(this.mode);
    try {
      await Promise.all([load(after, this.pair.after), this.single || load(before, this.pair.before)]);
    } catch {
      this.parts.note.textContent = t("The pictures cannot be loaded: run the graph again.");
      return;
    }
    this.ready = true;
    resized.observe(stage);
    this.choose(this.mode);
    this.fit();
  }

  /** List the pictures that there are, first and second. */
  get pictures() {
    const { before, after } = this.parts;
    return this.single ? [after] : [before, after];
  }

  /** Get the size of what both pictures fill at the same height, in px. */
  get size() {
    const height = Math.max(...this.pictures.map((one) => one.naturalHeight), 1);
    const widths = this.pictures.map((one) => (one.naturalWidth * height) / Math.max(one.naturalHeight, 1));
    return { width: Math.max(...widths, 1), height };
  }

  /**
   * Get the size of the part of the stage that shows one picture.
   * @returns {Size}
   */
  get window() {
    const { clientWidth, clientHeight } = this.parts.stage;
    const halved = this.mode === "side" && !this.held;
    return { width: halved ? clientWidth / 2 : clientWidth, height: clientHeight };
  }

  fit() {
    this.fitting = true;
    this.view = fitted(this.size, this.window);
    this.draw();
  }

  /** Show one pixel of the pictures as one of the screen, from the middle. */
  fill() {
    this.zoom(1 / (window.devicePixelRatio || 1) / this.view.scale);
  }

  /**
   * Show the pictures larger or smaller.
   * @param {number} factor
   * @param {[number, number]} [at] the point of the stage that stays where it is
   */
  zoom(factor, at) {
    const { width, height } = this.window;
    const [x, y] = at ?? [width / 2, height / 2];
    this.fitting = false;
    this.view = zoomed(this.view, factor, [x >= width ? x - width : x, y]);
    this.draw();
  }

  /**
   * Move both pictures.
   * @param {[number, number]} by in px
   */
  pan(by) {
    this.fitting = false;
    this.view = panned(this.view, by);
    this.draw();
  }

  /**
   * Move the line between the two pictures.
   * @param {number} percent from the left
   */
  wipe(percent) {
    this.percent = Math.min(100, Math.max(0, percent));
    this.draw();
  }

  /**
   * Look at the pictures in another way.
   * @param {Mode} mode
   */
  choose(mode) {
    const halved = mode === "side" || this.mode === "side";
    this.mode = mode;
    for (const radio of this.parts.radios) radio.checked = radio.value === mode;
    if (mode === "difference" && this.ready) this.compare();
    if (halved && this.fitting) this.fit();
    else this.draw();
    this.say();
  }

  /**
   * Show the second picture alone, as long as something is held.
   * @param {boolean} held
   */
  hold(held) {
    if (this.single || this.held === held) return;
    this.held = held;
    if (this.mode === "side" && this.fitting) this.fit();
    else this.draw();
  }

  /** Compare the two pictures, once. */
  compare() {
    if (this.changed !== null || this.single) return;
    const { before, after, panes } = this.parts;
    const { canvas, changed } = differenceOf(before, after);
    this.changed = changed;
    panes.difference.querySelector("canvas")?.replaceWith(canvas);
  }

  /** Say what the numbers are of what is seen. */
  say() {
    const [first, second] = this.pictures.map((one) => `${one.naturalWidth} × ${one.naturalHeight}`);
    const sentences = [];
    if (this.ready && second && first !== second)
      sentences.push(
        t("The sizes differ: {first} and {second} px.", { first: first ?? "", second }),
        this.mode === "difference" ? t("The second picture is scaled to the first.") : "",
      );
    if (this.mode === "difference" && this.changed !== null) {
      const percent = (this.changed * 100).toFixed(1);
      sentences.push(
        t("{percent} % of the picture differs, shown {gain} times as strong.", { percent, gain: GAIN }),
      );
    }
    this.parts.note.textContent = sentences.filter(Boolean).join(" ");
  }

  draw() {
    const { stage, panes, line, zoom, before, after } = this.parts;
    const mode = this.held ? "held" : this.single ? "one" : this.mode;
    stage.dataset.mode = mode;
    stage.style.setProperty("--kontext-line", `${this.percent}%`);
    panes.first.hidden = this.single || !["wipe", "side", "one"].includes(mode);
    panes.second.hidden = !this.single && !["wipe", "side", "held"].includes(mode);
    panes.difference.hidden = mode !== "difference";
    line.hidden = mode !== "wipe";
    if (!this.ready) return;
    const { width, height } = this.size;
    this.place(after, after.naturalWidth, after.naturalHeight);
    if (!this.single) this.place(before, before.naturalWidth, before.naturalHeight);
    const canvas = panes.difference.querySelector("canvas");
    if (canvas && this.changed !== null) this.place(canvas, canvas.width, canvas.height);
    zoom.textContent = `${Math.round(this.view.scale * (window.devicePixelRatio || 1) * 100)} %`;
    stage.dataset.view = [width, height, this.view.scale].map((one) => one.toFixed(3)).join(" ");
  }

  /**
   * Put a picture where it is seen, as high as the other and in the middle.
   * @param {HTMLElement} picture
   * @param {number} width its own, in px
   * @param {number} height
   */
  place(picture, width, height) {
    const { size, view } = this;
    const scale = (view.scale * size.height) / height;
    const left = view.x + (size.width * view.scale - width * scale) / 2;
    picture.style.width = `${width}px`;
    picture.style.height = `${height}px`;
    picture.style.transform = `translate(${left}px, ${view.y}px) scale(${scale})`;
    picture.style.imageRendering = scale >= SHARP ? "pixelated" : "";
  }
}

/**
 * Load a picture.
 * @param {HTMLImageElement} image
 * @param {string} address
 */
async function load(image, address) {
  image.src = address;
  await image.decode();
}

/**
 * Show two pictures large over the page.
 * @param {Pair | null} pair
 */
export function openLarge(pair) {
  if (!pair?.after || document.querySelector(".kontext-large")) return;
  void new LargeView(pair).open();
}
