// @ts-check
/** Style sheets of this pack: ComfyUI's colours, of whatever theme. */

/**
 * Have the page know a style sheet, once.
 * @param {string} name of its file in web/css
 */
export function addStyleSheet(name) {
  const id = `kontext-${name}-style`;
  if (document.getElementById(id)) return;
  const style = document.createElement("link");
  style.id = id;
  style.rel = "stylesheet";
  style.href = new URL(`../../css/${name}.css`, import.meta.url).href;
  document.head.append(style);
}
