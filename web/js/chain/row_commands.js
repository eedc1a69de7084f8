// @ts-check
/** What the menu of a row offers, and the keys of it: each is one step of undo. */

import { asOneStep, graphOf } from "../lib/graph.js";
import { showGraphOf } from "../lib/in_view.js";
import { t } from "../lib/translate.js";
import { isOff } from "../lib/wires.js";
import { act } from "./act.js";
import { ACTIONS } from "./actions.js";
import { animationItems } from "./animation.js";
import { compareItem } from "./comparing.js";
import { canDouble, double, isSwitchedOff, partner, remove, toggle, trade } from "./line.js";
import { openMenu } from "./menu.js";
import { colours, paint } from "./note.js";
import { saveBehind } from "./save_chain.js";
import { hasChain } from "./turn_kinds.js";

/** @typedef {import("./panel.js").Panel} Panel */
/** @typedef {import("./read_graph.js").Turn} Turn */

/**
 * A command for a turn.
 * @typedef {object} Command
 * @property {string} id
 * @property {string} label
 * @property {(turn: Turn, panel: Panel) => string} [labelOf] where it is not always the same
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
    labelOf(turn, panel) {
      const { size } = nodesWith(turn, panel);
      return size > 1 ? t("Remove {count} entries", { count: size }) : t("Remove");
    },
    can: ({ node }) => Boolean(graphOf(node)),
    run(turn, panel) {
      const nodes = nodesWith(turn, panel);
      panel.current = beside(turn, nodes, panel);
      for (const node of nodes) remove(node);
    },
  },
];

/**
 * List the nodes of a turn and of all rows that are selected with it, from the first row on.
 * @param {Turn} turn
 * @param {Panel} panel
 */
function nodesWith(turn, panel) {
  const rows = panel.order.filter(({ id }) => id === turn.id || panel.isSelected(id));
  return new Set(rows.flatMap(({ id }) => panel.turns.get(id)?.node ?? []));
}

/**
 * Find the row that is chosen once turns are gone: the one before the first of them, or else the next.
 * @param {Turn} turn one of them
 * @param {Set<Page.Node>} nodes
 * @param {Panel} panel
 */
function beside(turn, nodes, { order, turns }) {
  const goes = (/** @type {string} */ id) => nodes.has(/** @type {Page.Node} */ (turns.get(id)?.node));
  for (let at = turns.get(turn.parent?.id ?? ""); at; at = turns.get(at.parent?.id ?? ""))
    if (!goes(at.id)) return at.id;
  const left = order.filter(({ id }) => !goes(id) || id === turn.id);
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
  showGraphOf(turn.place);
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
 * List the buttons of a row that have no room in it.
 * @param {Panel} panel
 * @param {string} id of its turn
 * @returns {import("./menu.js").Item[]}
 */
function withoutRoom(panel, id) {
  const buttons = /** @type {HTMLElement[]} */ ([...(panel.rows.get(id)?.buttons.children ?? [])]);
  return buttons
    .filter((button) => getComputedStyle(button).display === "none")
    .map(({ title, dataset, className }) => ({
      id: `button-${dataset.action}`,
      label: title,
      icon: className.split(" ").find((name) => name.startsWith("pi-")) ?? "",
      keys: keysOf(dataset.action ?? ""),
      run: () => act(panel, id, dataset.action ?? ""),
    }));
}

/**
 * Write the keys of a button as they are shown.
 * @param {string} action
 */
function keysOf(action) {
  const { key } = ACTIONS.find(({ id }) => id === action) ?? {};
  if (key) return `Alt+${key.toUpperCase()}`;
  return { run: "Ctrl+Enter", edit: "F2" }[action] ?? "";
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
    label: command.labelOf?.(turn, panel) ?? t(command.label),
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
  const animation = {
    id: "animation",
    label: t("Save as animation"),
    icon: "pi-video",
    disabled: animationItems(panel, turn).every(({ disabled }) => disabled),
    run: () => openMenu(anchor, t("Save as animation"), animationItems(panel, turn), at),
  };
  const save = {
    id: "save",
    label: t("Save this chain"),
    icon: "pi-save",
    disabled: !hasChain(turn.node),
    run() {
      showGraphOf(turn.place);
      asOneStep(() => saveBehind(turn.place));
      panel.focusNext = true;
      panel.redraw();
    },
  };
  const last = items.slice(-1);
  openMenu(
    anchor,
    row.name,
    [
      ...withoutRoom(panel, id),
      ...items.slice(0, -1),
      compareItem(panel, id),
      animation,
      save,
      note,
      ...coloursFor(panel, turn),
      ...last,
    ],
    at,
  );
}
