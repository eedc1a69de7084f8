// @ts-check
/**
 * Draws the plan of a stack of references: planes and boxes as SVG in the theme's colours, numbers as text
 * below.
 */

import { t } from "../lib/translate.js";
import { inWords, planesOf } from "./geometry.js";

/** @typedef {import("./geometry.js").Plan} Plan */
/** @typedef {import("./geometry.js").Plane} Plane */
/** @typedef {import("./geometry.js").Placed} Placed */

const WIDTH = 360;
const HEIGHT = 124;
const MARGIN = 4;
const LETTER = 5.5; // a letter's usual width
const LINE = 13;
const CENTRED = { "text-anchor": "middle", "dominant-baseline": "central" };
const RESULT = "var(--p-primary-color, #60a5fa)";

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
 * Draw a picture as a box.
 * @param {Placed} box
 * @param {string} called
 */
function drawBox(box, called) {
  const { number, picture, x, y, width, height } = box;
  const result = number === 0;
  const group = svg("g", {
    "data-number": number,
    "data-tokens": picture.tokens,
    "data-known": String(picture.known),
  });
  const colour = result ? RESULT : "currentColor";
  const dashes = picture.known ? (picture.region ? "1 2" : "none") : "5 3";
  const side = { x, y, width: Math.max(width, 1), height: Math.max(height, 1), rx: 2 };
  group.append(
    svg("rect", {
      ...side,
      fill: colour,
      "fill-opacity": result ? 0.25 : 0.1,
      stroke: colour,
      "stroke-opacity": result ? 1 : 0.7,
      "stroke-dasharray": dashes,
    }),
  );
  const name = `${result ? "★" : number}${picture.known ? "" : " ?"}`;
  const lines = [name];
  if (height >= 28 && width >= 30) {
    lines.push(counted(picture));
    if (called && height >= 42) lines.splice(1, 0, fitting(called, width));
  }
  if (height >= 10 && width >= 8)
    lines.forEach((text, i) => {
      const high = y + height / 2 + LINE * (i - (lines.length - 1) / 2);
      const weight = i ? "normal" : "bold";
      group.append(label(text, x + width / 2, high, { ...CENTRED, "font-weight": weight }));
    });
  if (called) group.append(svg("title", {}, called));
  return group;
}

/**
 * Draw a plane with its pictures.
 * @param {Plane} plane
 * @param {string[]} names of the references
 */
function drawPlane({ index, x, y, width, height, boxes }, names) {
  const frame = { x: x - 3, y: y - 2, width: width + 6, height: height + 4, rx: 3 };
  return svg(
    "g",
    { "data-plane": index },
    svg("rect", { ...frame, fill: "none", stroke: "currentColor", "stroke-opacity": 0.3 }),
    label(String(index), x - 2, y - 4, { "font-size": 8, "fill-opacity": 0.7 }),
    ...boxes.map((box) => drawBox(box, names[box.number - 1] ?? "")),
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
 */
export function costOf(plan) {
  const said = [
    t("time ×{factor}", { factor: plan.time_factor.toFixed(plan.time_factor < 10 ? 1 : 0) }),
    t("memory {size} + weights", { size: inWords(plan.memory) }),
    t("layout {name}", { name: plan.layout }),
  ];
  plan.references.forEach((one, i) => {
    if (!one) said.push(t("{number} is left out", { number: i + 1 }));
  });
  if (plan.published) said.push(t("for the published model"));
  return said.join(" · ");
}

/**
 * Draw a plan as a picture and two lines.
 * @param {Plan} plan
 * @param {string[]} [names] of the references
 * @returns {Element[]}
 */
export function drawingOf(plan, names = []) {
  const planes = planesOf(plan, WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN);
  const inside = svg(
    "g",
    { transform: `translate(${MARGIN} ${MARGIN})` },
    ...planes.map((plane) => drawPlane(plane, names)),
  );
  const sum = sumOf(plan);
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": sum }, inside);
  picture.style.cssText = "flex: 1 1 0; min-height: 0; width: 100%; font-family: inherit";
  return [picture, line(sum), line(costOf(plan))];
}

/**
 * Make a line of text below the picture.
 * @param {string} text
 */
export function line(text) {
  const made = document.createElement("div");
  made.textContent = text;
  return made;
}
