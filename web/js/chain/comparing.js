// @ts-check
/** Which two pictures of the chain panel are compared: of two turns, or of one turn and one of its candidates. */

import { selected } from "../lib/graph.js";
import { addressOf } from "../lib/results.js";
import { t } from "../lib/translate.js";

/** @typedef {import("../compare/before_after.js").Pair} Pair */
/** @typedef {import("../run/state.js").Stored} Stored */
/** @typedef {import("./panel.js").Panel} Panel */
/** @typedef {import("./strip.js").Choice} Choice */

/**
 * A picture to compare: a turn's own, or one that it has had.
 * @typedef {{ id: string, candidate: { image: Stored, seed: number | null } | null }} Side
 */

const TYPE = "application/x-kontext-picture";

/**
 * Make a side of a turn's own picture.
 * @param {string} id
 * @returns {Side}
 */
export const ownOf = (id) => ({ id, candidate: null });

/**
 * Find the two pictures that are compared: those that were asked for, or else of the two rows that are selected.
 * @param {Panel} panel
 * @returns {readonly [Side, Side] | null}
 */
export function sidesOf(panel) {
  const { compared, current, order, turns } = panel;
  if (compared?.every(({ id }) => turns.has(id))) return inOrder(panel, compared);
  const nodes = new Set(selected());
  if (nodes.size < 2 || !nodes.has(/** @type {Page.Node} */ (turns.get(current ?? "")?.node))) return null;
  const rows = order.filter(({ id }) => nodes.has(/** @type {Page.Node} */ (turns.get(id)?.node)));
  const [first, second] = rows.map(({ id }) => id);
  if (rows.length !== 2 || first === undefined || second === undefined) return null;
  if (turns.get(first)?.node === turns.get(second)?.node) return null; // shown twice, and selected once
  return [ownOf(first), ownOf(second)];
}

/**
 * Put the earlier of two turns first, and a turn's own picture before its candidate.
 * @param {Panel} panel
 * @param {readonly [Side, Side]} sides
 * @returns {readonly [Side, Side]}
 */
function inOrder({ order }, sides) {
  const [at, other] = sides.map(({ id }) => order.findIndex((row) => row.id === id));
  const swapped = at === other ? sides[0].candidate && !sides[1].candidate : Number(at) > Number(other);
  return swapped ? [sides[1], sides[0]] : sides;
}

/**
 * Get the names and the pictures of what is compared.
 * @param {Panel} panel
 * @returns {Pair | null}
 */
export function pairOf(panel) {
  const sides = sidesOf(panel);
  if (!sides) return null;
  const [before, after] = sides.map(({ id, candidate }) =>
    candidate ? addressOf(candidate.image) : (panel.turns.get(id)?.after ?? ""),
  );
  const [first, second] = sides.map((side) => labelOf(panel, side));
  return { before: before ?? "", after: after ?? "", names: [first ?? "", second ?? ""] };
}

/**
 * Name a picture by its turn, and by its seed where it is a candidate.
 * @param {Panel} panel
 * @param {Side} side
 */
function labelOf(panel, { id, candidate }) {
  const turn = panel.rows.get(id)?.name ?? "";
  return candidate ? t("{turn}, seed {seed}", { turn, seed: candidate.seed ?? "" }) : turn;
}

/**
 * Name a turn as it is seen now: its picture may not be of what it says.
 * @param {Panel} panel
 * @param {string} id
 */
export function nameNow(panel, id) {
  const name = panel.rows.get(id)?.name ?? "";
  const turn = panel.turns.get(id);
  const old = turn?.after && !turn.off && panel.stateOf(turn).kind === "outdated";
  return old ? t("{turn}, out of date", { turn: name }) : name;
}

/**
 * Name the two pictures that are compared, left and right.
 * @param {Panel} panel
 * @param {readonly [Side, Side]} sides
 * @returns {[string, string]}
 */
export function captionOf(panel, sides) {
  const [first, second] = sides.map((side) =>
    side.candidate ? labelOf(panel, side) : nameNow(panel, side.id),
  );
  return [first ?? "", second ?? ""];
}

/**
 * Compare two pictures, until another turn is chosen.
 * @param {Panel} panel
 * @param {Side} side
 * @param {Side} other
 */
export function compare(panel, side, other) {
  if (side.id === other.id && side.candidate?.image.filename === other.candidate?.image.filename) return;
  if (!panel.turns.has(side.id) || !panel.turns.has(other.id)) return;
  panel.choose(other.id);
  panel.compared = [side, other];
  panel.drawChoice();
}

/**
 * Let rows be dragged onto each other, and pictures of a strip onto a row or the viewer.
 * @param {Panel} panel
 */
export function listenToDrags(panel) {
  const { element, list } = panel;
  /** What is dragged, which only its end tells of. @type {Side | null} */
  let dragged = null;
  /** @type {Element | null} */
  let over = null;

  /**
   * Mark what a picture would be dropped on.
   * @param {Element | null} target
   */
  function mark(target) {
    if (target === over) return;
    over?.classList.remove("kontext-drop");
    target?.classList.add("kontext-drop");
    over = target;
  }

  list.addEventListener("dragstart", (event) => {
    dragged = sideAt(panel, event.target);
    if (!dragged || !event.dataTransfer) return;
    event.dataTransfer.setData(TYPE, dragged.id);
    const picture = document.elementFromPoint(event.clientX, event.clientY);
    // for the canvas, as the browser gives it of any picture
    if (picture instanceof HTMLImageElement) event.dataTransfer.setData("text/uri-list", picture.src);
    event.dataTransfer.effectAllowed = "all";
  });
  element.addEventListener("dragover", (event) => {
    const target = dragged && targetOf(panel, dragged, event.target);
    mark(target?.element ?? null);
    if (!target) return;
    event.preventDefault();
    event.stopPropagation();
  });
  element.addEventListener("dragleave", (event) => {
    if (!(event.relatedTarget instanceof Node && element.contains(event.relatedTarget))) mark(null);
  });
  element.addEventListener("drop", (event) => {
    const target = dragged && targetOf(panel, dragged, event.target);
    mark(null);
    if (!dragged || !target) return;
    event.preventDefault();
    event.stopPropagation();
    compare(panel, dragged, ownOf(target.id));
    panel.focus();
  });
  list.addEventListener("dragend", () => {
    dragged = null;
    mark(null);
  });
  // text is selected in a field, and no row dragged
  for (const [kind, free] of /** @type {const} */ ([
    ["focusin", false],
    ["focusout", true],
  ]))
    list.addEventListener(kind, ({ target }) => {
      const row = target instanceof HTMLTextAreaElement ? target.closest(".kontext-row") : null;
      if (row instanceof HTMLElement) row.draggable = free;
    });
}

/**
 * Find the picture that a drag begins at.
 * @param {Panel} panel
 * @param {EventTarget | null} target
 * @returns {Side | null}
 */
function sideAt(panel, target) {
  const element = target instanceof Element ? target : target instanceof Node ? target.parentElement : null;
  const id = element?.closest(".kontext-row")?.getAttribute("data-id");
  const row = id ? panel.rows.get(id) : undefined;
  if (!id || !row) return null;
  const choice = element?.closest(".kontext-choice");
  if (!choice) return ownOf(id);
  const candidate =
    row.strip.choices[row.strip.items().indexOf(/** @type {HTMLElement} */ (choice))]?.candidate;
  return candidate ? { id, candidate } : null;
}

/**
 * Find what a picture can be dropped on: a row, or the viewer for the chosen turn.
 * @param {Panel} panel
 * @param {Side} side
 * @param {EventTarget | null} target
 * @returns {{ element: Element, id: string } | null}
 */
function targetOf(panel, side, target) {
  const element = target instanceof Element ? target.closest(".kontext-row, .kontext-viewer") : null;
  const viewer = element === panel.viewer.element;
  // a candidate of another turn is compared with the turn that is seen; one of the same with that turn's picture
  const id = viewer ? panel.current : element?.getAttribute("data-id");
  if (!element || !id || (id === side.id && !side.candidate)) return null;
  return { element, id };
}

/**
 * Find the turn that another is compared with: the one whose node is selected, or else the one chosen before.
 * @param {Panel} panel
 * @param {string} id
 * @returns {string | null}
 */
export function partnerOf({ order, turns, previous }, id) {
  const nodes = selected();
  const fits = (/** @type {string | null} */ other) => {
    const turn = turns.get(other ?? "");
    return turn && turn.node !== turns.get(id)?.node ? turn : null;
  };
  const chosen = order.find((row) => nodes.includes(/** @type {Page.Node} */ (fits(row.id)?.node)));
  return chosen?.id ?? fits(previous)?.id ?? null;
}

/**
 * Make the menu's command that compares a turn with the chosen one.
 * @param {Panel} panel
 * @param {string} id
 * @returns {import("./menu.js").Item}
 */
export function compareItem(panel, id) {
  const other = partnerOf(panel, id);
  const turn = other === null ? "" : (panel.rows.get(other)?.name ?? "");
  return {
    id: "compare-with",
    label: turn ? t("Compare with {turn}", { turn }) : t("Compare with the chosen turn"),
    icon: "pi-arrows-h",
    disabled: other === null,
    run: () => other !== null && compare(panel, ownOf(other), ownOf(id)),
  };
}
