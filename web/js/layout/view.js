// @ts-check
/** The layout picture of one node: the drawing, in which a reference is chosen, its buttons and lines. */

import { app } from "../../../../scripts/app.js";
import { iconButton, make } from "../lib/element.js";
import { t } from "../lib/translate.js";
import { addReference, moveOf, trade } from "./order.js";
import { calledBy, costOf, drawingOf, sumOf } from "./svg.js";

/** @typedef {import("./geometry.js").Plan} Plan */
/** @typedef {import("./stack.js").Stack} Stack */
/** @typedef {import("./stack.js").Tile} Tile */
/** @typedef {"add" | "up" | "down" | "tile"} Control */

/** What is shown in a node; gone with the node. @type {WeakMap<Page.Node, LayoutView>} */
const views = new WeakMap();

/**
 * Get what is shown in a node.
 * @param {Page.Node} node
 */
export const viewOf = (node) => views.get(node);

/**
 * Let the wheel and the middle button do with the canvas what they do beside the picture. A Vue node does so
 * by itself.
 * @param {HTMLElement} element
 */
function passToCanvas(element) {
  /**
   * Pass on one kind of event.
   * @param {string} kind
   * @param {(event: any) => boolean} mine
   * @param {(event: any) => void} pass
   */
  const on = (kind, mine, pass) =>
    element.addEventListener(kind, (event) => {
      if (!window.LiteGraph.vueNodesMode && mine(event)) pass(event);
    });
  on(
    "wheel",
    () => true,
    (event) => app.canvas.processMouseWheel(event),
  );
  on(
    "pointerdown",
    ({ button }) => button === 1,
    (event) => app.canvas.processMouseDown(event),
  );
  on(
    "pointermove",
    ({ buttons }) => buttons === 4,
    (event) => app.canvas.processMouseMove(event),
  );
  on(
    "pointerup",
    ({ button }) => button === 1,
    (event) => app.canvas.processMouseUp(event),
  );
}

/** What is shown in one node. */
export class LayoutView {
  /**
   * Build what is shown before there is a plan.
   * @param {Page.Node} node
   */
  constructor(node) {
    views.set(node, this);
    this.node = new WeakRef(node);
    this.element = make("kontext-layout");
    this.top = make("kontext-layout-top");
    this.buttons = make("kontext-layout-buttons");
    this.buttons.setAttribute("role", "group");
    this.lines = [make("kontext-layout-line"), make("kontext-layout-line")];
    this.news = make("kontext-layout-news");
    this.news.setAttribute("role", "status");
    this.add = iconButton("pi-plus", "");
    this.up = iconButton("pi-arrow-up", "");
    this.down = iconButton("pi-arrow-down", "");
    this.buttons.append(this.add, this.up, this.down);
    this.element.append(this.top, ...this.lines, this.news);
    /** @type {Tile[]} */
    this.tiles = [];
    /** The reference that the buttons are for. @type {{ node: WeakRef<Page.Node>, input: string } | null} */
    this.choice = null;
    /** What has the keyboard once it is drawn anew. @type {Control | null} */
    this.focusNext = null;
    this.listen();
  }

  /** Do what is pressed. */
  listen() {
    for (const button of [this.add, this.up, this.down]) {
      for (const kind of ["pointerdown", "click", "dblclick"]) // they neither move nor select the node
        button.addEventListener(kind, (event) => event.stopPropagation());
    }
    passToCanvas(this.top);
    this.add.addEventListener("click", () => this.addOne());
    this.up.addEventListener("click", () => this.move(true, "up"));
    this.down.addEventListener("click", () => this.move(false, "down"));
    this.top.addEventListener("click", ({ target }) => {
      const option = target instanceof Element ? target.closest('[role="option"]') : null;
      if (option) this.choose(Number(option.getAttribute("data-number")) - 1, true);
    });
    this.top.addEventListener("keydown", (event) => this.key(event));
  }

  /**
   * Show an answer of the server.
   * @param {Plan} plan
   * @param {Stack} stack
   */
  show(plan, { tiles, numbersOf }) {
    this.takePlace();
    const focused = this.focusNext ?? this.focused();
    this.tiles = tiles;
    this.top.replaceChildren(drawingOf(plan, tiles), this.buttons);
    this.say(sumOf(plan), costOf(plan, numbersOf));
    this.choose(this.chosen());
    this.focusNext = null;
    if (focused) this.focus(focused);
  }

  /** Take the place of the picture of a node that an undo has made anew: some pages leave it in the Vue node. */
  takePlace() {
    const node = this.node.deref();
    if (this.element.isConnected || !node || node.graph !== app.canvas.graph) return;
    document.querySelector(`.lg-node[data-node-id="${node.id}"] .kontext-layout`)?.replaceWith(this.element);
  }

  /**
   * Show words in place of a plan.
   * @param {string} words
   */
  refuse(words) {
    this.takePlace();
    this.tiles = [];
    this.top.replaceChildren();
    this.say(words, "");
  }

  /**
   * Write the lines below.
   * @param {...string} words
   */
  say(...words) {
    this.lines.forEach((line, i) => {
      line.textContent = words[i] ?? "";
    });
  }

  /** Find which control has the keyboard; null if none has. */
  focused() {
    const at = document.activeElement;
    if (!at || !this.top.contains(at)) return null;
    const [name] = /** @type {const} */ (["add", "up", "down"]).filter((one) => this[one] === at);
    return name ?? "tile";
  }

  /**
   * Give the keyboard to a control.
   * @param {Control} control
   */
  focus(control) {
    const option = this.top.querySelector('[aria-selected="true"]');
    const target = control === "tile" ? /** @type {SVGElement | null} */ (option) : this[control];
    target?.focus({ preventScroll: true });
  }

  /** Find the place of the chosen reference; else that of the node's own. */
  chosen() {
    const node = this.choice?.node.deref();
    const place = this.tiles.findIndex((tile) => tile.node === node && tile.input === this.choice?.input);
    return node && place >= 0 ? place : this.tiles.length - 1;
  }

  /**
   * Choose a reference.
   * @param {number} place
   * @param {boolean} [focus]
   */
  choose(place, focus = false) {
    const tile = this.tiles[place];
    this.choice = tile?.node ? { node: new WeakRef(tile.node), input: tile.input } : null;
    for (const option of this.top.querySelectorAll('[role="option"]')) {
      const selected = Number(option.getAttribute("data-number")) === place + 1;
      option.setAttribute("aria-selected", String(selected));
      option.setAttribute("tabindex", selected ? "0" : "-1");
    }
    this.name(place);
    if (focus) this.focus("tile");
  }

  /**
   * Let the buttons say what they do, and why they cannot.
   * @param {number} place of the chosen reference
   */
  name(place) {
    const picture = calledBy(place + 1);
    label(this.add, t("Add a reference"), "");
    const ways = /** @type {const} */ ([true, false]);
    const [up, down] = ways.map((way) => moveOf(this.tiles, place, way));
    label(this.up, t("Move {picture} up", { picture }), typeof up === "string" ? up : "");
    label(this.down, t("Move {picture} down", { picture }), typeof down === "string" ? down : "");
  }

  /**
   * Choose and move by keys.
   * @param {KeyboardEvent} event
   */
  key(event) {
    const { key, altKey, ctrlKey, metaKey, shiftKey } = event;
    if (this.focused() !== "tile" || ctrlKey || metaKey || shiftKey) return;
    const options = [...this.top.querySelectorAll('[role="option"]')];
    const places = options.map((one) => Number(one.getAttribute("data-number")) - 1).sort((a, b) => a - b);
    const at = places.indexOf(this.chosen());
    const steps = {
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      Home: 0,
      End: -1,
    };
    const next = steps[/** @type {keyof typeof steps} */ (key)];
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (altKey) {
      if (key === "ArrowUp" || key === "ArrowDown") this.move(key === "ArrowUp", "tile");
      return;
    }
    const place = places.at(key === "End" ? -1 : Math.max(0, Math.min(next, places.length - 1)));
    if (place !== undefined) this.choose(place, true);
  }

  /** Add a reference at the end. */
  addOne() {
    const node = this.node.deref();
    const added = node && addReference(node);
    if (added) this.news.textContent = t("A reference was added: connect a picture to it.");
  }

  /**
   * Move the chosen reference.
   * @param {boolean} up
   * @param {Control} control that was used
   */
  move(up, control) {
    const place = this.chosen();
    const move = moveOf(this.tiles, place, up);
    const [tile, other] = [this.tiles[place], this.tiles[place + (up ? -1 : 1)]];
    if (typeof move === "string" || !tile?.node || !other) {
      this.news.textContent = typeof move === "string" ? move : "";
      return;
    }
    trade(move);
    // at the same place on the canvas it goes on, where the mouse still is
    const node = this.node.deref();
    const traded = "nodes" in move && node && move.nodes.includes(node);
    const after = traded ? views.get(move.nodes[0] === node ? move.nodes[1] : move.nodes[0]) : this;
    if (!after) return;
    const input = tile.node === other.node ? other.input : tile.input;
    after.choice = { node: new WeakRef(tile.node), input };
    after.focusNext = control;
    after.focus(control);
    const [before, picture] = [calledBy(place + 1), calledBy(place + (up ? 0 : 2))];
    after.news.textContent = t("{name} is {picture} now.", { name: tile.name || before, picture });
  }
}

/**
 * Let a button say what it does; one that cannot be pressed keeps the keyboard, and says why.
 * @param {HTMLButtonElement} button
 * @param {string} words
 * @param {string} why it cannot be pressed
 */
function label(button, words, why) {
  button.setAttribute("aria-label", words);
  button.setAttribute("aria-disabled", String(why !== ""));
  button.title = [words, why].filter(Boolean).join(": ");
}
