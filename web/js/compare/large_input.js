// @ts-check
/** Mouse and keyboard of the large view. None of its keys is ComfyUI's. */

import { movedBy } from "./before_after.js";
import { MODES } from "./large_dialog.js";
import { ZOOM } from "./large_view.js";

/** @typedef {import("./large_view.js").LargeView} LargeView */
/** @typedef {import("./large_dialog.js").Mode} Mode */

const WHEEL = 0.0015; // of a zoom for each px that the wheel turns
const STEP_PX = 40; // that an arrow key moves the pictures

/**
 * Listen to mouse and keyboard.
 * @param {LargeView} view
 */
export function listen(view) {
  const { dialog, radios, buttons, surface, line, stage } = view.parts;
  for (const radio of radios)
    radio.addEventListener("change", () => view.choose(/** @type {Mode} */ (radio.value)));
  buttons.smaller.addEventListener("click", () => view.zoom(1 / ZOOM));
  buttons.larger.addEventListener("click", () => view.zoom(ZOOM));
  buttons.fit.addEventListener("click", () => view.fit());
  buttons.full.addEventListener("click", () => view.fill());
  buttons.close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation(); // none is for the page below
    if (pressed(view, event)) event.preventDefault();
  });
  dialog.addEventListener("keyup", (event) => {
    event.stopPropagation();
    if (["f", " ", "enter"].includes(event.key.toLowerCase())) view.hold(false);
  });
  dialog.addEventListener("focusout", ({ relatedTarget }) => {
    if (!(relatedTarget instanceof Node && dialog.contains(relatedTarget))) view.hold(false);
  });
  drag(surface, (event) => view.pan([event.movementX, event.movementY]));
  drag(line, (event) => {
    const box = stage.getBoundingClientRect();
    view.wipe(((event.clientX - box.left) / box.width) * 100);
  });
  surface.addEventListener("dblclick", (event) => {
    if (view.fitting) view.zoom(1 / (window.devicePixelRatio || 1) / view.view.scale, pointOf(stage, event));
    else view.fit();
  });
  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      view.zoom(Math.exp(-event.deltaY * WHEEL), pointOf(stage, event));
    },
    { passive: false },
  );
  buttons.other.addEventListener("pointerdown", (event) => {
    buttons.other.setPointerCapture(event.pointerId);
    view.hold(true);
  });
  for (const end of ["pointerup", "pointercancel", "lostpointercapture"])
    buttons.other.addEventListener(end, () => view.hold(false));
}

/**
 * Find the point of the stage under the pointer.
 * @param {HTMLElement} stage
 * @param {MouseEvent} event
 * @returns {[number, number]}
 */
function pointOf(stage, { clientX, clientY }) {
  const box = stage.getBoundingClientRect();
  return [clientX - box.left, clientY - box.top];
}

/**
 * Call something while the pointer is dragged over the stage.
 * @param {HTMLElement} element where the drag begins
 * @param {(event: PointerEvent) => void} move
 */
function drag(element, move) {
  element.addEventListener("pointerdown", (event) => {
    if (event.button <= 1) element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) move(event);
  });
}

/** What single keys do. @type {Record<string, (view: LargeView) => void>} */
const KEYS = {
  "+": (view) => view.zoom(ZOOM),
  "=": (view) => view.zoom(ZOOM),
  "-": (view) => view.zoom(1 / ZOOM),
  _: (view) => view.zoom(1 / ZOOM),
  0: (view) => view.fit(),
  1: (view) => view.fill(),
  f: (view) => view.hold(true),
};

/** Where arrow keys move what is seen. @type {Record<string, [number, number]>} */
const MOVES = {
  ArrowLeft: [STEP_PX, 0],
  ArrowRight: [-STEP_PX, 0],
  ArrowUp: [0, STEP_PX],
  ArrowDown: [0, -STEP_PX],
};

/**
 * Do what a key is for.
 * @param {LargeView} view
 * @param {KeyboardEvent} event
 * @returns {boolean} whether the key was meant for the view
 */
function pressed(view, event) {
  const { key, shiftKey, target } = event;
  if (event.ctrlKey || event.altKey || event.metaKey) return false;
  if (key === "Tab") return turnBack(view, shiftKey, target);
  const { surface, buttons, radios } = view.parts;
  const holds = key === " " ? [surface, buttons.other] : key === "Enter" ? [buttons.other] : [];
  if (holds.some((one) => one === target)) {
    view.hold(true);
    return true;
  }
  const chosen = MODES.find((one) => one.key === key.toLowerCase());
  if (chosen && !view.single) {
    view.choose(view.mode === chosen.mode ? "wipe" : chosen.mode);
    return true;
  }
  const action = KEYS[key.toLowerCase()];
  if (action) {
    action(view);
    return true;
  }
  const move = MOVES[key];
  if (move && shiftKey) {
    view.pan(move);
    return true;
  }
  const moved = radios.some((one) => one === target) ? null : movedBy(key, view.percent);
  if (moved === null || view.mode !== "wipe") return false;
  view.wipe(moved);
  return true;
}

/**
 * Keep the Tab key inside the window: behind the last stop comes the first.
 * @param {LargeView} view
 * @param {boolean} back
 * @param {EventTarget | null} target
 */
function turnBack({ parts, single }, back, target) {
  const { radios, buttons, surface } = parts;
  const first = single ? buttons.smaller : (radios.find((one) => one.checked) ?? buttons.other);
  const [from, to] = back ? [first, surface] : [surface, first];
  if (target !== from) return false;
  to.focus();
  return true;
}
