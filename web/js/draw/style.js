// @ts-check
/** How the editor looks: ComfyUI's colours, of whatever theme. */

const ID = "kontext-draw-style";

const STYLE = `
.kontext-draw {
  width: min(96vw, 1500px); height: 94vh; max-width: none; max-height: none; padding: 0; margin: auto;
  display: none; flex-direction: column; overflow: hidden; box-sizing: border-box;
  color: var(--input-text, #ddd); background: var(--comfy-menu-bg, #353535);
  border: 1px solid var(--border-color, #4e4e4e); border-radius: 8px; font: 14px system-ui, sans-serif;
}
.kontext-draw[open] { display: flex; }
.kontext-draw::backdrop { background: rgb(0 0 0 / 50%); }
.kontext-draw-bar { display: flex; flex-wrap: wrap; gap: 6px 12px; align-items: center; padding: 8px 12px; }
.kontext-draw-bar > div { display: flex; gap: 4px; align-items: center; }
.kontext-draw label { display: inline-flex; gap: 6px; align-items: center; }
.kontext-draw label[hidden], .kontext-draw[data-mode="area"] .colour { display: none; }
.kontext-draw .modes { gap: 0; }
.kontext-draw .modes label:first-child span { border-radius: 5px 0 0 5px; }
.kontext-draw .modes label:last-child span { border-radius: 0 5px 5px 0; border-left: 0; }
.kontext-draw .tool { position: relative; }
.kontext-draw .tool input { position: absolute; inset: 0; opacity: 0; margin: 0; cursor: pointer; }
.kontext-draw .tool span, .kontext-draw input[type="button"].action {
  padding: 5px 9px; border: 1px solid var(--border-color, #4e4e4e); border-radius: 5px; cursor: pointer;
  color: var(--input-text, #ddd); background: var(--comfy-input-bg, #222); font: inherit; line-height: 1.3;
}
.kontext-draw input[type="button"].action:disabled { opacity: 0.45; cursor: default; }
.kontext-draw .tool input:checked + span, .kontext-draw input[type="button"].main {
  color: var(--bg-color, #202020); background: var(--fg-color, #fff); border-color: var(--fg-color, #fff);
}
.kontext-draw .tool input:focus-visible + span, .kontext-draw input:focus-visible {
  outline: 2px solid var(--p-primary-color, #60a5fa); outline-offset: 1px;
}
.kontext-draw input[type="color"] { width: 36px; height: 28px; padding: 0; border: 0; background: none; }
.kontext-draw input[type="range"] { width: 110px; }
.kontext-draw output {
  min-width: 3.6em; text-align: center; font-variant-numeric: tabular-nums; color: var(--descrip-text, #999);
}
.kontext-draw-stage {
  position: relative; flex: 1; overflow: hidden; touch-action: none; background: var(--bg-color, #202020);
  border-block: 1px solid var(--border-color, #4e4e4e);
}
.kontext-draw-stage > canvas { position: absolute; left: 0; top: 0; transform-origin: 0 0; }
.kontext-draw-stage > svg { position: absolute; inset: 0; width: 100%; height: 100%; pointer-events: none; }
.kontext-draw-stage > svg * {
  fill: none; stroke: var(--p-primary-color, #60a5fa); stroke-width: 1.5; vector-effect: non-scaling-stroke;
}
.kontext-draw-stage > svg circle { fill: var(--comfy-menu-bg, #353535); }
.kontext-draw-stage > .surface {
  position: absolute; inset: 0; width: 100%; height: 100%; padding: 0; border: 0; background: none;
  touch-action: none; cursor: crosshair;
}
.kontext-draw-stage > .surface:focus-visible { outline-offset: -3px; }
.kontext-draw-stage > .surface[data-tool="select"] { cursor: default; }
.kontext-draw-stage > .words {
  position: absolute; width: 230px; padding: 5px 8px; box-sizing: border-box; font: inherit;
  color: var(--input-text, #ddd);
  background: var(--comfy-input-bg, #222); border: 1px solid var(--border-color, #4e4e4e); border-radius: 5px;
}
.kontext-draw-foot { display: flex; gap: 8px; align-items: center; padding: 8px 12px; }
.kontext-draw-foot p { flex: 1; margin: 0; color: var(--descrip-text, #999); }
`;

/** Have the page know the style, once. */
export function addStyle() {
  if (document.getElementById(ID)) return;
  const style = document.createElement("style");
  style.id = ID;
  style.textContent = STYLE;
  document.head.append(style);
}
