// @ts-check
/** One row of the chain panel: its lines, thumbnail, words, seed, state and buttons. */

import { ACTIONS } from "./actions.js";
import { point } from "./before_after.js";
import { t } from "./words.js";

/** @typedef {import("./chain_tree.js").Row} Row */
/** @typedef {import("./chain_graph.js").Turn} Turn */
/** @typedef {import("./run_state.js").State} State */

export const LANE = 14;

/** @param {string} className @param {string} [tag] */
export function make(className, tag = "div") {
  const element = document.createElement(tag);
  element.className = className;
  return element;
}

/** @param {string} id of an action @param {string} icon @param {string} label */
function button(id, icon, label) {
  const made = /** @type {HTMLButtonElement} */ (make(`kontext-button pi ${icon}`, "button"));
  made.type = "button";
  made.dataset.action = id;
  made.title = label;
  made.setAttribute("aria-label", label);
  return made;
}

/** The number of a turn, or what the node is. @param {Turn} turn @param {Row} row */
export function nameOf(turn, row) {
  if (turn.title) return turn.title;
  if (turn.kind === "KontextScript") {
    const count = turn.turns === null ? t("Script") : t("Script, lines: {count}", { count: turn.turns });
    return count;
  }
  if (turn.kind === "KontextPickTurn") return t("Go back to turn {turn}", { turn: turn.instruction });
  if (turn.kind === "KontextLoadChain") return t("Chain from a file");
  return row.turns ? t("Turn {number}", { number: row.turns[0] }) : t("Turn");
}

/** @param {State | null} state @param {boolean} off */
function stateWords(state, off) {
  if (off) return t("off");
  if (!state) return "";
  if (state.kind === "running") return t("running, {percent} %", { percent: Math.round(state.part * 100) });
  return state.kind === "finished" ? t("finished") : t("failed");
}

/** @param {Row} row */
function linesOf(row) {
  const at = (/** @type {number} */ lane) => `${lane * LANE + LANE / 2}px`;
  /** @param {string} kind @param {number} lane */
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

/** A row that can be brought up to date; nothing in the page changes where nothing changed. */
export class ChainRow {
  constructor() {
    this.element = make("kontext-row");
    this.element.setAttribute("role", "treeitem");
    this.lines = make("kontext-lines");
    this.lines.setAttribute("aria-hidden", "true");
    this.thumbnail = make("kontext-thumbnail");
    this.image = /** @type {HTMLImageElement} */ (make("", "img"));
    this.image.alt = "";
    this.image.loading = "lazy";
    this.name = make("kontext-name", "span");
    this.state = make("kontext-state", "span");
    this.seed = make("kontext-seed", "span");
    this.words = make("kontext-words");
    this.bar = make("kontext-bar");
    this.buttons = make("kontext-buttons");
    this.buttons.setAttribute("role", "group");
    const head = make("kontext-head");
    head.append(this.name, this.state);
    const foot = make("kontext-foot");
    foot.append(this.seed, this.buttons);
    const body = make("kontext-body");
    body.append(head, this.words, foot);
    this.element.append(this.lines, this.thumbnail, body, this.bar);
    /** @type {Record<string, unknown[]>} */
    this.shown = {};
  }

  /** Whether a part has to be drawn anew. @param {string} part @param {unknown[]} values what it shows */
  changed(part, ...values) {
    const before = this.shown[part];
    if (before?.length === values.length && before.every((one, i) => one === values[i])) return false;
    this.shown[part] = values;
    return true;
  }

  /**
   * @param {Row} row @param {Turn} turn @param {{ thumbnails: boolean, current: boolean }} how
   */
  update(row, turn, how) {
    const { element } = this;
    const name = nameOf(turn, row);
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
    if (this.changed("text", name, words, turn.seed, turn.kind)) {
      this.name.textContent = name;
      const editable = turn.kind === "KontextTurn";
      this.words.textContent = words || (editable ? t("no instruction") : "");
      this.words.title = words;
      this.words.classList.toggle("kontext-none", !words);
      this.seed.textContent = turn.seed === null ? "" : t("seed {seed}", { seed: turn.seed });
      this.seed.title = this.seed.textContent;
    }
    if (this.changed("picture", turn.after, how.thumbnails)) {
      const wanted = how.thumbnails && turn.after;
      point(this.image, wanted ? turn.after : "");
      this.thumbnail.replaceChildren(...(wanted ? [this.image] : []));
      this.thumbnail.hidden = !how.thumbnails;
    }
    if (this.changed("buttons", turn.kind)) {
      const actions = ACTIONS.filter((one) => one.fitting([turn.node]).length);
      const made = actions.map((one) => button(one.id, one.icon, t(one.label)));
      if (turn.kind === "KontextTurn") made.push(button("edit", "pi-pencil", t("Edit the instruction")));
      this.buttons.replaceChildren(...made);
    }
    if (this.changed("current", how.current)) {
      element.tabIndex = how.current ? 0 : -1;
      element.setAttribute("aria-selected", String(how.current));
    }
    if (this.changed("off", turn.off)) element.classList.toggle("kontext-off", turn.off);
    this.off = turn.off;
    this.label = [name, words, this.seed.textContent].filter(Boolean).join(", ");
  }

  /** @param {State | null} state */
  showState(state) {
    const words = stateWords(state, this.off ?? false);
    if (this.changed("state", words, state?.kind, this.label)) {
      this.state.textContent = words;
      this.element.dataset.state = state?.kind ?? "";
      this.bar.style.width = state?.kind === "running" ? `${state.part * 100}%` : "0";
      this.element.setAttribute("aria-label", [this.label, words].filter(Boolean).join(", "));
    }
  }

  /**
   * Let the instruction be written in its place: Enter or leaving keeps it, Escape does not.
   * @param {string} text @param {(written: string | null) => void} done
   */
  edit(text, done) {
    const area = /** @type {HTMLTextAreaElement} */ (make("kontext-edit", "textarea"));
    area.value = text;
    area.rows = 2;
    area.setAttribute("aria-label", t("Instruction"));
    let open = true;
    const close = (/** @type {string | null} */ written) => {
      if (!open) return;
      open = false;
      area.replaceWith(this.words);
      done(written);
    };
    area.addEventListener("keydown", (event) => {
      if (!event.ctrlKey && !event.altKey && !event.metaKey) event.stopPropagation();
      if (event.key !== "Escape" && (event.key !== "Enter" || event.shiftKey || event.isComposing)) return;
      event.preventDefault();
      event.stopPropagation();
      close(event.key === "Escape" ? null : area.value);
    });
    area.addEventListener("blur", () => close(area.value));
    this.words.replaceWith(area);
    area.focus();
    area.select();
  }
}
