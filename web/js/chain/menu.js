// @ts-check
/** A menu of commands, by mouse and by keyboard, above all else on the page. */

import { make } from "../lib/element.js";

const GAP = 2;
const EDGE = 4; // px that it keeps from the page's

/**
 * One of its commands.
 * @typedef {object} Item
 * @property {string} id
 * @property {string} label
 * @property {string} [icon]
 * @property {string} [keys] as they are shown
 * @property {boolean} [disabled]
 * @property {string} [group] what it is one of several choices for
 * @property {string} [swatch] its colour, as all that is shown of it; "" for none
 * @property {boolean} [checked] whether it is the choice of its group
 * @property {() => void} run
 */

/**
 * Show a menu; it closes by itself.
 * @param {HTMLElement} anchor what it belongs to, and gets the focus back
 * @param {string} label
 * @param {Item[]} items
 * @param {{ x: number, y: number }} [at] where the mouse asked for it, in px of the page
 */
export function openMenu(anchor, label, items, at) {
  const menu = make("kontext-menu");
  menu.setAttribute("role", "menu");
  menu.setAttribute("aria-label", label);
  menu.popover = "auto"; // a click beside it closes it
  fill(menu, items, close);
  anchor.closest(".kontext-panel")?.append(menu);
  menu.addEventListener("toggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState !== "closed") return;
    menu.remove();
    const another = document.querySelector(".kontext-menu"); // which a command of this one has shown
    if (anchor.hasAttribute("aria-expanded")) anchor.setAttribute("aria-expanded", String(another !== null));
  });
  menu.addEventListener("keydown", (event) => pressed(menu, event, () => close(true)));
  menu.addEventListener("contextmenu", (event) => event.preventDefault());
  if (anchor.hasAttribute("aria-expanded")) anchor.setAttribute("aria-expanded", "true");
  menu.showPopover();
  put(menu, anchor, at);
  itemsOf(menu)[0]?.focus();

  /**
   * Take it away.
   * @param {boolean} back whether what it belongs to gets the focus
   */
  function close(back) {
    if (back) anchor.focus();
    menu.hidePopover();
  }
}

/**
 * Fill a menu with its commands; the choices of a group stand side by side.
 * @param {HTMLElement} menu
 * @param {Item[]} items
 * @param {(back: boolean) => void} close
 */
function fill(menu, items, close) {
  /** @type {HTMLElement | null} */
  let group = null;
  for (const item of items) {
    if (!item.group) group = null;
    else if (!group) {
      group = make("kontext-menu-group");
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", item.group);
      menu.append(group);
    }
    (group ?? menu).append(item.group ? choiceOf(item, close) : itemOf(item, close));
  }
}

/**
 * Build one choice of a group.
 * @param {Item} item
 * @param {(back: boolean) => void} close
 */
function choiceOf({ id, label, swatch, checked, run }, close) {
  const choice = make(`kontext-swatch${swatch ? "" : " pi pi-ban"}`, "button");
  choice.setAttribute("role", "menuitemradio");
  choice.setAttribute("aria-checked", String(checked === true));
  choice.setAttribute("aria-label", label);
  choice.title = label;
  choice.dataset.command = id;
  choice.tabIndex = -1;
  if (swatch) choice.style.background = swatch;
  choice.addEventListener("click", () => {
    close(true);
    run();
  });
  return choice;
}

/**
 * Build one command.
 * @param {Item} item
 * @param {(back: boolean) => void} close
 */
function itemOf({ id, label, icon, keys, disabled = false, run }, close) {
  const item = make("kontext-menu-item", "button");
  item.setAttribute("role", "menuitem");
  item.dataset.command = id;
  item.tabIndex = -1;
  const picture = make(`pi ${icon ?? ""}`, "span");
  picture.setAttribute("aria-hidden", "true");
  const name = make("kontext-menu-label", "span");
  name.textContent = label;
  item.append(picture, name);
  if (keys) {
    const shown = make("kontext-menu-keys", "span");
    shown.textContent = keys;
    shown.setAttribute("aria-hidden", "true");
    item.setAttribute(
      "aria-keyshortcuts",
      keys.replace("Ctrl", "Control").replace("↑", "ArrowUp").replace("↓", "ArrowDown"),
    );
    item.append(shown);
  }
  item.setAttribute("aria-disabled", String(disabled));
  item.addEventListener("pointermove", () => item.focus());
  item.addEventListener("click", () => {
    if (disabled) return;
    close(true);
    run();
  });
  return item;
}

/**
 * List the commands of a menu.
 * @param {HTMLElement} menu
 */
const itemsOf = (menu) => /** @type {HTMLElement[]} */ ([...menu.querySelectorAll("button")]);

/**
 * Do what a key is for.
 * @param {HTMLElement} menu
 * @param {KeyboardEvent} event
 * @param {() => void} close
 */
function pressed(menu, event, close) {
  const { key } = event;
  event.stopPropagation(); // none is for the panel below it, nor for the page
  if (key === "Enter" || key === " ") return; // the button is pressed by it
  const items = itemsOf(menu);
  const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  if (key === "Escape" || key === "Tab") close();
  else focusBy(items, at, key);
  event.preventDefault();
}

/**
 * Give the focus to the command that a key leads to.
 * @param {HTMLElement[]} items
 * @param {number} at
 * @param {string} key
 */
function focusBy(items, at, key) {
  const count = items.length;
  const [next, before] = [(at + 1) % count, (at + count - 1) % count];
  const to = {
    ArrowDown: next,
    ArrowRight: next,
    ArrowUp: before,
    ArrowLeft: before,
    Home: 0,
    End: count - 1,
  }[key];
  if (to !== undefined) return items[to]?.focus();
  if (key.length !== 1) return;
  const behind = [...items.slice(at + 1), ...items.slice(0, at + 1)];
  behind.find((item) => item.textContent?.trim().toLowerCase().startsWith(key.toLowerCase()))?.focus();
}

/**
 * Put a menu beside what it belongs to, where there is room for all of it.
 * @param {HTMLElement} menu
 * @param {HTMLElement} anchor
 * @param {{ x: number, y: number }} [at]
 */
function put(menu, anchor, at) {
  const { width, height } = menu.getBoundingClientRect();
  const box = anchor.getBoundingClientRect();
  const edge = anchor.closest(".kontext-panel")?.getBoundingClientRect().left ?? 0;
  const [left, top] = at ? [at.x, at.y] : [Math.max(box.right - width, edge), box.bottom + GAP];
  const above = (at ? at.y : box.top - GAP) - height;
  const fits = top + height <= innerHeight - EDGE;
  menu.style.left = `${Math.max(EDGE, Math.min(left, innerWidth - width - EDGE))}px`;
  menu.style.top = `${Math.max(EDGE, fits ? top : above)}px`;
}
