// @ts-check
/** How far each node of one workflow is: what is queued and runs, what came of it, and of what. Pure. */

import { Candidates } from "./candidates.js";

/** @typedef {import("../lib/results.js").DrawnUpon} DrawnUpon */
/**
 * A picture on ComfyUI's server, and what its node said of it: its text, and a veil over what did not change, as
 * an address.
 * @typedef {{ filename?: string, subfolder?: string, type?: string, text?: string[], veil?: string,
 *   drawnUpon?: DrawnUpon }} Stored
 */

/**
 * @typedef {object} Wanted What a node is asked to make.
 * @property {string} signature of all that it depends on
 * @property {number | null} seed
 * @property {string} words its instruction
 */

/**
 * What a node made last; the signature is null where only a part of it was made.
 * @typedef {Omit<Wanted, "signature"> & { signature: string | null, image: Stored | null }} Result
 */

/** @typedef {"new" | "outdated" | "waiting" | "running" | "finished" | "failed"} Kind */

/**
 * @typedef {object} State
 * @property {Kind} kind
 * @property {number} part of its work that is done, 0 to 1
 * @property {boolean} again whether it takes one more run to make what is asked of it now
 * @property {string} why it failed, in one sentence
 * @property {Result | null} result its last, also where that is out of date
 */

/**
 * @typedef {{ node_id?: string, display_node_id?: string, value?: number, max?: number, state?: string }}
 *   NodeProgress
 */

const MOST_ABSENT = 100; // results that are kept of nodes which an undo may bring back

/** One queued graph, from then on until it has ended. */
export class Job {
  /**
   * Begin a job of which nothing has run.
   * @param {Map<string, Wanted>} wanted of its nodes by id
   * @param {Iterable<string>} waiting those that are to be made
   */
  constructor(wanted, waiting) {
    this.wanted = wanted;
    this.waiting = new Set(waiting);
    this.begun = false;
    /** @type {Map<string, number>} how much of each is done */
    this.running = new Map();
    /** Nodes that stand for others, of which some are made. @type {Set<string>} */
    this.partly = new Set();
    /** What is asked of a turn of which several are made to choose from, by seed. @type {Map<number, Wanted>} */
    this.choices = new Map();
  }
}

/**
 * What is known of each node by its id, those in subgraphs as "outer:inner". What a node expands to counts
 * for that node, and what is inside a node counts for the one around it too.
 */
export class RunState {
  constructor() {
    /** @type {Map<string, Result>} */
    this.results = new Map();
    this.candidates = new Candidates();
    /** @type {Map<string, { signature: string | undefined, why: string }>} */
    this.failures = new Map();
    /** In the order in which they were queued. @type {Set<Job>} */
    this.jobs = new Set();
    /** Turns that are off, and behind which something got nothing in the last run. @type {Set<string>} */
    this.unmet = new Set();
  }

  /**
   * Tell how far a node is.
   * @param {string} id
   * @param {string} signature of all that it depends on now
   * @returns {State}
   */
  of(id, signature) {
    const result = this.results.get(id) ?? null;
    const queued = [...this.jobs].some(
      ({ running, waiting, wanted }) =>
        (running.has(id) || waiting.has(id)) && wanted.get(id)?.signature === signature,
    );
    const state = (/** @type {Kind} */ kind, part = 0, why = "") => {
      const again = kind !== "finished" && !(queued && ["running", "waiting"].includes(kind));
      return { kind, part, again, why, result };
    };
    for (const { running } of this.jobs) if (running.has(id)) return state("running", running.get(id));
    const failure = this.failures.get(id);
    if (failure && (failure.signature ?? signature) === signature) return state("failed", 0, failure.why);
    for (const { waiting, wanted } of this.jobs)
      if (waiting.has(id) && wanted.get(id)?.signature !== (result?.signature ?? null))
        return state("waiting");
    if (!result) return state("new");
    return result.signature === signature ? state("finished", 1) : state("outdated");
  }

  /**
   * Note that a job is queued: what failed before is made once more.
   * @param {Job} job
   */
  queue(job) {
    this.jobs.add(job);
    for (const id of job.waiting) this.failures.delete(id);
  }

  /**
   * Note that a job runs.
   * @param {Job} job
   */
  start(job) {
    job.begun = true;
    for (const id of job.waiting) this.failures.delete(id);
  }

  /**
   * Note that a job has ended, or is not queued any more.
   * @param {Job} job
   * @param {boolean} whole whether all of it was made
   */
  end(job, whole) {
    this.jobs.delete(job);
    if (!whole) return;
    for (const id of job.partly) {
      const result = this.results.get(id);
      if (result) this.results.set(id, { ...result, ...job.wanted.get(id) });
    }
  }

  /**
   * Note how far the nodes of a job are.
   * @param {Job} job
   * @param {Record<string, NodeProgress>} nodes of the message progress_state
   */
  progress(job, nodes) {
    job.begun = true;
    /** @type {Map<string, { node: NodeProgress, own: boolean }[]>} */
    const found = new Map();
    for (const [key, node] of Object.entries(nodes)) {
      const own = !String(node.node_id ?? key).includes("."); // else a part of what it expands to
      for (const id of counted(node.display_node_id ?? node.node_id ?? key))
        found.set(id, [...(found.get(id) ?? []), { node, own }]);
    }
    for (const [id, parts] of found) {
      const running = parts.find((one) => one.node.state === "running");
      if (running) job.running.set(id, share(running.node));
      else if (parts.some((one) => one.node.state === "error")) this.fail(job, id, "");
      else if (parts.every((one) => one.own && one.node.state === "finished")) this.finish(job, id);
    }
  }

  /**
   * Note that a node was made.
   * @param {Job} job
   * @param {string | number} id
   */
  finish(job, id) {
    const key = String(id); // a part of what a node expands to is none of its nodes
    const wanted = job.wanted.get(key);
    job.running.delete(key);
    job.waiting.delete(key);
    if (!wanted) return;
    const { image } = this.candidates.find(key, wanted.signature) ?? this.results.get(key) ?? { image: null };
    this.results.set(key, { image, ...wanted });
  }

  /**
   * Note the picture that a node shows.
   * @param {Job} job
   * @param {string | number} id
   * @param {Stored} image
   * @param {boolean} whole whether it is all that the node makes
   */
  show(job, id, image, whole) {
    const key = String(id);
    const wanted = job.wanted.get(key);
    if (!wanted) return;
    if (whole && wanted.seed !== null) this.candidates.add(key, { ...wanted, image });
    this.results.set(key, { ...wanted, image, signature: whole ? wanted.signature : null });
    if (whole) this.finish(job, key);
    else job.partly.add(key);
  }

  /**
   * Note pictures of a turn that were made to choose from; what the turn shows stays.
   * @param {Job} job
   * @param {string | number} id
   * @param {readonly Stored[]} images
   * @param {readonly unknown[]} seeds
   */
  offer(job, id, images, seeds) {
    seeds.forEach((seed, i) => {
      const wanted = job.choices.get(Number(seed));
      const image = images[i];
      if (wanted && image) this.candidates.add(String(id), { ...wanted, image });
    });
  }

  /**
   * Take back the picture that a turn had when it was what it is now.
   * @param {string} id
   * @param {string} signature of all that it depends on now
   * @returns {Stored | null} the picture, where it is another than the one before
   */
  recall(id, signature) {
    if (this.results.get(id)?.signature === signature) return null;
    const candidate = this.candidates.find(id, signature);
    if (!candidate) return null;
    this.results.set(id, candidate);
    return candidate.image;
  }

  /**
   * Note that a node failed.
   * @param {Job} job
   * @param {string | number} id
   * @param {string} why
   */
  fail(job, id, why) {
    for (const one of counted(id)) {
      job.running.delete(one);
      job.waiting.delete(one);
      const before = this.failures.get(one);
      this.failures.set(one, { signature: job.wanted.get(one)?.signature, why: why || (before?.why ?? "") });
    }
  }

  /**
   * Note that there is a new node of this id.
   * @param {string} id
   */
  forget(id) {
    this.candidates.forget(id);
    this.results.delete(id);
    this.failures.delete(id);
  }

  /** Note that the workflow was emptied. */
  clear() {
    this.candidates.clear();
    this.results.clear();
    this.failures.clear();
  }

  /**
   * Let go of what has left the graph long ago.
   * @param {{ has(id: string): boolean }} ids of the nodes that are there
   */
  prune(ids) {
    for (const known of [this.results, this.failures, this.candidates.lists]) {
      const absent = [...known.keys()].filter((id) => !ids.has(id));
      for (const id of absent.slice(0, Math.max(absent.length - MOST_ABSENT, 0))) known.delete(id);
    }
  }
}

/**
 * List the nodes that an id of the server's counts for, from the outermost in.
 * @param {string | number} id
 */
function counted(id) {
  const parts = (String(id).split(".", 1)[0] ?? "").split(":");
  return parts.map((_, i) => parts.slice(0, i + 1).join(":"));
}

/**
 * Tell which part of a node's work is done.
 * @param {NodeProgress} node
 */
const share = ({ value = 0, max = 0 }) => (max > 0 ? Math.min(value / max, 1) : 0);
