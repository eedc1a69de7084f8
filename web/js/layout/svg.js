// @ts-check
/**
 * Draws the plan of a stack of references: planes and boxes as SVG in the theme's colours, with thumbnails;
 * and puts its numbers into words.
 */

import { t } from "../lib/translate.js";
import { inWords, planesOf } from "./geometry.js";

/** @typedef {import("./geometry.js").Plan} Plan */
/** @typedef {import("./geometry.js").Plane} Plane */
/** @typedef {import("./geometry.js").Placed} Placed */
/** @typedef {Pick<import("./stack.js").Tile, "name" | "picture" | "fit">} Tile */

const WIDTH = 330;
const HEIGHT = 124;
const MARGIN = 4;
const LETTER = 5.5; // a letter's usual width
const LINE = 13;
const CENTRED = { "text-anchor": "middle", "dominant-baseline": "central" };
const RESULT = "var(--p-primary-color, #60a5fa)";
/** @type {Tile} */
const NO_TILE = { name: "", picture: "", fit: "crop" };

/**
 * Make an element of SVG.
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {(Node | string)[]} inside
 */
function svg(name, attributes, ...inside) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.append(...inside);
  return made;
}

/**
 * Make a line of text.
 * @param {string} text
 * @param {number} x
 * @param {number} y
 * @param {Record<string, string | number>} [more]
 */
const label = (text, x, y, more = {}) =>
  svg("text", { x, y, fill: "currentColor", "font-size": 10, ...more }, text);

/**
 * Write how many tokens a picture has, as far as that is known.
 * @param {{ tokens: number, known: boolean, region?: boolean }} one
 */
const counted = ({ tokens, known, region }) => `${known ? (region ? "≤ " : "") : "≈ "}${tokens}`;

/**
 * Cut a name to what a box of this width has room for.
 * @param {string} name
 * @param {number} width
 */
function fitting(name, width) {
  const most = Math.floor(width / LETTER);
  return name.length <= most ? name : `${name.slice(0, Math.max(most - 1, 0))}…`;
}

/**
 * Write what an instruction calls a picture: in every language, since the model reads the instruction.
 * @param {number} number
 */
export const calledBy = (number) => `picture ${number}`;

/** How a picture lies in its tile, by how it is fitted. @type {Record<string, string>} */
const RATIO = { pad: "xMidYMid meet", stretch: "none" };

/**
 * Draw a thumbnail that fills a box.
 * @param {Placed} box
 * @param {{ picture: string, fit: string }} tile
 */
function thumbnail({ x, y, width, height }, { picture, fit }) {
  const ratio = RATIO[fit] ?? "xMidYMid slice";
  const image = svg("image", { x, y, width, height, href: picture, preserveAspectRatio: ratio });
  image.addEventListener("error", () => image.remove()); // the file is gone: a plain tile
  return image;
}

/**
 * Place lines of text in a box: in the middle, or at its edges where there is a thumbnail.
 * @param {Placed} box
 * @param {string[]} lines
 * @param {boolean} apart
 */
function texts({ x, y, width, height }, lines, apart) {
  return lines.map((text, i) => {
    const middle = y + height / 2 + LINE * (i - (lines.length - 1) / 2);
    const edge = i ? y + height - LINE * (lines.length - i - 0.5) : y + LINE * 0.65;
    const at = apart && lines.length > 1 ? edge : middle;
    return label(text, x + width / 2, at, { ...CENTRED, "font-weight": i ? "normal" : "bold" });
  });
}

/**
 * Draw a picture as a box.
 * @param {Placed} box
 * @param {Tile} [tile] of a reference
 */
function drawBox(box, tile) {
  const { number, picture, x, y, width, height } = box;
  const name = tile?.name ?? "";
  const group = svg("g", {
    "data-number": number,
    "data-tokens": picture.tokens,
    "data-known": String(picture.known),
  });
  const colour = tile ? "currentColor" : RESULT;
  const dashes = picture.known ? (picture.region ? "1 2" : "none") : "5 3";
  const side = { x, y, width: Math.max(width, 1), height: Math.max(height, 1), rx: 2 };
  group.append(svg("rect", { ...side, fill: colour, "fill-opacity": tile ? 0.1 : 0.25 }));
  if (tile?.picture) group.append(thumbnail(box, tile));
  const edge = { "stroke-opacity": tile ? 0.7 : 1, "stroke-dasharray": dashes, class: "kontext-layout-edge" };
  group.append(svg("rect", { ...side, fill: "none", stroke: colour, ...edge }));
  const called = calledBy(number);
  const short = called.length * LETTER > width ? String(number) : called;
  const lines = [`${tile ? short : "★"}${picture.known ? "" : " ?"}`];
  if (height >= 28 && width >= 30) {
    lines.push(counted(picture));
    if (name && height >= (tile?.picture ? 64 : 42)) lines.splice(1, 0, fitting(name, width));
  }
  if (height >= 10 && width >= 8) group.append(...texts(box, lines, Boolean(tile?.picture)));
  if (!tile) return group;
  const words = [called, name, t("{count} tokens", { count: counted(picture) })].filter(Boolean).join(", ");
  group.append(svg("title", {}, words));
  for (const [key, value] of Object.entries({ role: "option", "aria-label": words, tabindex: -1 }))
    group.setAttribute(key, String(value));
  return group;
}

/**
 * Draw a plane with its pictures.
 * @param {Plane} plane
 * @param {Tile[]} tiles of the references
 */
function drawPlane({ index, x, y, width, height, boxes }, tiles) {
  const frame = { x: x - 3, y: y - 2, width: width + 6, height: height + 4, rx: 3 };
  return svg(
    "g",
    { "data-plane": index, role: "presentation" },
    svg("rect", { ...frame, fill: "none", stroke: "currentColor", "stroke-opacity": 0.3 }),
    label(String(index), x - 2, y - 4, { "font-size": 8, "fill-opacity": 0.7 }),
    ...boxes.map((box) => drawBox(box, box.number ? (tiles[box.number - 1] ?? NO_TILE) : undefined)),
  );
}

/**
 * Write what each costs, and all together.
 * @param {Plan} plan
 */
export function sumOf(plan) {
  const shown = plan.references.flatMap((one, i) => (one ? [`${i + 1}: ${counted(one)}`] : []));
  const parts = [
    t("result {count}", { count: counted(plan.target) }),
    ...shown,
    t("text {count}", { count: plan.text_tokens }),
  ];
  const all = [plan.target, ...plan.references].filter((one) => one !== null);
  const total = counted({
    tokens: plan.tokens,
    known: all.every((one) => one.known),
    region: all.some((one) => one.region),
  });
  return t("{parts} = {total} tokens", { parts: parts.join(" + "), total });
}

/**
 * Write time and memory, and what they are for.
 * @param {Plan} plan
 * @param {string} [numbersOf] whose instruction has these numbers, where another has others
 */
export function costOf(plan, numbersOf = "") {
  const parts = [
    t("time ×{factor}", { factor: plan.time_factor.toFixed(plan.time_factor < 10 ? 1 : 0) }),
    t("memory {size} + weights", { size: inWords(plan.memory) }),
    t("layout {name}", { name: plan.layout }),
  ];
  plan.references.forEach((one, i) => {
    if (!one) parts.push(t("{picture} is left out", { picture: calledBy(i + 1) }));
  });
  if (numbersOf) parts.push(t("numbers for {name}", { name: numbersOf }));
  if (plan.published) parts.push(t("for the published model"));
  return parts.join(" · ");
}

/**
 * Draw a plan.
 * @param {Plan} plan
 * @param {Tile[]} [tiles] of the references
 * @returns {SVGElement}
 */
export function drawingOf(plan, tiles = []) {
  const planes = planesOf(plan, WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN);
  const inside = svg(
    "g",
    { transform: `translate(${MARGIN} ${MARGIN})`, role: "presentation" },
    ...planes.map((plane) => drawPlane(plane, tiles)),
  );
  return svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: "listbox",
      "aria-label": t("References"),
      "aria-orientation": "horizontal",
    },
    inside,
  );
}
