// @ts-check
/** One row of the chain panel: its lines, thumbnail, words, seed, state and buttons. */

import { point } from "../compare/before_after.js";
import { iconButton, make } from "../lib/element.js";
import { isWired, widgetOf } from "../lib/graph.js";
import { t } from "../lib/translate.js";
import { readMarks } from "../marks/format.js";
import { outlineOf } from "../marks/outline.js";
import { ACTIONS } from "./actions.js";
import { colours } from "./note.js";
import { isEditable } from "./read_graph.js";
import { isTarget } from "./run_to.js";
import { Strip } from "./strip.js";

/** @typedef {import("./tree.js").Row} Row */
/** @typedef {import("./read_graph.js").Turn} Turn */
/** @typedef {import("../run/state.js").State} State */

export const LANE = 14;

/**
 * Make a button for an action.
 * @param {string} id of an action
 * @param {string} icon
 * @param {string} label
 */
function button(id, icon, label) {
  const made = iconButton(icon, label);
  made.dataset.action = id;
  return made;
}

/**
 * Name a turn by its number and branch, or by what the node is.
 * @param {Turn} turn
 * @param {Row} row
 */
export function nameOf(turn, row) {
  if (turn.title) return turn.title;
  if (turn.kind === "KontextScript") {
    return turn.turns ? t("Script, lines: {count}", { count: turn.turns }) : t("Script");
  }
  if (turn.kind === "KontextPickTurn") return t("Go back to turn {turn}", { turn: turn.instruction });
  if (turn.kind === "KontextLoadChain") return t("Chain from a file");
  if (!row.turns) return t("Turn");
  const [number] = row.turns;
  // each branch of a chain has a lane of its own
  return row.lane
    ? t("Turn {number}, branch {branch}", { number, branch: row.lane })
    : t("Turn {number}", { number });
}

/**
 * Say how far a turn is.
 * @param {State} state
 * @param {boolean} off
 */
function stateWords({ kind, part }, off) {
  if (off) return t("off");
  if (kind === "running") return t("running, {percent} %", { percent: Math.round(part * 100) });
  return {
    new: t("new"),
    outdated: t("out of date"),
    waiting: t("waiting"),
    finished: t("finished"),
    failed: t("failed"),
  }[kind];
}

/**
 * Say of what the picture is, where the turn says something else by now.
 * @param {State} state
 * @param {Turn} turn
 */
function madeOf({ kind, result }, { seed, instruction, off, node }) {
  if (kind === "finished" || off || !result?.image || result.seed === null) return "";
  const otherWords = isEditable(node) && result.words !== instruction;
  if (result.seed === seed && !otherWords) return "";
  if (!otherWords || !result.words) return t("picture of seed {seed}", { seed: result.seed });
  return t("picture of seed {seed}: {words}", { seed: result.seed, words: result.words });
}

/**
 * Draw the lines of a row.
 * @param {Row} row
 */
function linesOf(row) {
  const at = (/** @type {number} */ lane) => `${lane * LANE + LANE / 2}px`;
  /**
   * Draw one line.
   * @param {string} kind
   * @param {number} lane
   */
  const line = (kind, lane) => {
    const made = make(`kontext-lane kontext-${kind}`);
    made.style.left = at(lane);
    return made;
  };
  const made = row.passes.map((lane) => line("pass", lane));
  if (row.up) made.push(line("up", row.lane));
  if (row.down) made.push(line("down", row.lane));
  for (const lane of row.forks) {
    const fork = line("fork", row.lane);
    fork.style.width = `${(lane - row.lane) * LANE}px`;
    made.push(fork);
  }
  made.push(line("dot", row.lane));
  return made;
}

/**
 * Read what is drawn for a turn; nothing where it comes by a wire, or cannot be read.
 * @param {Turn} turn
 */
function marksOf({ node }) {
  try {
    return isWired(node, "marks") ? [] : readMarks(String(widgetOf(node, "marks")?.value ?? ""));
  } catch {
    return []; // the editor says why
  }
}

/** A row that can be brought up to date; nothing in the page changes where nothing changed. */
export class ChainRow {
  /**
   * Build an empty row.
   * @param {ConstructorParameters<typeof Strip>[0]} choose takes one of its pictures, or changes its star
   */
  constructor(choose) {
    this.element = make("kontext-row");
    this.element.setAttribute("role", "treeitem");
    this.element.draggable = true; // onto another, to compare them
    this.lines = make("kontext-lines");
    this.lines.setAttribute("aria-hidden", "true");
    this.thumbnail = make("kontext-thumbnail");
    this.image = /** @type {HTMLImageElement} */ (make("", "img"));
    this.image.alt = "";
    this.image.draggable = false; // the row is, also while its picture is still to come
    this.image.loading = "lazy";
    this.image.addEventListener("load", () => this.showArea());
    this.veil = /** @type {HTMLImageElement} */ (make("kontext-veil", "img")); // over what did not change
    this.veil.alt = "";
    this.veil.draggable = false;
    this.veil.loading = "lazy"; // it is not read before it is seen
    /** @type {SVGElement | null} */
    this.area = null;
    this.title = make("kontext-name", "span");
    this.name = "";
    /** @type {Turn | null} */
    this.turn = null;
    this.state = make("kontext-state", "span");
    this.seed = make("kontext-seed", "span");
    this.words = make("kontext-words");
    this.note = make("kontext-note");
    this.made = make("kontext-made");
    this.why = make("kontext-why");
    this.bar = make("kontext-bar");
    this.strip = new Strip(choose);
    this.buttons = make("kontext-buttons");
    this.buttons.setAttribute("role", "group");
    const head = make("kontext-head");
    head.append(this.title, this.state);
    const foot = make("kontext-foot");
    foot.append(this.seed, this.buttons);
    const body = make("kontext-body");
    body.append(head, this.words, this.note, this.made, this.why, foot, this.strip.element);
    this.element.append(this.lines, this.thumbnail, body, this.bar);
    /** @type {Record<string, unknown[]>} */
    this.shown = {};
  }

  /**
   * Tell whether a part has to be drawn anew.
   * @param {string} part
   * @param {unknown[]} values what it shows
   */
  changed(part, ...values) {
    const before = this.shown[part];
    if (before?.length === values.length && before.every((one, i) => one === values[i])) return false;
    this.shown[part] = values;
    return true;
  }

  /**
   * Show a turn.
   * @param {Row} row
   * @param {Turn} turn
   * @param {{ thumbnails: boolean, current: boolean, selected: boolean }} how
   */
  update(row, turn, how) {
    const { element } = this;
    this.turn = turn;
    this.name = nameOf(turn, row);
    const words = turn.kind === "KontextPickTurn" ? "" : turn.instruction;
    const { id, lane, level, up, down } = row;
    if (this.changed("row", id, lane, level, up, down, row.forks.join(), row.passes.join())) {
      element.dataset.id = row.id;
      element.setAttribute("aria-level", String(row.level));
      element.style.setProperty(
        "--kontext-indent",
        `${(Math.max(row.lane, ...row.passes, ...row.forks) + 1) * LANE}px`,
      );
      this.lines.replaceChildren(...linesOf(row));
    }
    if (this.changed("text", this.name, words, turn.kind)) {
      this.title.textContent = this.name;
      this.words.textContent = words || (isEditable(turn.node) ? t("no instruction") : "");
      this.words.title = words;
      this.words.classList.toggle("kontext-none", !words);
    }
    if (this.changed("note", turn.note)) this.note.textContent = this.note.title = turn.note;
    if (this.changed("colour", turn.colour.shown)) {
      element.classList.toggle("kontext-coloured", turn.colour.shown !== "");
      element.style.setProperty("--kontext-colour", turn.colour.shown);
    }
    const veil = turn.made?.veil ?? "";
    if (this.changed("picture", turn.after, veil, how.thumbnails)) {
      const wanted = how.thumbnails && turn.after;
      point(this.image, wanted ? turn.after : "");
      point(this.veil, wanted ? veil : "");
      this.thumbnail.replaceChildren(...(wanted ? [this.image, ...(veil ? [this.veil] : [])] : []));
      this.thumbnail.title = wanted && veil ? t("Grey: what this turn left as it was") : "";
      this.thumbnail.hidden = !how.thumbnails;
    }
    this.showArea();
    if (this.changed("buttons", turn.kind)) {
      const actions = ACTIONS.filter((one) => one.fitting([turn.node]).length);
      const made = isTarget(turn.node) ? [button("run", "pi-step-forward", t("Run up to here"))] : [];
      made.push(...actions.map((one) => button(one.id, one.icon, t(one.label))));
      if (isEditable(turn.node)) made.push(button("edit", "pi-pencil", t("Edit the instruction")));
      const more = button("menu", "pi-ellipsis-h", t("More"));
      more.setAttribute("aria-haspopup", "menu");
      more.setAttribute("aria-expanded", "false");
      made.forEach((one, place) => {
        one.dataset.place = String(place);
      });
      this.buttons.replaceChildren(...made, more);
      this.shown.current = []; // the new buttons are stops of the Tab key too
    }
    this.showChoice(how.current, how.selected);
    if (this.changed("off", turn.off)) element.classList.toggle("kontext-off", turn.off);
  }

  /** Lay the outline of what the turn may change upon its thumbnail. */
  showArea() {
    if (!this.turn) return;
    const { naturalWidth: width, naturalHeight: height, parentElement } = this.image;
    const size = parentElement && width ? { width, height } : { width: 512, height: 512 };
    const text = widgetOf(this.turn.node, "marks")?.value;
    const { drawnUpon } = this.turn.made ?? {};
    if (this.changed("area", text, isWired(this.turn.node, "marks"), size.width, size.height, drawnUpon)) {
      this.area?.remove();
      this.area = outlineOf(marksOf(this.turn), size, drawnUpon);
    }
    if (this.area && this.area.parentElement !== this.thumbnail) this.thumbnail.append(this.area);
  }

  /**
   * Make only the current row and its buttons stops of the Tab key; several may be selected.
   * @param {boolean} current
   * @param {boolean} selected
   */
  showChoice(current, selected) {
    if (this.changed("current", current)) {
      for (const stop of [this.element, .../** @type {HTMLElement[]} */ ([...this.buttons.children])])
        stop.tabIndex = current ? 0 : -1;
    }
    if (this.changed("selected", selected)) this.element.setAttribute("aria-selected", String(selected));
  }

  /**
   * Show how far the turn is.
   * @param {State} state
   */
  showState(state) {
    const { turn } = this;
    if (!turn) return;
    const words = stateWords(state, turn.off);
    const seed = turn.seed === null ? "" : t("seed {seed}", { seed: turn.seed });
    const why = state.kind === "failed" && !turn.off ? state.why : "";
    const made = madeOf(state, turn);
    const colour = turn.colour.name && colours().find(({ name }) => name === turn.colour.name)?.label;
    if (!this.changed("state", words, seed, why, made, this.name, turn.instruction, turn.note, colour))
      return;
    this.state.textContent = words;
    this.seed.textContent = this.seed.title = seed;
    this.why.textContent = this.why.title = why;
    this.made.textContent = this.made.title = made;
    this.element.dataset.state = turn.off ? "off" : state.kind;
    this.bar.style.width = state.kind === "running" ? `${state.part * 100}%` : "0";
    const instruction = turn.kind === "KontextPickTurn" ? "" : turn.instruction;
    this.element.setAttribute(
      "aria-label",
      [this.name, instruction, turn.note, colour, seed, words, made, why].filter(Boolean).join(", "),
    );
  }
}
