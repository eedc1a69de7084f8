// @ts-check
/** How compared pictures look: ComfyUI's colours, of whatever theme. */

const ID = "kontext-compare-style";

/** Have the page know the style, once. */
export function addStyle() {
  if (document.getElementById(ID)) return;
  const style = document.createElement("link");
  style.id = ID;
  style.rel = "stylesheet";
  style.href = new URL("../../css/compare.css", import.meta.url).href;
  document.head.append(style);
}
