// @ts-check
/**
 * The editor over a picture: what is drawn, selected and shown. Mouse and keys are in pointer.js and keys.js.
 */

import { t } from "../lib/translate.js";
import { measured } from "../marks/font.js";
import { COLOUR, isArea, MOST_MARKS, WIDTH } from "../marks/format.js";
import { boundsOf, gripsOf, moved, pixelsOf, runsOut } from "../marks/geometry.js";
import { begin, did, redone, undone } from "../marks/history.js";
import { fitted, inWindow, panned, zoomed } from "../marks/view.js";
import { paint } from "./canvas.js";
import { buildDialog, frame, showTools } from "./dialog.js";
import { listenToKeys } from "./keys.js";
import { howTo, modeOf, outside, toolOf, toolsOf } from "./modes.js";
import { listenToPointer } from "./pointer.js";
import { endWords } from "./words.js";

/** @typedef {import("../marks/format.js").Mark} Mark */
/** @typedef {import("../marks/format.js").Point} Point */
/** @typedef {import("./modes.js").Mode} Mode */
/** @typedef {import("./modes.js").Tool} Tool */

const MOST_PX = 2048; // of the longer side of what is shown; a larger picture is shown smaller
const SHEET_PX = 1024; // of the sheet that stands for a picture that is not known
const TEXT_HEIGHT = 0.08;
const BRUSH = 0.08;
const [THINNEST, THICKEST] = [0.002, 0.3];
const THICKER = 1.25;
const ZOOM = 1.25;

export class Editor {
  /**
   * Build the editor, not yet shown.
   * @param {object} given
   * @param {HTMLImageElement | null} given.picture to draw upon
   * @param {readonly Mark[]} given.marks that are there already
   * @param {import("../marks/font.js").Font} given.font
   * @param {string} given.note what is to be said at first
   */
  constructor({ picture, marks, font, note }) {
    this.picture = picture;
    this.font = font;
    this.parts = buildDialog();
    /** @type {import("../marks/history.js").History<readonly Mark[]>} */
    this.history = begin(marks);
    this.selected = -1;
    /** @type {{ index: number, mark: Mark } | null} what the pointer is about to draw or change */
    this.draft = null;
    /** @type {Mode} */
    this.mode = marks.length && marks.every(isArea) ? "area" : "marks";
    /** @type {Record<Mode, Tool>} */
    this.tools = { marks: "ellipse", area: "brush" };
    this.colour = COLOUR;
    this.widths = { stroke: WIDTH, text: TEXT_HEIGHT, brush: BRUSH };
    this.view = { scale: 1, x: 0, y: 0 };
    /** @type {HTMLInputElement | null} */
    this.words = null;
    this.waiting = 0;
    /** Stops what the pointer is doing, if it does anything. @type {() => boolean} */
    this.cancelDrag = () => false;
    /** @type {(marks: readonly Mark[] | null) => void} */
    this.finish = () => {};
    const { canvas } = this.parts;
    const [width, height] = picture ? [picture.naturalWidth, picture.naturalHeight] : [SHEET_PX, SHEET_PX];
    const share = Math.min(MOST_PX / Math.max(width, height), 1);
    canvas.width = Math.max(Math.round(width * share), 1);
    canvas.height = Math.max(Math.round(height * share), 1);
    this.say(note);
  }

  /**
   * Show it until the user is done.
   * @returns {Promise<readonly Mark[] | null>} the marks; null if cancelled
   */
  open() {
    const { dialog, surface, stage, buttons, tools, modes, colour, width } = this.parts;
    document.body.append(dialog);
    dialog.showModal();
    surface.focus();
    this.view = fitted(this.parts.canvas, this.window);
    for (const { radio } of tools)
      radio.addEventListener("change", () => this.choose(/** @type {Tool} */ (radio.value)));
    for (const { radio } of modes)
      radio.addEventListener("change", () => this.setMode(/** @type {Mode} */ (radio.value)));
    colour.addEventListener("input", () => this.restyle({ colour: colour.value }, false));
    colour.addEventListener("change", () => this.restyle({ colour: colour.value }, true));
    width.addEventListener("input", () => this.restyle({ width: Number(width.value) }, false));
    width.addEventListener("change", () => this.restyle({ width: Number(width.value) }, true));
    /** @type {Record<keyof typeof buttons, () => void>} */
    const actions = {
      undo: () => this.undo(),
      redo: () => this.redo(),
      remove: () => this.remove(),
      clear: () => this.change(this.marks.filter((mark) => modeOf(mark) !== this.mode)),
      smaller: () => this.zoom(1 / ZOOM),
      larger: () => this.zoom(ZOOM),
      fit: () => this.fit(),
      cancel: () => this.close(null),
      done: () => this.close(this.marks),
    };
    for (const [name, run] of Object.entries(actions))
      buttons[/** @type {keyof typeof buttons} */ (name)].addEventListener("click", run);
    listenToPointer(this);
    listenToKeys(this);
    const resized = new ResizeObserver(() => this.fit());
    resized.observe(stage);
    this.setMode(this.mode, this.parts.note.textContent ?? "");
    return new Promise((resolve) => {
      this.finish = (marks) => {
        resized.disconnect();
        cancelAnimationFrame(this.waiting);
        resolve(marks); // before the dialog says that it was closed
        dialog.close();
        dialog.remove();
      };
      dialog.addEventListener("close", () => this.finish(null)); // whoever closed it
    });
  }

  /**
   * Get the marks as they are now.
   * @returns {readonly Mark[]}
   */
  get marks() {
    return this.history.now;
  }

  /** Get the tool that is in use. */
  get tool() {
    return this.tools[this.mode];
  }

  /** List the numbers of the marks that can be changed: those of the mode. */
  get own() {
    return [...this.marks.keys()].filter((i) => modeOf(/** @type {Mark} */ (this.marks[i])) === this.mode);
  }

  /** Get the picture's size as it is shown, in px. */
  get size() {
    return { width: this.parts.canvas.width, height: this.parts.canvas.height };
  }

  /** Get the size of the stage. */
  get window() {
    return { width: this.parts.stage.clientWidth, height: this.parts.stage.clientHeight };
  }

  /**
   * Measure words, for bounds.
   * @param {string} text
   * @returns {[number, number]}
   */
  measure = (text) => measured(this.font, text);

  /**
   * Tell the width that the next mark of a tool gets.
   * @param {Tool} tool
   */
  widthFor(tool) {
    return this.widths[sort(tool)];
  }

  /**
   * Make a mark of a tool, in the present colour, or a part of the area.
   * @param {Exclude<Tool, "select">} tool
   * @param {Point[]} points
   * @returns {Mark}
   */
  newMark(tool, points) {
    const width = this.widthFor(tool);
    const erase = tool === "eraser";
    if (this.mode === "area")
      return { kind: erase ? "brush" : tool, points, colour: COLOUR, width, text: "", mask: true, erase };
    return { kind: erase ? "brush" : tool, points, colour: this.colour, width, text: "" };
  }

  /**
   * Take one step of the editor's own history.
   * @param {readonly Mark[]} marks
   * @param {number} [selected]
   */
  change(marks, selected = -1) {
    this.draft = null;
    if (marks.length > MOST_MARKS)
      this.say(t("There are already {most} marks, which is the limit.", { most: MOST_MARKS }));
    else {
      this.history = did(this.history, marks);
      this.selected = selected;
    }
    this.refresh();
  }

  /**
   * Put a mark in the place of another, or behind the last.
   * @param {number} index
   * @param {Mark} mark
   */
  put(index, mark) {
    this.change([...this.marks.slice(0, index), mark, ...this.marks.slice(index + 1)], index);
    if (runsOut(mark, this.size, this.measure)) this.say(outside());
  }

  undo() {
    this.history = undone(this.history);
    this.select(-1);
  }

  redo() {
    this.history = redone(this.history);
    this.select(-1);
  }

  remove() {
    if (this.selected >= 0) this.change(this.marks.filter((_, i) => i !== this.selected));
  }

  /**
   * Select a mark, whose looks those to come take over.
   * @param {number} index of a mark, -1 for none
   */
  select(index) {
    this.draft = null;
    this.selected = index;
    const mark = this.marks[index];
    if (mark) {
      this.colour = mark.colour;
      this.widths[sort(toolOf(mark))] = mark.width;
    }
    this.refresh();
  }

  /**
   * Take a tool.
   * @param {Tool} tool
   * @param {string} [note] what is said instead of how it is used
   */
  choose(tool, note = "") {
    if (!toolsOf(this.mode).some((one) => one.tool === tool)) return;
    this.tools[this.mode] = tool;
    this.say(note || howTo(tool));
    showTools(this.parts, this.mode, tool);
    const mark = this.marks[this.selected];
    if (tool !== "select" && mark && toolOf(mark) !== tool) this.selected = -1;
    this.refresh();
  }

  /**
   * Draw marks, or the area, from now on.
   * @param {Mode} mode
   * @param {string} [note]
   */
  setMode(mode, note = "") {
    endWords(this, true);
    this.cancelDrag();
    if (mode !== this.mode) this.selected = -1;
    this.mode = mode;
    this.choose(this.tool, note);
  }

  /**
   * Make the selected mark and those to come thicker or thinner.
   * @param {1 | -1} way
   */
  resize(way) {
    const wide = (this.marks[this.selected]?.width ?? this.widthFor(this.tool)) * THICKER ** way;
    this.restyle({ width: Math.min(Math.max(wide, THINNEST), THICKEST) }, true);
  }

  /**
   * Set colour or width of the selected mark and of those to come.
   * @param {{ colour?: string, width?: number }} looks
   * @param {boolean} last whether the user is done choosing
   */
  restyle(looks, last) {
    const mark = this.marks[this.selected];
    if (looks.colour) this.colour = looks.colour;
    if (looks.width) this.widths[sort(mark ? toolOf(mark) : this.tool)] = looks.width;
    if (mark && last) this.put(this.selected, { ...mark, ...looks });
    else if (mark) this.draft = { index: this.selected, mark: { ...mark, ...looks } };
    this.refresh();
  }

  /**
   * Move the selected mark, or one of its points.
   * @param {Point} by in fractions
   * @param {boolean} end only its last point
   */
  nudge(by, end) {
    const mark = this.marks[this.selected];
    if (!mark) return;
    const shape = moved(mark, by);
    const grips = gripsOf(mark);
    const points = mark.points.map((point, i) =>
      i === grips.at(-1) ? /** @type {Point} */ (shape.points[i]) : point,
    );
    this.put(this.selected, end && grips.length ? { ...mark, points } : shape);
  }

  /**
   * Zoom about a point that stays where it is.
   * @param {number} factor
   * @param {Point} [at] of the stage; else its middle
   */
  zoom(factor, at = [this.window.width / 2, this.window.height / 2]) {
    this.view = zoomed(this.view, factor, at);
    this.refresh();
  }

  /**
   * Move the picture on the stage.
   * @param {Point} by in px of the stage
   */
  pan(by) {
    this.view = panned(this.view, by);
    this.refresh();
  }

  fit() {
    this.view = fitted(this.size, this.window);
    this.refresh();
  }

  /**
   * Say something to the user.
   * @param {string} note
   */
  say(note) {
    this.parts.note.textContent = note;
  }

  /**
   * End drawing with these marks, or without.
   * @param {readonly Mark[] | null} marks
   */
  close(marks) {
    if (marks && this.words) {
      endWords(this, true);
      this.finish(this.marks);
    } else this.finish(marks);
  }

  /**
   * Set which buttons can be pressed; the focus leaves one that cannot.
   * @param {Record<"undo" | "redo" | "remove" | "clear", boolean>} can
   */
  enable(can) {
    for (const name of /** @type {const} */ (["undo", "redo", "remove", "clear"])) {
      const button = this.parts.buttons[name];
      if (!can[name] && document.activeElement === button) this.parts.surface.focus();
      button.disabled = !can[name];
    }
  }

  /** Show what has changed, with the next picture on the screen. */
  refresh() {
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(() => this.show());
  }

  show() {
    const { canvas, overlay, colour, width, widthShown, zoomShown } = this.parts;
    const { draft, view } = this;
    const marks = draft
      ? [...this.marks.slice(0, draft.index), draft.mark, ...this.marks.slice(draft.index + 1)]
      : this.marks;
    paint(canvas, this.picture, marks, this.font, this.mode);
    canvas.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    const mark = draft?.index === this.selected ? draft.mark : this.marks[this.selected];
    if (mark) {
      const [left, top, right, bottom] = boundsOf(mark, this.size, this.measure);
      const places = gripsOf(mark).map((i) => /** @type {Point} */ (pixelsOf(mark, this.size)[i]));
      frame(
        overlay,
        [...inWindow(view, [left, top]), ...inWindow(view, [right, bottom])],
        places.map((place) => inWindow(view, place)),
      );
    } else overlay.replaceChildren();
    this.enable({
      undo: this.history.past.length > 0,
      redo: this.history.future.length > 0,
      remove: !!this.marks[this.selected],
      clear: this.own.length > 0,
    });
    const wide = mark?.width ?? this.widthFor(this.tool);
    colour.value = this.colour;
    width.value = String(wide);
    widthShown.textContent = `${(100 * wide).toFixed(1)} %`;
    zoomShown.textContent = `${Math.round(100 * view.scale)} %`;
  }
}

/**
 * Tell which width a tool draws with.
 * @param {Tool} tool
 */
const sort = (tool) =>
  tool === "text" ? "text" : tool === "brush" || tool === "eraser" ? "brush" : "stroke";
