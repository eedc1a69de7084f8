// @ts-check
/**
 * The chain panel's mouse and keyboard. Letters that are typed there are words of a turn, and none of
 * ComfyUI's shortcuts.
 */

import { selected } from "../lib/graph.js";
import { act } from "./act.js";
import { ACTIONS } from "./actions.js";
import { isEditable } from "./read_graph.js";
import { commandKey, openRowMenu } from "./row_commands.js";
import { keyLeadsTo } from "./tree.js";

/** @typedef {import("./panel.js").Panel} Panel */

const COMPOSED = ["Process", "Dead", "Unidentified"]; // keys that begin a letter

/**
 * Listen to the panel's mouse and keyboard.
 * @param {Panel} panel
 */
export function listenToPanel(panel) {
  const { element, list } = panel;
  list.addEventListener("click", (event) => clicked(panel, event));
  element.addEventListener("keydown", (event) => {
    if (pressed(panel, event)) {
      event.preventDefault();
      event.stopPropagation();
    } else if (event.key.length === 1 && !held(event)) event.stopPropagation();
  });
  list.addEventListener("contextmenu", (event) => asked(panel, event));
  list.addEventListener("focusin", (event) => {
    const id = idAt(event);
    if (id) panel.choose(id);
  });
}

/**
 * Find the turn that an event is about.
 * @param {Event} event
 */
const idAt = (event) =>
  (event.target instanceof Element && event.target.closest("[data-id]")?.getAttribute("data-id")) || null;

/**
 * Tell whether a key is pressed together with Ctrl, Alt or Meta.
 * @param {KeyboardEvent} event
 */
const held = (event) => event.ctrlKey || event.altKey || event.metaKey;

/**
 * Do what a click in the list is for.
 * @param {Panel} panel
 * @param {MouseEvent} event
 */
function clicked(panel, event) {
  const id = idAt(event);
  if (!id || !(event.target instanceof HTMLElement)) return;
  const action = event.target.closest("button")?.dataset.action;
  if (!action && (event.ctrlKey || event.metaKey || event.shiftKey)) return panel.add(id, true);
  panel.choose(id);
  if (action === "menu") openRowMenu(panel, id, /** @type {HTMLElement} */ (event.target.closest("button")));
  else if (action) act(panel, id, action);
  else if (event.target.tagName !== "TEXTAREA") panel.jump(id);
}

/**
 * Show the menu of the row that the mouse, or the key for it, asks for.
 * @param {Panel} panel
 * @param {MouseEvent} event
 */
function asked(panel, event) {
  const id = idAt(event);
  if (!id || !(event.target instanceof HTMLElement) || event.target.tagName === "TEXTAREA") return;
  event.preventDefault();
  event.stopPropagation();
  panel.choose(id);
  const row = panel.rows.get(id)?.element;
  const byMouse = event.button === 2;
  if (row) openRowMenu(panel, id, row, byMouse ? { x: event.clientX, y: event.clientY } : undefined);
}

/**
 * Do with the row's turn what Alt and a key do with the selected node, unless that turn is selected.
 * @param {Panel} panel
 * @param {string} key
 * @returns {boolean}
 */
function actionKey(panel, key) {
  const turn = panel.turns.get(panel.current ?? "");
  const action = ACTIONS.find((one) => one.key === key);
  if (!turn || !action || selected().includes(turn.node)) return false;
  act(panel, turn.id, action.id);
  return true;
}

/**
 * Do what a key is for.
 * @param {Panel} panel
 * @param {KeyboardEvent} event
 * @returns {boolean} whether the key was meant for the panel
 */
function pressed(panel, event) {
  const { current } = panel;
  const { target, key } = event;
  if (!(target instanceof HTMLElement) || target.tagName === "TEXTAREA" || !panel.list.contains(target))
    return false;
  const inRow = target.classList.contains("kontext-row");
  if (key === " " && event.ctrlKey && !event.altKey && inRow && current !== null) {
    panel.add(current, true);
    return true;
  }
  if (key === "Enter" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
    if (current !== null) act(panel, current, "run");
    return current !== null;
  }
  if (commandKey(panel, event)) return true;
  if (event.altKey && !event.ctrlKey && !event.metaKey) return actionKey(panel, key.toLowerCase());
  if (held(event)) return false;
  const next = keyLeadsTo(
    panel.order.map((one) => one.id),
    current,
    key,
  );
  if (next !== null) {
    if (event.shiftKey) panel.add(next);
    else panel.choose(next);
    panel.focus();
  } else if (current !== null && key === "Enter" && inRow) panel.jump(current);
  else if (current !== null && key === "F2") act(panel, current, "edit");
  else {
    const turn = panel.turns.get(current ?? "");
    const letter = (key.length === 1 && key !== " ") || COMPOSED.includes(key);
    if (letter && turn && isEditable(turn.node))
      act(panel, turn.id, "edit"); // where the letter then goes to
    else if (key === " " || key === "Enter") event.stopPropagation(); // a button is pressed by it
    return false;
  }
  return true;
}
