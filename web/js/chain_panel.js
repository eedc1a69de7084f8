// @ts-check
/** The chain panel: the turns of the graph as a tree, and the chosen one before and after. */

import { app } from "../../../scripts/app.js";
import { ACTIONS, asOneStep, runOn, selected, widgetOf } from "./actions.js";
import { beforeAfter } from "./before_after.js";
import { isWired, jumpTo, openGraphOf, readTurns } from "./chain_graph.js";
import { ChainRow, make, nameOf } from "./chain_row.js";
import { startChain } from "./chain_start.js";
import { keyLeadsTo, Shape } from "./chain_tree.js";
import { t } from "./words.js";

const THUMBNAILS = "Kontext.ChainPanel.Thumbnails";
const FOLLOW = "Kontext.ChainPanel.Follow";

/** @typedef {import("./chain_tree.js").Row} Row */
/** @typedef {import("./chain_graph.js").Turn} Turn */

/** What is shown while the tab is open. */
export class Panel {
  /**
   * @param {HTMLElement} container @param {import("./run_state.js").RunState} run
   * @param {() => void} redraw asks for `draw` at the next frame
   */
  constructor(container, run, redraw) {
    this.container = container;
    this.run = run;
    this.redraw = redraw;
    this.element = make("kontext-panel");
    this.list = make("kontext-list");
    this.list.setAttribute("role", "tree");
    this.list.setAttribute("aria-label", t("Turns of this graph"));
    this.empty = make("kontext-empty");
    this.start = make("kontext-start", "button");
    this.start.addEventListener("click", () => {
      startChain(this.element.getBoundingClientRect().right);
      this.focusNext = true;
    });
    this.empty.append(make("", "p"), this.start);
    this.viewer = make("kontext-viewer");
    this.caption = make("kontext-caption");
    this.hint = make("kontext-hint", "p");
    this.slider = beforeAfter();
    this.viewer.append(this.caption, this.slider.element, this.hint);
    this.element.append(this.list, this.viewer);
    container.classList.add("kontext-container");
    container.replaceChildren(this.element);
    /** @type {Map<string, ChainRow>} */
    this.rows = new Map();
    /** @type {HTMLElement[]} */
    this.headings = [];
    /** @type {Row[]} */
    this.order = [];
    /** @type {Map<string, Turn>} */
    this.turns = new Map();
    /** @type {string | null} */
    this.current = null;
    /** @type {Page.Node | null} */
    this.awaited = null;
    this.focusNext = false;
    this.shape = new Shape();
    this.list.addEventListener("click", (event) => this.clicked(event));
    this.list.addEventListener("keydown", (event) => this.pressed(event));
    this.list.addEventListener("focusin", (event) => {
      const id = idAt(event);
      if (id) this.choose(id);
    });
  }

  /**
   * Read the graph and bring the page up to date, in small steps with which others may come between. What has not
   * changed is left as it is. @returns {Generator<void>}
   */
  *draw() {
    /** @type {Map<string, Turn>} */
    const found = new Map();
    yield* readTurns(found);
    this.turns = found;
    const turns = [...found.values()];
    this.order = this.shape.rowsOf(turns);
    const awaited = this.awaited && turns.find((one) => one.node === this.awaited);
    if (awaited) {
      this.current = awaited.id;
      this.awaited = null;
    }
    if (this.current === null || !this.turns.has(this.current)) {
      this.current = this.order.at(0)?.id ?? null;
    }
    yield;
    const thumbnails = app.extensionManager.setting.get(THUMBNAILS) !== false;
    for (const row of this.order) {
      const shown = this.rows.get(row.id) ?? new ChainRow();
      this.rows.set(row.id, shown);
      const turn = /** @type {Turn} */ (this.turns.get(row.id));
      shown.update(row, turn, { thumbnails, current: row.id === this.current });
      yield;
    }
    this.placeRows();
    yield;
    this.drawStates();
    this.drawViewer();
    if (this.focusNext) this.focus();
  }

  /** Rows and headings in their order; the focus stays where it was. */
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
        t(
          "No turns here yet. A Kontext Turn edits a picture by an instruction and remembers what came before it.",
        ),
      );
    }
    place(this.list, wanted.length ? wanted : [this.empty]);
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.list.contains(focused))
      focused.focus();
  }

  /** Only how far each turn is. */
  drawStates() {
    const follow = app.extensionManager.setting.get(FOLLOW) !== false;
    for (const [id, row] of this.rows) {
      const state = this.run.of(id);
      const before = row.element.dataset.state;
      row.showState(state);
      if (follow && state?.kind === "running" && before !== "running") {
        row.element.scrollIntoView({ block: "nearest" });
      }
    }
  }

  drawViewer() {
    const row = this.order.find((one) => one.id === this.current);
    const turn = row && this.turns.get(row.id);
    this.viewer.hidden = !turn;
    if (!row || !turn) return;
    this.slider.element.hidden = !turn.after;
    this.hint.hidden = Boolean(turn.after);
    this.hint.textContent = t("Run the graph to see this turn before and after.");
    this.caption.textContent = nameOf(turn, row);
    this.slider.show(turn.before, turn.after);
  }

  /** @param {number} number of a chain */
  heading(number) {
    const made = this.headings[number] ?? make("kontext-heading");
    this.headings[number] = made;
    made.setAttribute("role", "presentation");
    const text = t("Chain {number}", { number: number + 1 });
    if (made.textContent !== text) made.textContent = text;
    return made;
  }

  /** Make a turn the one that is shown before and after. @param {string} id */
  choose(id) {
    if (id === this.current) return;
    this.current = id;
    for (const [other, row] of this.rows) {
      if (!row.changed("current", other === id)) continue;
      row.element.tabIndex = other === id ? 0 : -1;
      row.element.setAttribute("aria-selected", String(other === id));
    }
    this.drawViewer();
  }

  focus() {
    this.focusNext = false;
    const row = this.current === null ? null : this.rows.get(this.current);
    row?.element.focus();
    row?.element.scrollIntoView({ block: "nearest" });
  }

  /** @param {MouseEvent} event */
  clicked(event) {
    const id = idAt(event);
    if (!id || !(event.target instanceof HTMLElement)) return;
    const action = event.target.closest("button")?.dataset.action;
    this.choose(id);
    if (action) this.act(id, action);
    else if (event.target.tagName !== "TEXTAREA") this.jump(id);
  }

  /** @param {string} id */
  jump(id) {
    const turn = this.turns.get(id);
    if (turn) jumpTo(turn);
  }

  /** Make the turn of a node the chosen one; of several that show its subgraph the one that is chosen, or the first. @param {Page.Node} node */
  chooseNode(node) {
    if (this.current !== null && this.turns.get(this.current)?.node === node) return;
    const turn = [...this.turns.values()].find((one) => one.node === node);
    if (turn) this.choose(turn.id);
    else this.awaited = node; // it was just made: the next drawing knows it
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (!(event.target instanceof HTMLElement) || event.target.tagName === "TEXTAREA") return;
    const inRow = event.target.classList.contains("kontext-row");
    const next = keyLeadsTo(
      this.order.map((one) => one.id),
      this.current,
      event.key,
    );
    if (next !== null) {
      this.choose(next);
      this.focus();
    } else if (this.current !== null && event.key === "Enter" && inRow) this.jump(this.current);
    else if (this.current !== null && event.key === "F2") this.act(this.current, "edit");
    else if (event.key !== " " && event.key !== "Enter") return;
    else return event.stopPropagation(); // a button is pressed by it
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {string} id @param {string} name of an action, or "edit" */
  act(id, name) {
    const turn = this.turns.get(id);
    if (!turn) return;
    const { node } = turn;
    if (name === "edit") return this.edit(id, node);
    const action = ACTIONS.find((one) => one.id === name);
    if (!action) return;
    openGraphOf(turn);
    const others = selected();
    runOn(
      action,
      name === "Kontext.Compare" && others.includes(node) && others.length === 2 ? others : [node],
    );
    this.focusNext = true;
    this.redraw();
  }

  /** @param {string} id @param {Page.Node} node */
  edit(id, node) {
    const widget = widgetOf(node, "instruction");
    if (!widget) return;
    if (isWired(node, "instruction")) {
      const detail = t("The instruction comes by a wire: change it where the wire begins.");
      app.extensionManager.toast.add({
        severity: "info",
        summary: t("Edit the instruction"),
        detail,
        life: 4000,
      });
      return;
    }
    this.rows.get(id)?.edit(String(widget.value ?? ""), (written) => {
      if (written !== null && written !== widget.value) {
        asOneStep(() => {
          widget.value = written;
          widget.callback?.(written);
        });
      }
      this.focusNext = document.activeElement === document.body;
      this.redraw();
    });
  }
}

/** The entry that an event is about. @param {Event} event */
const idAt = (event) =>
  (event.target instanceof Element && event.target.closest("[data-id]")?.getAttribute("data-id")) || null;

/** Give an element these children, moving only what is not in its place. @param {HTMLElement} parent @param {HTMLElement[]} children */
function place(parent, children) {
  const wanted = new Set(/** @type {Element[]} */ (children));
  for (const old of [...parent.children]) if (!wanted.has(old)) old.remove();
  let at = parent.firstElementChild;
  for (const child of children) {
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
}
