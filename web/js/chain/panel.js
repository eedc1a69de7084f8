// @ts-check
/** The chain panel: the turns of the graph as a tree, and the chosen one before and after. */

import { app } from "../../../../scripts/app.js";
import { make } from "../lib/element.js";
import { selected } from "../lib/graph.js";
import { showGraphOf } from "../lib/in_view.js";
import { t } from "../lib/translate.js";
import { shownRun } from "../run/watch.js";
import { act, choose } from "./act.js";
import { captionOf, listenToDrags, nameNow, pairOf, sidesOf } from "./comparing.js";
import { Head } from "./head.js";
import { listenToPanel } from "./keys.js";
import { News } from "./news.js";
import { jumpTo, readTurns } from "./read_graph.js";
import { ChainRow } from "./row.js";
import { lastMade, runAll, runUpTo } from "./run_to.js";
import { startChain } from "./start.js";
import { choicesFor } from "./strip.js";
import { Shape } from "./tree.js";
import { Viewer } from "./viewer.js";

const THUMBNAILS = "Kontext.ChainPanel.Thumbnails";
const FOLLOW = "Kontext.ChainPanel.Follow";

/** @typedef {import("./tree.js").Row} Row */
/** @typedef {import("./read_graph.js").Turn} Turn */
/** @typedef {import("./comparing.js").Side} Side */

/**
 * @typedef {object} Drawn How far a turn was, and in which workflow.
 * @property {string} kind
 * @property {string} why
 * @property {ReturnType<typeof shownRun>} run
 * @property {object | null} result
 */

/** What is shown while the tab is open. */
export class Panel {
  /**
   * Build the panel, still empty, in a container.
   * @param {HTMLElement} container
   * @param {() => void} redraw asks for `draw` at the next frame
   */
  constructor(container, redraw) {
    this.container = container;
    this.redraw = redraw;
    this.element = make("kontext-panel");
    this.list = make("kontext-list");
    this.list.setAttribute("role", "tree");
    this.list.setAttribute("aria-label", t("Turns of this graph"));
    this.list.setAttribute("aria-multiselectable", "true");
    this.news = new News();
    this.empty = make("kontext-empty");
    this.start = make("kontext-start", "button");
    this.start.addEventListener("click", () => {
      startChain(this.element.getBoundingClientRect().right);
      this.focusNext = true;
    });
    this.empty.append(make("", "p"), this.start);
    this.head = new Head(runAll, () => runUpTo(this.turns.get(this.current ?? ""), this.turns));
    this.viewer = new Viewer(() => this.leaveComparison());
    this.element.append(this.head.element, this.list, this.viewer.element, this.news.element);
    container.classList.add("kontext-container");
    container.replaceChildren(this.element);
    /** @type {Map<string, ChainRow>} */
    this.rows = new Map();
    /** @type {HTMLElement[]} */
    this.headings = [];
    /** How far each turn was when it was drawn last. @type {Map<string, Drawn>} */
    this.drawn = new Map();
    /** @type {Row[]} */
    this.order = [];
    /** @type {Map<string, Turn>} */
    this.turns = new Map();
    /** @type {string | null} */
    this.current = null;
    /** The turn that was chosen before. @type {string | null} */
    this.previous = null;
    /** What is compared because it was asked for. @type {readonly [Side, Side] | null} */
    this.compared = null;
    /** @type {Page.Node | null} */
    this.awaited = null;
    this.focusNext = false;
    this.writeNext = false;
    this.shape = new Shape();
    listenToPanel(this);
    listenToDrags(this);
  }

  /**
   * Read the graph and bring the page up to date.
   * It takes small steps with which others may come between, and leaves as it is what has not changed.
   * @returns {Generator<void>}
   */
  *draw() {
    /** @type {Map<string, Turn>} */
    const found = new Map();
    yield* readTurns(found);
    this.turns = found;
    const turns = [...found.values()];
    shownRun().prune(found);
    this.order = this.shape.rowsOf(turns);
    const awaited = this.awaited && turns.find((one) => one.node === this.awaited);
    if (awaited) this.current = awaited.id;
    else {
      this.writeNext = false;
      this.awaited = null;
    }
    if (this.current === null || !this.turns.has(this.current)) {
      this.current = this.order.at(0)?.id ?? null;
    }
    yield;
    const thumbnails = app.extensionManager.setting.get(THUMBNAILS) !== false;
    for (const row of this.order) {
      const shown =
        this.rows.get(row.id) ?? new ChainRow((choice, what) => choose(this, row.id, choice, what));
      this.rows.set(row.id, shown);
      const turn = /** @type {Turn} */ (this.turns.get(row.id));
      const current = row.id === this.current;
      shown.update(row, turn, { thumbnails, current, selected: this.isSelected(row.id) });
      yield;
    }
    this.placeRows();
    if (awaited) this.reveal();
    yield;
    this.drawStates();
    this.drawViewer();
    if (this.focusNext) this.focus();
    if (this.writeNext && this.current !== null) act(this, this.current, "edit");
    this.writeNext = false;
    this.awaited = null; // not before: this drawing may have begun anew
  }

  /** Put rows and headings in their order; the focus stays where it was. */
  placeRows() {
    for (const id of this.rows.keys()) if (!this.turns.has(id)) this.rows.delete(id);
    const focused = document.activeElement;
    /** @type {HTMLElement[]} */
    const wanted = [];
    let chain = -1;
    for (const { id, chain: number } of this.order) {
      if (number !== chain) wanted.push(this.heading(number));
      chain = number;
      const row = this.rows.get(id);
      if (row) wanted.push(row.element);
    }
    if (!this.start.textContent) {
      this.start.textContent = t("Start a chain");
      this.empty.children[0]?.append(
        t("No turns yet. A Kontext Turn edits a picture by instruction and remembers the turns before it."),
      );
    }
    place(this.list, wanted.length ? wanted : [this.empty]);
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.list.contains(focused))
      focused.focus();
  }

  /**
   * Tell how far a turn is.
   * @param {Turn} turn
   */
  stateOf = (turn) => shownRun().of(turn.id, turn.signature);

  /** Draw only how far each turn is. */
  drawStates() {
    const follow = app.extensionManager.setting.get(FOLLOW) !== false;
    /** @type {Map<number, number>} how many of each chain a run would make */
    const toRun = new Map();
    for (const { id, chain } of this.order) {
      const row = this.rows.get(id);
      const turn = this.turns.get(id);
      if (!row || !turn) continue;
      const state = this.stateOf(turn);
      row.showState(state);
      row.strip.show(choicesFor(turn, shownRun().candidates.of(id)), turn.signature, row.name);
      const kind = turn.off ? "off" : state.kind;
      const before = this.drawn.get(id);
      this.drawn.set(id, { kind, why: state.why, run: shownRun(), result: state.result });
      toRun.set(chain, (toRun.get(chain) ?? 0) + Number(state.again && !turn.off));
      if (kind === "running" && before?.kind !== kind && follow)
        row.element.scrollIntoView({ block: "nearest" });
      // What runs quickly was never drawn as running; what an undo brings back was not made anew.
      if (before?.run !== shownRun()) continue;
      const isOther = before.kind !== kind;
      if (kind === "failed" && (isOther || before.why !== state.why))
        this.news.say(row.name, t("failed"), state.why);
      if (kind === "finished" && isOther && before.result !== state.result)
        this.news.say(row.name, t("finished"));
    }
    for (const id of this.drawn.keys()) if (!this.turns.has(id)) this.drawn.delete(id);
    for (const [chain, count] of toRun) this.heading(chain, count);
    this.drawCaption();
  }

  drawViewer() {
    const turn = this.turns.get(this.current ?? "");
    const pair = pairOf(this);
    if (pair) this.viewer.show(pair, t("Run the graph to see both pictures."));
    else
      this.viewer.show(
        turn ? { before: turn.before, after: turn.after, names: null } : null,
        t("Run the graph to see this turn before and after."),
      );
    this.drawCaption();
  }

  /** Name the turn that is seen before and after, and that a run goes up to. */
  drawCaption() {
    const row = this.rows.get(this.current ?? "");
    const turn = this.turns.get(this.current ?? "");
    this.head.show((turn && row?.name) ?? "", lastMade(turn, this.turns) !== null);
    const sides = sidesOf(this);
    if (sides) this.viewer.name(...captionOf(this, sides));
    else if (row && turn) this.viewer.name(nameNow(this, turn.id));
  }

  /** Show the chosen turn before and after again. */
  leaveComparison() {
    const turn = this.turns.get(this.current ?? "");
    if (!this.compared && turn) app.canvas.selectItems([turn.node]);
    this.compared = null;
    this.drawChoice();
    this.focus();
  }

  /**
   * Fill the heading of a chain.
   * @param {number} number of a chain
   * @param {number} [toRun] how many of its turns a run would make
   */
  heading(number, toRun) {
    const made = this.headings[number] ?? make("kontext-heading");
    this.headings[number] = made;
    made.setAttribute("role", "presentation");
    const name = t("Chain {number}", { number: number + 1 });
    const text = toRun ? t("{chain}: {count} to run", { chain: name, count: toRun }) : name;
    if (toRun !== undefined && made.textContent !== text) made.textContent = text;
    return made;
  }

  /**
   * Tell whether a turn is the current one, or selected with it on the canvas.
   * @param {string} id
   */
  isSelected(id) {
    if (id === this.current) return true;
    const nodes = selected();
    const [turn, current] = [id, this.current ?? ""].map((one) => this.turns.get(one)?.node);
    return !!turn && !!current && nodes.includes(turn) && nodes.includes(current);
  }

  /** Show which rows are chosen. */
  drawChoice() {
    for (const [id, row] of this.rows) row.showChoice(id === this.current, this.isSelected(id));
    this.drawViewer();
  }

  /**
   * Make a turn the one that is shown before and after.
   * @param {string} id
   */
  choose(id) {
    this.remember(id);
    this.current = id;
    this.drawChoice();
  }

  /**
   * Note which turn was chosen before another; what was compared is over.
   * @param {string} id
   */
  remember(id) {
    if (id === this.current) return;
    this.awaited = null;
    this.previous = this.current;
    this.compared = null;
  }

  /**
   * Select a turn beside those that are selected, or no longer.
   * @param {string} id
   * @param {boolean} [toggle]
   */
  add(id, toggle = false) {
    const turn = this.turns.get(id);
    if (!turn) return;
    if (showGraphOf(turn.place)) return this.jump(id); // none of another graph is selected with it
    this.compared = null;
    const current = this.turns.get(this.current ?? "");
    const chosen = selected();
    if (toggle && chosen.includes(turn.node) && chosen.length > 1) {
      app.canvas.deselect(turn.node);
      if (id === this.current) {
        const left = [...this.turns.values()].find((one) => selected().includes(one.node));
        this.current = left?.id ?? id;
      }
    } else {
      const with_ = current && current.node.graph === turn.node.graph ? [current.node] : [];
      app.canvas.selectItems([...new Set([...chosen, ...with_, turn.node])]);
      this.current = id;
    }
    this.drawChoice();
  }

  /** Scroll to the chosen row. */
  reveal() {
    this.rows.get(this.current ?? "")?.element.scrollIntoView({ block: "nearest" });
  }

  /** Give the chosen row the focus, but for what is being written. */
  focus() {
    this.focusNext = false;
    if (document.activeElement?.closest(".kontext-edit")) return;
    const row = this.current === null ? null : this.rows.get(this.current);
    (row?.element ?? (this.rows.size ? null : this.start))?.focus();
    this.reveal();
  }

  /**
   * Show a turn's node on the canvas.
   * @param {string} id
   */
  jump(id) {
    const turn = this.turns.get(id);
    if (turn) jumpTo(turn);
  }

  /**
   * Make the turn of a node the chosen one; of several that show its subgraph the one that is chosen, or the
   * first.
   * @param {Page.Node} node
   */
  chooseNode(node) {
    const current = this.current !== null && this.turns.get(this.current)?.node === node;
    const turn = current ? null : [...this.turns.values()].find((one) => one.node === node);
    if (turn) this.choose(turn.id);
    else if (current) this.drawChoice();
    else this.awaited = node; // it was just made: the next drawing knows it
    if (turn || current) this.reveal();
  }
}

/**
 * Give an element these children, moving only what is not in its place.
 * @param {HTMLElement} parent
 * @param {HTMLElement[]} children
 */
function place(parent, children) {
  const wanted = new Set(/** @type {Element[]} */ (children));
  for (const old of [...parent.children]) if (!wanted.has(old)) old.remove();
  let at = parent.firstElementChild;
  for (const child of children) {
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
}
