// @ts-check
/** The editor's mouse, pen or finger. */

import { allowed, MOST_POINTS } from "../marks/format.js";
import { hit, hitGrip, moved, reshaped, simplified } from "../marks/geometry.js";
import { onPicture } from "../marks/view.js";
import { endWords, write } from "./words.js";

/** @typedef {import("../marks/format.js").Point} Point */
/** @typedef {import("../marks/format.js").Mark} Mark */
/** @typedef {import("./editor.js").Editor} Editor */
/**
 * What a pointer does until it is let go; places are of the stage.
 * @typedef {{ move(at: Point): void, end(): void }} Drag
 */

const REACH_PX = 6; // of the stage
const LEAST_PX = 4; // of a mark; less is a click
const WHEEL = 0.0015;

/**
 * Listen to the editor's mouse, pen and wheel.
 * @param {Editor} editor
 */
export function listenToPointer(editor) {
  const { dialog, surface, stage } = editor.parts;
  dialog.addEventListener("mousedown", (event) => {
    const keeps = event.target instanceof Element && !event.target.closest("input, label");
    if (keeps) event.preventDefault(); // the focus stays on an <input>
  });
  /** @type {Drag | null} */
  let drag = null;
  const place = (/** @type {MouseEvent} */ event) => {
    const box = stage.getBoundingClientRect();
    return /** @type {Point} */ ([
      event.clientX - box.left - stage.clientLeft,
      event.clientY - box.top - stage.clientTop,
    ]);
  };
  surface.addEventListener("pointerdown", (event) => {
    if (drag || event.button > 1) return;
    event.preventDefault(); // the focus is set here, and the middle button does not scroll
    endWords(editor, true);
    surface.focus();
    drag = event.button === 1 ? panning(editor, place(event)) : begun(editor, place(event));
    if (drag) surface.setPointerCapture(event.pointerId);
  });
  surface.addEventListener("pointermove", (event) => drag?.move(place(event)));
  surface.addEventListener("pointerup", () => {
    drag?.end();
    drag = null;
  });
  const cancel = () => {
    if (!drag) return false;
    drag = null;
    editor.draft = null;
    editor.refresh();
    return true;
  };
  surface.addEventListener("pointercancel", cancel);
  editor.cancelDrag = cancel;
  surface.addEventListener("dblclick", (event) => {
    const index = under(editor, place(event));
    if (editor.marks[index]?.kind === "text") write(editor, [0, 0], index);
  });
  surface.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
      editor.zoom(Math.exp(-event.deltaY * lines * WHEEL), place(event));
    },
    { passive: false },
  );
}

/**
 * Convert a place of the stage into fractions of the picture.
 * @param {Editor} editor
 * @param {Point} at
 * @returns {Point}
 */
function fraction(editor, at) {
  const [x, y] = onPicture(editor.view, at);
  return allowed([x / editor.size.width, y / editor.size.height]);
}

/**
 * Find the mark under a place of the stage; -1 if there is none.
 * @param {Editor} editor
 * @param {Point} at
 */
function under(editor, at) {
  const { marks, own, view, size, measure } = editor;
  const shown = own.map((i) => /** @type {Mark} */ (marks[i]));
  return own[hit(shown, onPicture(view, at), size, REACH_PX / view.scale, measure)] ?? -1;
}

/**
 * Begin what the tool does where the pointer goes down.
 * @param {Editor} editor
 * @param {Point} at
 * @returns {Drag | null}
 */
function begun(editor, at) {
  if (editor.tool === "select") return taken(editor, at);
  if (editor.tool === "text") {
    const index = under(editor, at);
    if (editor.marks[index]?.kind === "text") write(editor, [0, 0], index);
    else write(editor, fraction(editor, at));
    return null;
  }
  return drawn(editor, editor.tool, at);
}

/**
 * Draw a mark until the pointer is let go.
 * @param {Editor} editor
 * @param {Exclude<import("./modes.js").Tool, "text" | "select">} tool
 * @param {Point} start
 * @returns {Drag}
 */
function drawn(editor, tool, start) {
  const index = editor.marks.length;
  const from = fraction(editor, start);
  const points = [from];
  const paints = tool === "brush" || tool === "eraser";
  const follows = paints || tool === "freehand";
  const least = paints ? (editor.widthFor(tool) * Math.min(editor.size.width, editor.size.height)) / 16 : 0;
  let far = 0;
  const show = (/** @type {Point[]} */ places) => {
    editor.draft = { index, mark: editor.newMark(tool, places) };
    editor.refresh();
  };
  editor.select(-1);
  if (paints) show(points);
  return {
    move(at) {
      far = Math.max(far, Math.hypot(at[0] - start[0], at[1] - start[1]));
      const to = fraction(editor, at);
      if (apart(/** @type {Point} */ (points.at(-1)), to, editor.size) >= least) points.push(to);
      show(follows ? [...points] : [from, to]);
    },
    end() {
      const mark = editor.draft?.mark;
      editor.draft = null;
      const line = mark && follows ? thinned(editor, mark) : mark;
      const isClick = far < LEAST_PX && !paints && !(tool === "freehand" && editor.mode === "marks");
      const isFlat = editor.mode === "area" && tool === "freehand" && (line?.points.length ?? 0) < 3;
      if (!line || isClick || isFlat) editor.refresh();
      else editor.put(index, line);
    },
  };
}

/**
 * Measure how far two places of the picture are apart, in its px.
 * @param {Point} one
 * @param {Point} other
 * @param {import("../marks/geometry.js").Size} size
 */
const apart = (one, other, { width, height }) =>
  Math.hypot((other[0] - one[0]) * width, (other[1] - one[1]) * height);

/**
 * Take points out of a drawn line that do not change its looks.
 * @param {Editor} editor
 * @param {Mark} mark
 * @returns {Mark}
 */
function thinned(editor, mark) {
  const isDot = mark.kind === "brush" && mark.points.length === 1;
  const points = isDot ? mark.points : simplified(mark.points, editor.size, 0.3);
  return { ...mark, points: points.slice(0, MOST_POINTS) };
}

/**
 * Move what is under the pointer, or reshape it by one of its grips; where nothing is, move the picture.
 * @param {Editor} editor
 * @param {Point} start
 * @returns {Drag}
 */
function taken(editor, start) {
  const reach = REACH_PX / editor.view.scale;
  const place = onPicture(editor.view, start);
  const before = editor.marks[editor.selected];
  const grip = before ? hitGrip(before, place, editor.size, reach) : -1;
  const index = grip >= 0 ? editor.selected : under(editor, start);
  const mark = editor.marks[index];
  if (!mark) {
    editor.select(-1);
    return panning(editor, start);
  }
  editor.select(index);
  const from = fraction(editor, start);
  return {
    move(at) {
      const to = fraction(editor, at);
      const changed = grip >= 0 ? reshaped(mark, grip, to) : moved(mark, [to[0] - from[0], to[1] - from[1]]);
      editor.draft = { index, mark: changed };
      editor.refresh();
    },
    end() {
      if (editor.draft) editor.put(index, editor.draft.mark);
    },
  };
}

/**
 * Move the picture until the pointer is let go.
 * @param {Editor} editor
 * @param {Point} start
 * @returns {Drag}
 */
function panning(editor, start) {
  let last = start;
  return {
    move(at) {
      editor.pan([at[0] - last[0], at[1] - last[1]]);
      last = at;
    },
    end() {},
  };
}
