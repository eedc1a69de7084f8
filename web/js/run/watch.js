// @ts-check
/**
 * Tells each workflow's run state what is queued for it and what the server says of that, whichever workflow
 * is shown.
 */

import { app } from "../../../../scripts/app.js";
import { rootGraph } from "../lib/graph.js";
import { passOver } from "../lib/passing.js";
import { resultsKey, resultsOf, setResults } from "../lib/results.js";
import { everyPlace, idOf } from "../lib/wires.js";
import { activeWorkflow, shownWorkflow } from "../lib/workflow.js";
import { picturesOf } from "./pictures.js";
import { wantedNow } from "./signature.js";
import { Job, RunState } from "./state.js";

/** @typedef {import("./state.js").Wanted} Wanted */
/** @typedef {import("../lib/workflow.js").Workflow} Workflow */
/**
 * A job of ours, and the workflow that it is of.
 * @typedef {{ job: Job, run: RunState, workflow?: Workflow }} Known
 */
/**
 * What a graph asked for when it was made ready; of a turn that is asked for several pictures, by seed.
 * @typedef {{ wanted: Map<string, Wanted>, run: RunState, workflow?: Workflow, choices?: Map<number, Wanted> }}
 *   Prepared
 */

const KEPT = "Kontext.jobs"; // in the tab's storage: a job goes on while the page is loaded anew
const MESSAGES = /** @type {const} */ ([
  "execution_start",
  "execution_cached",
  "progress_state",
  "executed",
  "execution_success",
  "execution_interrupted",
  "execution_error",
]);

/** @type {WeakMap<object, RunState>} */
const runs = new WeakMap();
/** By the server's ids, until they have ended. @type {Map<string, Known>} */
const jobs = new Map();
/**
 * Jobs from before the page was loaded anew of which the server has said nothing since.
 * @type {Map<string, Known>}
 */
const awaited = new Map();
/** Run states of their workflows, by path, until the page shows those. @type {Map<string, RunState>} */
const restored = new Map();
/** @type {WeakMap<object, Prepared>} */
const prepared = new WeakMap();
/**
 * How many graphs are on their way to the server; what it says of jobs that are not known waits for its
 * answer.
 */
let sending = 0;
/** @type {[string, any][]} */
let early = [];
/** @type {Set<(kind: string) => void>} */
const listeners = new Set();
/** Whether what the page is told just now is of another workflow than the one it shows. */
let foreign = false;

/** Get the run state of the workflow that is shown. */
export function shownRun() {
  const workflow = shownWorkflow();
  const known = runs.get(workflow);
  if (known) return known;
  const { path = "", changeTracker } = activeWorkflow() ?? {};
  const run = (changeTracker && restored.get(path)) ?? new RunState(); // without one it is not whole yet
  if (changeTracker) restored.delete(path);
  runs.set(workflow, run);
  return run;
}

/**
 * Tell whether the result that the page hands to nodes just now belongs to another workflow, which has nodes
 * of the same numbers.
 */
export const isForeign = () => foreign;

/**
 * Tell whether a job is known to be of another workflow than the one that is shown.
 * @param {unknown} id
 */
export function isForeignJob(id) {
  const known = jobs.get(String(id ?? "")) ?? awaited.get(String(id ?? ""));
  return !!known && known.run !== shownRun();
}

/**
 * Call this after each change of a run.
 * @param {(kind: string) => void} listener gets the kind of the message, or "queued" or "ended"
 */
export const onRun = (listener) => void listeners.add(listener);

/**
 * Tell all listeners.
 * @param {string} kind
 */
function tell(kind) {
  for (const listener of listeners) listener(kind);
}

// What is queued

/**
 * Get what the graph that is shown asks for now.
 * @returns {Prepared}
 */
const preparation = () => ({ wanted: wantedNow(), run: shownRun(), workflow: activeWorkflow() });

const { graphToPrompt } = app;
app.graphToPrompt = async function (...given) {
  const [graph = rootGraph()] = given;
  const about = graph === rootGraph() ? preparation() : null;
  const prompt = await graphToPrompt.apply(this, given);
  if (about) {
    about.run.unmet = new Set(passOver(/** @type {any} */ (prompt.output)).map(idOf));
    prepared.set(prompt, about);
  }
  return prompt;
};

/**
 * Let a graph count as another that was made ready, but for what is changed.
 * @param {object} graph
 * @param {object} ready
 * @param {(ready: Prepared) => Partial<Prepared>} change
 */
export function prepareLike(graph, ready, change) {
  const about = prepared.get(ready) ?? preparation();
  prepared.set(graph, { ...about, ...change(about) });
}

const { queuePrompt } = app.api;
app.api.queuePrompt = async function (...given) {
  const about = prepared.get(given[1]) ?? preparation();
  sending += 1;
  try {
    const answer = await queuePrompt.apply(this, given);
    const refused = refuse(about, answer.node_errors);
    if (answer.prompt_id) add(answer.prompt_id, about, refused, given);
    return answer;
  } catch (error) {
    refuse(about, /** @type {any} */ (error)?.response?.node_errors);
    throw error;
  } finally {
    sending -= 1;
    const messages = early;
    early = [];
    for (const [kind, detail] of messages) hear(kind, detail);
    tell("queued");
  }
};

/**
 * Note what was queued.
 * @param {string} id
 * @param {Prepared} about
 * @param {Set<string>} refused
 * @param {any[]} given to `queuePrompt`: number, graph, options
 */
function add(id, { wanted, run, workflow, choices }, refused, [, { output }, options]) {
  const targets = options?.partialExecutionTargets?.map(String);
  const ids = targets ? [...needed(output, targets)] : Object.keys(output);
  const job = new Job(
    wanted,
    ids.filter((one) => !refused.has(one)),
  );
  if (choices) job.choices = choices;
  jobs.set(id, { job, run, workflow });
  run.queue(job);
  keep();
}

/**
 * List the nodes that others need, with those.
 * @param {Record<string, { inputs: Record<string, unknown> }>} output
 * @param {string[]} targets
 */
export function needed(output, targets) {
  const found = new Set(targets);
  for (const id of found)
    for (const value of Object.values(output[id]?.inputs ?? {}))
      if (Array.isArray(value)) found.add(String(value[0]));
  return found;
}

/**
 * Note what the server would not take; the ids of those nodes.
 * @param {Prepared} about
 * @param {Record<string, { errors?: { type?: string, message?: string, details?: string }[] }> | null |
 *   undefined} errors
 */
function refuse({ wanted, run }, errors) {
  const job = new Job(wanted, []);
  const refused = new Set();
  for (const [id, { errors: [error] = [] }] of Object.entries(errors ?? {})) {
    const own = error?.type === "custom_validation_failed"; // a sentence behind the name of the input
    const { message = "", details = "" } = error ?? {};
    const why = own ? details.replace(/^\w+ - /, "") : [message, details].filter(Boolean).join(": ");
    if (!error) continue;
    refused.add(id);
    run.fail(job, id, sentence(why));
  }
  return refused;
}

// What the server says

/** @type {Record<string, (known: Known, detail: any) => void>} */
const NOTES = {
  execution_start: ({ run, job }) => run.start(job),
  execution_cached({ run, job }, { nodes }) {
    for (const id of nodes ?? []) run.finish(job, id);
  },
  progress_state: ({ run, job }, { nodes }) => run.progress(job, nodes ?? {}),
  executed({ run, job }, { node, display_node, output }) {
    const images = picturesOf(output ?? {});
    if (output?.seeds) return run.offer(job, display_node || node, images, output.seeds);
    const image = images.find((one) => one.filename);
    const id = display_node || node;
    if (image) run.show(job, id, image, String(id) === String(node));
  },
  execution_success: ({ run, job }) => run.end(job, true),
  execution_interrupted: ({ run, job }) => run.end(job, false),
  execution_error({ run, job }, { node_id, exception_message }) {
    if (node_id != null) run.fail(job, node_id, sentence(String(exception_message ?? "")));
    run.end(job, false);
  },
};

/**
 * Take the first line of what went wrong.
 * @param {string} words
 */
const sentence = (words) => words.trim().split("\n", 1)[0] ?? "";

/**
 * Take a message of the server.
 * @param {string} kind
 * @param {any} detail
 */
function hear(kind, detail) {
  const id = String(detail.prompt_id ?? "");
  if (sending && !jobs.has(id)) return void early.push([kind, detail]);
  const known = jobs.get(id) ?? adopted(id, kind);
  if (!known) return;
  NOTES[kind]?.(known, detail);
  if (!known.run.jobs.has(known.job)) {
    jobs.delete(id);
    keep();
  }
  tell(kind);
}

/**
 * Take up a job from before the page was loaded anew, or one that was not queued here, which counts as of the
 * workflow that is shown.
 * @param {string} id
 * @param {string} kind
 * @returns {Known | null}
 */
function adopted(id, kind) {
  const kept = awaited.get(id);
  awaited.delete(id);
  if (kind === "execution_success" || kind === "execution_interrupted") return null;
  const known = kept ?? { job: new Job(wantedNow(), []), run: shownRun(), workflow: activeWorkflow() };
  jobs.set(id, known);
  known.run.queue(known.job);
  return known;
}

/** Read what `keep` wrote before the page was loaded anew. */
function restore() {
  /**
   * @type {Record<string, { path: string, wanted: [string, Wanted][], waiting: string[],
   *   choices?: [number, Wanted][] }>}
   */
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
  for (const [id, { path, wanted, waiting, choices }] of Object.entries(kept)) {
    const run = restored.get(path) ?? new RunState();
    const job = new Job(new Map(wanted), waiting);
    job.choices = new Map(choices);
    restored.set(path, run);
    awaited.set(id, { job, run, workflow: { path } });
  }
}

try {
  restore();
} catch {
  // it cannot be read: what those jobs make counts as of the graph as it is then
}

function keep() {
  const all = [...awaited, ...jobs].map(([id, { job, workflow }]) => [
    id,
    {
      path: workflow?.path ?? "",
      wanted: [...job.wanted],
      waiting: [...job.waiting],
      choices: [...job.choices],
    },
  ]);
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(Object.fromEntries(all)));
  } catch {
    // there is no room for them: after loading the page anew, what they make counts as of the graph as it is then
  }
}

addEventListener("pagehide", keep); // by then a workflow may have another name

/**
 * End jobs that are not queued any more, though no message says so: they were taken out of the queue, or the
 * server began anew.
 * @param {boolean} begun whether those that run are looked at too, whose end a message tells
 */
async function lookForLost(begun) {
  const asked = [...awaited, ...[...jobs].filter(([, { job }]) => begun || !job.begun)];
  if (!asked.length) return;
  const answer = await app.api.fetchApi("/queue").catch(() => null);
  if (!answer?.ok) return;
  const queue = await answer.json();
  const there = new Set([...queue.queue_running, ...queue.queue_pending].map((one) => String(one[1])));
  const lost = asked.filter(([id, known]) => !there.has(id) && (jobs.get(id) ?? awaited.get(id)) === known);
  for (const [id, { job, run }] of lost) {
    run.end(job, false);
    jobs.delete(id);
    awaited.delete(id);
  }
  if (!lost.length) return;
  keep();
  tell("ended");
}

// What the page shows of it

/**
 * The page hands each result to the node of that number in the graph that it shows, also where that is
 * another workflow.
 * @type {{ key: string, output: unknown } | null}
 */
let displaced = null;

/**
 * Note, before the page does, that a result is of another workflow, or is several to choose from: what the node
 * shows stays.
 * @param {any} detail of the message executed
 */
function expect({ prompt_id, node, display_node, output }) {
  foreign = isForeignJob(prompt_id) || Boolean(output?.seeds);
  if (!foreign) return;
  const id = String(display_node || node);
  for (const place of everyPlace())
    if (idOf(place) === id) displaced = { key: resultsKey(place.node), output: resultsOf(place.node) };
}

/** Put back, behind the page, the result that it displaced. */
function putBack() {
  foreign = false;
  if (!displaced) return;
  const { key, output } = displaced;
  displaced = null;
  setResults(key, output);
}

for (const kind of MESSAGES)
  app.api.addEventListener(
    /** @type {any} */ (kind),
    ({ detail }) => {
      if (kind === "executed") expect(detail ?? {});
      hear(kind, detail ?? {});
    },
    true, // before the page's own
  );

app.registerExtension({
  name: "Kontext.RunWatch",
  setup() {
    app.api.addEventListener("executed", putBack);
    app.api.addEventListener("status", () => lookForLost(false));
    app.api.addEventListener("reconnected", () => lookForLost(true));
    app.api.addEventListener("graphCleared", () => {
      shownRun().clear();
      tell("ended");
    });
  },
});
