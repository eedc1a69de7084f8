// @ts-check
/** How far each node is in the run, from the server's messages. */

/**
 * @typedef {object} State
 * @property {"running" | "finished" | "failed"} kind
 * @property {number} part of its work that is done, 0 to 1
 */

/** @typedef {{ node_id?: string, display_node_id?: string, value?: number, max?: number, state?: string }} NodeProgress */

/**
 * What is known of each node by id, those in subgraphs as "outer:inner". What a node expands to counts for that node, and
 * what is inside a node counts for the one around it too.
 */
export class RunState {
  constructor() {
    /** @type {Map<string, State>} */
    this.states = new Map();
  }

  /** @param {string} id @returns {State | null} */
  of(id) {
    return this.states.get(id) ?? null;
  }

  /** A run begins: what was failed or running is so no more. */
  start() {
    this.stop();
    for (const [id, state] of this.states) if (state.kind === "failed") this.states.delete(id);
  }

  /** A run was stopped or has ended: nothing runs. */
  stop() {
    for (const [id, state] of this.states) if (state.kind === "running") this.states.delete(id);
  }

  /** Another workflow is shown. */
  clear() {
    this.states.clear();
  }

  /** @param {Record<string, NodeProgress>} nodes of the message progress_state */
  progress(nodes) {
    /** @type {Map<string, NodeProgress[]>} */
    const found = new Map();
    for (const [key, node] of Object.entries(nodes)) {
      for (const id of counted(node.display_node_id ?? node.node_id ?? key)) {
        const parts = found.get(id);
        if (parts) parts.push(node);
        else found.set(id, [node]);
      }
    }
    for (const [id, parts] of found) {
      const running = parts.find((one) => one.state === "running");
      if (running) this.states.set(id, { kind: "running", part: share(running) });
      else if (parts.some((one) => one.state === "error")) this.states.set(id, { kind: "failed", part: 0 });
      else if (parts.every((one) => one.state === "finished"))
        this.states.set(id, { kind: "finished", part: 1 });
    }
  }

  /** @param {string | number} id */
  finish(id) {
    for (const one of counted(id)) this.states.set(one, { kind: "finished", part: 1 });
  }

  /** @param {string | number} id */
  fail(id) {
    for (const one of counted(id)) this.states.set(one, { kind: "failed", part: 0 });
  }
}

/** The nodes that an id of the server's counts for, from the outermost in. @param {string | number} id */
function counted(id) {
  const parts = (String(id).split(".", 1)[0] ?? "").split(":");
  return parts.map((_, i) => parts.slice(0, i + 1).join(":"));
}

/** @param {NodeProgress} node */
const share = ({ value = 0, max = 0 }) => (max > 0 ? Math.min(value / max, 1) : 0);
