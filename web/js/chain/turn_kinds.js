// @ts-check
/** Which nodes are turns, and which go on with a chain. */

import { outputOf } from "../lib/graph.js";

export const TURN = "KontextTurn";
export const EDIT = "KontextEdit";
export const SAVE = "KontextSaveChain";
export const SHEET = "KontextChainSheet";
export const MAKES_TURNS = [TURN, "KontextScript"];
/** Nodes at the end of a line, where all of it is seen. */
export const AT_THE_END = [SAVE, SHEET];

/**
 * Find the output that a chain comes out of; -1 if none does.
 * @param {Page.Node} node
 */
export const chainOutput = (node) => outputOf(node, "KONTEXT_CHAIN");

/**
 * Tell whether a chain comes out of a node.
 * @param {Page.Node} node
 */
export const hasChain = (node) => chainOutput(node) >= 0;

/**
 * Tell whether more turns can go on from a node: it hands on a chain, or is an edit whose result the next one
 * takes. While a node is made it has its class, and no type yet.
 * @param {Page.Node} node
 */
export const isTurn = (node) => hasChain(node) || [node.type, node.comfyClass].includes(EDIT);
