// @ts-check
/** The chain panel's sidebar tab: when it is drawn, what it listens to, its settings. */

import { app } from "../../../scripts/app.js";
import { hasChain } from "./actions.js";
import { Panel } from "./chain_panel.js";
import { RunState } from "./run_state.js";
import { loadWords, t } from "./words.js";

const MEASURE = "kontext-chain-panel"; // how long each piece of drawing takes, for whoever watches
const PIECE_MS = 8; // of drawing without a pause

const run = new RunState();

/** While the tab is open. @type {Panel | null} */
let panel = null;

let waiting = "";

/** What is left of a drawing that has begun. @type {Iterator<void> | null} */
let left = null;

let asked = false;

/** Draw at the next frame, once for all that happens until then. @param {"all" | "states"} [what] */
function redraw(what = "all") {
  if (!panel) return;
  if (waiting !== "all") waiting = what;
  ask();
}

/** In a task of its own, behind those that draw the canvas at the same frame. */
function ask() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => setTimeout(drawNow));
}

function drawNow() {
  asked = false;
  const what = waiting;
  waiting = "";
  if (!panel) {
    left = null;
    return;
  }
  const start = performance.now();
  if (what === "all") left = panel.draw();
  else if (what === "states") panel.drawStates();
  while (left && performance.now() - start < PIECE_MS) if (left.next().done) left = null;
  performance.measure(MEASURE, { start });
  performance.clearMeasures(MEASURE);
  if (left) ask();
}

/** Call something after a node's own handler of the same name. @param {Page.Node} node @param {string} name @param {() => void} more */
function after(node, name, more) {
  const hooks = /** @type {Record<string, Function | undefined>} */ (/** @type {unknown} */ (node));
  const before = hooks[name];
  hooks[name] = function (/** @type {unknown[]} */ ...values) {
    const answer = before?.apply(this, values);
    more();
    return answer;
  };
}

/** What each of the server's messages says of the run. @type {Record<string, (detail: any) => void>} */
const RUN_MESSAGES = {
  execution_start: () => run.start(),
  execution_cached({ nodes }) {
    for (const id of nodes ?? []) run.finish(id);
  },
  progress_state: ({ nodes }) => run.progress(nodes ?? {}),
  execution_success: () => run.stop(),
  execution_interrupted: () => run.stop(),
  execution_error({ node_id }) {
    run.stop();
    run.fail(node_id);
  },
};

function listen() {
  /** @param {string} kind @param {(event: CustomEvent) => void} handle */
  const on = (kind, handle) => app.api.addEventListener(/** @type {any} */ (kind), handle);
  for (const [kind, note] of Object.entries(RUN_MESSAGES))
    on(kind, (event) => {
      note(event.detail ?? {});
      redraw("states");
    });
  on("executed", () => redraw());
  on("graphChanged", () => redraw());
  on("graphCleared", () => {
    run.clear();
    redraw();
  });
  app.canvas.canvas.addEventListener("litegraph:set-graph", () => redraw());
}

/** @type {any} */
const SETTINGS = [
  {
    id: "Kontext.ChainPanel.Follow",
    name: "Scroll to the turn that runs",
    tooltip: "The chain panel keeps the turn that is being made in sight.",
    category: ["Kontext", "Chain panel", "Follow"],
    type: "boolean",
    defaultValue: true,
  },
  {
    id: "Kontext.ChainPanel.Thumbnails",
    name: "Show thumbnails",
    tooltip: "Each turn of the chain panel shows its last picture.",
    category: ["Kontext", "Chain panel", "Thumbnails"],
    type: "boolean",
    defaultValue: true,
    onChange: () => redraw(),
  },
];

app.registerExtension({
  name: "Kontext.ChainPanel",
  settings: SETTINGS,
  async setup() {
    await loadWords();
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = new URL("../css/chain_panel.css", import.meta.url).href;
    document.head.append(style);
    listen();
    app.extensionManager.registerSidebarTab({
      id: "kontext-chain",
      icon: "pi pi-sitemap",
      title: t("Chain"),
      tooltip: t("Turns of this graph"),
      type: "custom",
      render(container) {
        if (panel?.container !== container) panel = new Panel(container, run, redraw);
        redraw();
      },
      destroy() {
        panel = null;
      },
    });
  },
  /** @param {Page.Node} node */
  nodeCreated(node) {
    if (!hasChain(node)) return;
    for (const name of ["onAdded", "onRemoved", "onConnectionsChange", "onWidgetChanged"])
      after(node, name, () => redraw());
    after(node, "onSelected", () => panel?.chooseNode(node));
  },
  afterConfigureGraph() {
    redraw();
  },
});
