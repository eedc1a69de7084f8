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
