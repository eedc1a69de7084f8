// @ts-check
/** Elements of the page. */

/**
 * Make an element of a class.
 * @param {string} className
 * @param {string} [tag]
 */
export function make(className, tag = "div") {
  const element = document.createElement(tag);
  element.className = className;
  return element;
}

/**
 * Make a button that shows an icon alone.
 * @param {string} icon
 * @param {string} label what it says aloud, and where the mouse rests
 */
export function iconButton(icon, label) {
  const button = /** @type {HTMLButtonElement} */ (make(`kontext-button pi ${icon}`, "button"));
  button.type = "button";
  button.title = label;
  button.setAttribute("aria-label", label);
  return button;
}
