// @ts-check
/** The outline of an area as SVG, from its vectors, to lie on a small picture. */

import { isArea } from "./format.js";
import { isFilled, segmentsOf, strokeOf } from "./geometry.js";

/** @typedef {import("../lib/results.js").DrawnUpon} DrawnUpon */
/** @typedef {import("./format.js").Mark} Mark */
/** @typedef {import("./geometry.js").Size} Size */

const SPACE = "http://www.w3.org/2000/svg";
const LINE = 1 / 40; // of the picture's shorter side
const COLOUR = "#0a84ff";
let count = 0; // names in a page are its own

/**
 * Make an element of a drawing.
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {SVGElement[]} children
 */
function make(name, attributes, ...children) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/**
 * Write the shape of an area as a path.
 * @param {Mark} area
 * @param {Size} size
 */
export function pathOf(area, size) {
  const pieces = segmentsOf(area, size);
  const [first] = pieces;
  if (!first) return "";
  const places = [first[0], ...pieces.map(([, end]) => end)];
  return `M${places.map((place) => place.map((part) => Number(part.toFixed(2))).join(" ")).join("L")}`;
}

/**
 * Write how a picture lies in another one that shows a part of it, perhaps in another shape.
 * @param {DrawnUpon} drawnUpon
 * @param {Size} size of the other one
 */
export function placeIn({ size: [height, width], part: [top, left, high, wide] }, size) {
  const [across, down] = [size.width / (wide * width), size.height / (high * height)];
  return `scale(${across} ${down}) translate(${-left * width} ${-top * height})`;
}

/**
 * Draw the outline of all areas; null where there are none.
 * @param {readonly Mark[]} marks
 * @param {Size} size of the picture, which covers its place as `object-fit: cover` has it
 * @param {DrawnUpon} [drawnUpon] the picture that they were drawn upon, where this one shows it otherwise
 * @returns {SVGElement | null}
 */
export function outlineOf(marks, size, drawnUpon) {
  const areas = marks.filter(isArea);
  if (!areas.length) return null;
  const own = drawnUpon ? { width: drawnUpon.size[1], height: drawnUpon.size[0] } : size;
  /** @type {Record<string, string>} */
  const place = drawnUpon ? { transform: placeIn(drawnUpon, size) } : {};
  const [inside, ring] = [`kontext-area-${++count}`, `kontext-ring-${count}`];
  const shapes = areas.map((area) => {
    const colour = area.erase ? "#000" : "#fff";
    /** @type {Record<string, string | number>} */
    const looks = isFilled(area)
      ? { fill: colour }
      : {
          fill: "none",
          stroke: colour,
          "stroke-width": strokeOf(area, own),
          "stroke-linecap": "round",
          "stroke-linejoin": "round",
        };
    return make("path", { d: pathOf(area, own), ...looks, ...place });
  });
  const whole = { x: 0, y: 0, width: size.width, height: size.height };
  const line = LINE * Math.min(size.width, size.height);
  return make(
    "svg",
    {
      class: "kontext-area",
      viewBox: `0 0 ${size.width} ${size.height}`,
      preserveAspectRatio: "xMidYMid slice",
      "aria-hidden": "true",
    },
    make("mask", { id: inside, maskUnits: "userSpaceOnUse", ...whole }, ...shapes),
    make(
      "filter",
      { id: ring, filterUnits: "userSpaceOnUse", ...whole },
      make("feMorphology", { in: "SourceGraphic", operator: "erode", radius: line, result: "core" }),
      make("feComposite", { in: "SourceGraphic", in2: "core", operator: "out" }),
    ),
    make("g", { filter: `url(#${ring})` }, make("rect", { ...whole, fill: COLOUR, mask: `url(#${inside})` })),
  );
}
