// @ts-check
/** What the menu of a row offers, and the keys of it: each is one step of undo. */

import { asOneStep, graphOf } from "../lib/graph.js";
import { t } from "../lib/translate.js";
import { isOff } from "../lib/wires.js";
import { act } from "./act.js";
import { hasChain, saveBehind } from "./actions.js";
import { compareItem } from "./comparing.js";
import { canDouble, double, isSwitchedOff, partner, remove, toggle, trade } from "./line.js";
import { openMenu } from "./menu.js";
import { colours, paint } from "./note.js";
import { openGraphOf } from "./read_graph.js";

/** @typedef {import("./panel.js").Panel} Panel */
/** @typedef {import("./read_graph.js").Turn} Turn */

/**
 * A command for a turn.
 * @typedef {object} Command
 * @property {string} id
 * @property {string} label
 * @property {(turn: Turn) => string} [labelOf] where it is not always the same
 * @property {string} icon
 * @property {string} keys as they are shown
 * @property {{ key: string, alt?: boolean, ctrl?: boolean }} combo
 * @property {(turn: Turn, panel: Panel) => boolean} can whether it can be done now
 * @property {(turn: Turn, panel: Panel) => void} run as one step of undo
 */

/**
 * Make a command that trades places with a neighbour.
 * @param {boolean} up
 * @returns {Pick<Command, "can" | "run">}
 */
const moving = (up) => ({
  can: (turn, panel) => partner(turn, up, panel.turns) !== null,
  run(turn, panel) {
    const other = partner(turn, up, panel.turns);
    if (other) trade(turn.node, other.node);
  },
});

/** @type {Command[]} */
export const COMMANDS = [
  {
    id: "move-up",
    label: "Move up",
    icon: "pi-arrow-up",
    keys: "Alt+↑",
    combo: { key: "arrowup", alt: true },
    ...moving(true),
  },
  {
    id: "move-down",
    label: "Move down",
    icon: "pi-arrow-down",
    keys: "Alt+↓",
    combo: { key: "arrowdown", alt: true },
    ...moving(false),
  },
  {
    id: "duplicate",
    label: "Duplicate",
    icon: "pi-copy",
    keys: "Ctrl+D",
    combo: { key: "d", ctrl: true },
    can: canDouble,
    run: (turn, panel) => double(turn, panel.turns),
  },
  {
    id: "toggle",
    label: "Switch off",
    labelOf: ({ node }) => (isSwitchedOff(node) ? t("Switch on") : t("Switch off")),
    icon: "pi-power-off",
    keys: "Alt+O",
    combo: { key: "o", alt: true },
    can: ({ place }) => !isOff(place.host), // else the subgraph is what is off
    run: ({ node }) => toggle(node),
  },
  {
    id: "remove",
    label: "Remove",
    icon: "pi-trash",
    keys: "Delete",
    combo: { key: "delete" },
    can: ({ node }) => Boolean(graphOf(node)),
    run(turn, panel) {
      panel.current = beside(turn, panel);
      remove(turn.node);
    },
  },
];

/**
 * Find the row that is chosen once a turn is gone: the one before it, or else the next.
 * @param {Turn} turn
 * @param {Panel} panel
 */
function beside(turn, { order, turns }) {
  if (turn.parent && turns.has(turn.parent.id)) return turn.parent.id;
  const left = order.filter(({ id }) => turns.get(id)?.node !== turn.node || id === turn.id);
  const at = left.findIndex(({ id }) => id === turn.id);
  return (left[at + 1] ?? left[at - 1])?.id ?? null;
}

/**
 * Do a command with a turn, as one step of undo.
 * @param {Panel} panel
 * @param {Turn} turn
 * @param {Command} command
 */
function perform(panel, turn, command) {
  if (!command.can(turn, panel)) return;
  openGraphOf(turn);
  asOneStep(() => command.run(turn, panel));
  panel.focusNext = true;
  panel.redraw();
}

/**
 * Do what a key is for with the chosen turn.
 * @param {Panel} panel
 * @param {KeyboardEvent} event
 * @returns {boolean} whether the key was meant for it
 */
export function commandKey(panel, { key, altKey, ctrlKey, metaKey, shiftKey }) {
  const turn = panel.turns.get(panel.current ?? "");
  const command = COMMANDS.find(
    ({ combo }) =>
      combo.key === key.toLowerCase() &&
      Boolean(combo.alt) === altKey &&
      Boolean(combo.ctrl) === (ctrlKey || metaKey) &&
      !shiftKey,
  );
  if (!turn || !command) return false;
  perform(panel, turn, command);
  return true;
}

/**
 * Make the part of a menu that chooses a turn's colour.
 * @param {Panel} panel
 * @param {Turn} turn
 * @returns {import("./menu.js").Item[]}
 */
function coloursFor(panel, turn) {
  const now = turn.colour.shown;
  return colours().map(({ name, label, shades }) => ({
    id: `colour-${name}`,
    label,
    group: t("Colour"),
    swatch: shades?.groupcolor ?? "",
    checked: (shades?.groupcolor ?? "") === now,
    run() {
      asOneStep(() => paint(turn.node, shades));
      panel.redraw();
    },
  }));
}

/**
 * Show the menu of a row.
 * @param {Panel} panel
 * @param {string} id of its turn
 * @param {HTMLElement} anchor
 * @param {{ x: number, y: number }} [at]
 */
export function openRowMenu(panel, id, anchor, at) {
  const turn = panel.turns.get(id);
  const row = panel.rows.get(id);
  if (!turn || !row) return;
  const items = COMMANDS.map((command) => ({
    id: command.id,
    label: command.labelOf?.(turn) ?? t(command.label),
    icon: command.icon,
    keys: command.keys,
    disabled: !command.can(turn, panel),
    run: () => perform(panel, turn, command),
  }));
  const note = {
    id: "note",
    label: turn.note ? t("Change the note") : t("Write a note"),
    icon: "pi-comment",
    run: () => act(panel, id, "note"),
  };
  const save = {
    id: "save",
    label: t("Save this chain"),
    icon: "pi-save",
    disabled: !hasChain(turn.node),
    run() {
      openGraphOf(turn);
      asOneStep(() => saveBehind(turn.node));
      panel.focusNext = true;
      panel.redraw();
    },
  };
  const last = items.pop();
  openMenu(
    anchor,
    row.name,
    [...items, compareItem(panel, id), save, note, ...coloursFor(panel, turn), ...(last ? [last] : [])],
    at,
  );
}
