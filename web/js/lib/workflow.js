// @ts-check
/** Which workflow the page shows, and when it shows another. */

import { app } from "../../../../scripts/app.js";
import { nodeIn, rootGraph } from "./graph.js";

/**
 * The page's own object of a workflow; its path is the same when the page was loaded anew.
 * @typedef {{ path?: string, changeTracker?: object }} Workflow
 */

/**
 * Get the page's own object of the workflow that is shown.
 * @returns {Workflow | undefined}
 */
export const activeWorkflow = () => app.extensionManager.workflow?.activeWorkflow ?? undefined;

/**
 * Get the workflow that is shown, as a key for what is remembered of it; it stays the same through undo,
 * renaming and other tabs.
 * @returns {object}
 */
export function shownWorkflow() {
  const shown = activeWorkflow();
  return shown?.changeTracker ?? shown ?? app;
}

/** @type {Set<() => void>} */
const listeners = new Set();

/**
 * Call this each time a graph was loaded: another workflow, or this one again by undo.
 * Then its results are back too.
 * @param {() => void} listener
 */
export const onLoaded = (listener) => void listeners.add(listener);

function loaded() {
  for (const listener of listeners) listener();
}

const { loadGraphData } = app;
app.loadGraphData = async function (...graph) {
  try {
    return await loadGraphData.apply(this, graph);
  } finally {
    loaded();
  }
};

app.registerExtension(
  /** @type {any} */ ({
    name: "Kontext.Workflow",
    afterLoadGraph: loaded, // newer pages look for missing files before they have done
  }),
);

/**
 * Make what finds a node again, also once an undo has made it anew.
 * @param {Page.Node} node
 * @returns {() => Page.Node | null} null where it is not there, or another workflow is shown
 */
export function finder(node) {
  const { id, type, graph } = node;
  const workflow = shownWorkflow();
  const inside = graph && graph !== rootGraph() ? graph.id : null;
  return () => {
    if (shownWorkflow() !== workflow) return null;
    const where = inside === null ? rootGraph() : rootGraph().subgraphs.get(inside);
    const found = where && nodeIn(where, id);
    return found?.type === type ? found : null;
  };
}
