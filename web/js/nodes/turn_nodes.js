// @ts-check
/**
 * Nodes of this pack as they come and go: seeds stay as they are until someone changes them, and a chain
 * closes where a turn is removed.
 */

import { app } from "../../../../scripts/app.js";
import { fromWall, inputOf, isOurs, isWired, nodeIn, outputOf, rootGraph, widgetOf } from "../lib/graph.js";
import { resultsKey, resultsOf, setResults } from "../lib/results.js";
import { everyPlace, idOf } from "../lib/wires.js";
import { shownRun } from "../run/watch.js";

const INPUT = 1; // of LiteGraph's sides of a node
/**
 * Turns, with the inputs that what came before them comes by, and the types of the outputs that go on.
 * @type {Record<string, { inputs: string[], outputs: string[] }>}
 */
const CLOSES = {
  KontextTurn: { inputs: ["chain", "image"], outputs: ["KONTEXT_CHAIN"] },
  KontextScript: { inputs: ["chain", "image"], outputs: ["KONTEXT_CHAIN"] },
  KontextPickTurn: { inputs: ["chain"], outputs: ["KONTEXT_CHAIN"] },
  KontextEdit: { inputs: ["latent", "image"], outputs: ["LATENT", "IMAGE"] },
};

/** @typedef {{ origin_id: unknown, origin_slot: number, target_id: unknown, target_slot: number }} Link */
/** @typedef {import("../lib/graph.js").Graph} Graph */

/** A subgraph is being made of nodes: they are not removed, but move into it. */
let moving = false;

/**
 * Set a node to keep its seed.
 * Another seed is what Re-roll is for: with ComfyUI's usual "randomize" each run would make all turns anew.
 * @param {Page.Node} node
 */
function keepSeed(node) {
  const control = widgetOf(node, "control_after_generate");
  if (control && control.value !== "fixed") control.value = "fixed";
}

/**
 * Forget the results of another node that had the same number.
 * @param {Page.Node} node
 */
function beginNew(node) {
  for (const place of everyPlace()) if (place.node === node) shownRun().forget(idOf(place));
  if (resultsOf(node)) setResults(resultsKey(node));
}

/**
 * Watch how a node comes into a graph.
 * @param {Page.Node} node
 */
function watchNew(node) {
  const { onAdded, onConfigure } = node;
  node.onAdded = function (...graph) {
    if (!app.configuringGraph) beginNew(node);
    return onAdded?.apply(this, graph);
  };
  node.onConfigure = function (...given) {
    const copied = !(Number(given[0]?.id) >= 0); // the clipboard's have no number yet
    if (copied) keepSeed(node);
    return onConfigure?.apply(this, given);
  };
}

/**
 * Let a turn that is removed hand on what came before it.
 * @param {Page.Node} node
 * @param {{ inputs: string[], outputs: string[] }} how
 */
function closeBehind(node, how) {
  /**
   * What was wired to it, until the present task ends: it is unwired before it is removed.
   * @type {{ side: number, slot: number, link: Link }[]}
   */
  let lost = [];
  const { onConnectionsChange, onRemoved } = node;
  node.onConnectionsChange = function (...change) {
    const [side, slot, connected, link] = change;
    if (!connected && link) {
      if (!lost.length)
        queueMicrotask(() => {
          lost = [];
        });
      const { origin_id, origin_slot, target_id, target_slot } = link;
      lost.push({ side: Number(side), slot, link: { origin_id, origin_slot, target_id, target_slot } });
    }
    return onConnectionsChange?.apply(this, change);
  };
  node.onRemoved = function () {
    const graph = /** @type {Graph | null} */ (this.graph);
    if (graph && !moving && !app.configuringGraph) close(graph, node, lost, how);
    return onRemoved?.call(this);
  };
}

/**
 * Wire what a removed turn fed to what came before it.
 * @param {Graph} graph
 * @param {Page.Node} node
 * @param {{ side: number, slot: number, link: Link }[]} lost
 * @param {{ inputs: string[], outputs: string[] }} how
 */
function close(graph, node, lost, how) {
  const before = how.inputs.flatMap((name) =>
    lost
      .filter(({ side, slot }) => side === INPUT && slot === inputOf(node, name))
      .map(({ link }) => link)
      .reverse(),
  );
  const source = before.find((link) => originIn(graph, link));
  if (!source) return;
  const slots = how.outputs.map((type) => outputOf(node, type));
  for (const { side, slot, link } of lost)
    if (side !== INPUT && slots.includes(slot) && !onlyShows(graph, node, slot, link))
      rewire(graph, source, link);
}

/**
 * Tell whether a wire leads a picture to what shows or saves that one alone, and is no turn.
 * @param {Graph} graph
 * @param {Page.Node} node where it began
 * @param {number} slot of its outputs
 * @param {Link} link
 */
function onlyShows(graph, node, slot, { target_id }) {
  const target = nodeIn(graph, target_id);
  return node.outputs[slot]?.type === "IMAGE" && !(target && CLOSES[String(target.type)]);
}

/**
 * Tell whether what a wire began at is still there.
 * @param {Graph} graph
 * @param {Link} link
 */
const originIn = (graph, link) => fromWall(link, graph) || nodeIn(graph, link.origin_id) !== null;

/**
 * Wire where a link began to where another ended; a picture goes where turns take one.
 * @param {Graph} graph
 * @param {Link} from
 * @param {Link} to
 */
function rewire(graph, from, to) {
  const target = nodeIn(graph, to.target_id);
  const wall = graph.inputNode?.slots[from.origin_slot];
  const inside = fromWall(from, graph);
  const origin = inside ? null : nodeIn(graph, from.origin_id);
  const alike =
    origin && isOurs(origin) && target ? outputOf(origin, String(target.inputs[to.target_slot]?.type)) : -1;
  const start = alike < 0 ? from.origin_slot : alike; // an edit hands on its result in two ways
  const output = origin?.outputs[start];
  const type = String(inside ? wall?.type : output?.type);
  if (!target) {
    const out = graph.outputNode?.slots[to.target_slot];
    if (origin && output && out && String(to.target_id) === String(graph.outputNode?.id) && out.type === type)
      out.connect(output, origin);
    return;
  }
  const asked = target.inputs[to.target_slot];
  const slot = !asked || [type, "*"].includes(String(asked.type)) ? to.target_slot : inputOf(target, "image");
  const input = target.inputs[slot];
  const free = ["chain", "latent", "image"].every((name) => !isWired(target, name));
  if (!input || ![type, "*"].includes(String(input.type)) || target.isInputConnected(slot)) return;
  if (slot !== to.target_slot && !free) return;
  if (origin) origin.connect(start, target, slot);
  else wall?.connect(input, target);
}

app.registerExtension({
  name: "Kontext.TurnNodes",
  setup() {
    const plain = /** @type {{ convertToSubgraph(...items: unknown[]): unknown }} */ (
      rootGraph().constructor.prototype // no event is sent before the nodes are gone
    );
    const { convertToSubgraph } = plain;
    plain.convertToSubgraph = function (...items) {
      moving = true;
      try {
        return convertToSubgraph.apply(this, items);
      } finally {
        moving = false;
      }
    };
  },
  /**
   * Watch a new node of this pack.
   * @param {Page.Node} node
   */
  nodeCreated(node) {
    if (!isOurs(node)) return;
    keepSeed(node);
    watchNew(node);
    const how = CLOSES[String(node.comfyClass)];
    if (how) closeBehind(node, how);
  },
});
