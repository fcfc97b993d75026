// Bars per frame, as SVG.
"use strict";

const MARGIN = { left: 40, right: 12 };
const PANEL = { title: 18, height: 64, gap: 14 };
const AXIS = 20;
const WIDEST_BAR = 40;
// Of a page that is not laid out yet, or narrower than any screen.
const LEAST_WIDTH = 160;
// Room that the label of a tick needs.
const TICK = 34;
// The scale of r ends no lower, so that rounding does not look like motion.
const LEAST_TOP = 0.01;
// Above the bars, where cuts are marked.
const CUTS = 12;
// Looks that the style sheet has for runs; the next run begins again.
const LOOKS = 6;

/** Makes an SVG element. */
function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Rounds up to 1, 2, 2.5 or 5 times a power of ten, at most `most`. */
function roundedUp(value, most) {
  const power = 10 ** Math.floor(Math.log10(value || most));
  const top = [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * (1 - 1e-9));
  return Math.min(top, most);
}

/** Returns numbers from 0 below `many`, evenly apart, that fit `room` labels. */
function ticks(many, room) {
  const least = Math.max(1, many / Math.max(room, 1));
  const power = 10 ** Math.floor(Math.log10(least));
  const step = Math.max(1, [1, 2, 5, 10].map((times) => times * power).find((size) => size >= least));
  return Array.from({ length: Math.ceil(many / step) }, (_, i) => i * step);
}

/** Draws one row of bars with its title, its largest value and the cuts. */
function panel({ title, values, top, colour }, cuts, y, slot) {
  const bottom = y + PANEL.title + PANEL.height;
  const width = Math.min(WIDEST_BAR, Math.max(slot * 0.8, slot - 4));
  const bars = Array.from(values, (value, t) => {
    const height = (PANEL.height * value) / top;
    const x = MARGIN.left + t * slot + (slot - width) / 2;
    return svg("rect", { x, y: bottom - height, width, height, class: `fill-${colour}` });
  });
  const [left, right, ceiling] = [MARGIN.left, MARGIN.left + values.length * slot, bottom - PANEL.height];
  const lines = cuts.map((t) => {
    const x = left + t * slot;
    return svg("line", { x1: x, x2: x, y1: ceiling, y2: bottom, class: "cut" });
  });
  return svg(
    "g",
    {},
    svg("text", { x: left, y: y + 11, class: "title" }, title),
    svg("line", { x1: left, x2: right, y1: ceiling, y2: ceiling, class: "grid" }),
    svg("line", { x1: left, x2: right, y1: bottom, y2: bottom, class: "axis" }),
    svg("text", { x: left - 6, y: ceiling + 4, "text-anchor": "end" }, String(top)),
    svg("text", { x: left - 6, y: bottom + 1, "text-anchor": "end" }, "0"),
    ...lines,
    ...bars,
  );
}

/** Returns what the rows of bars show: r, patches encoded where that was chosen, and what each view keeps. */
function barRows({ scores, f, encoded }, views) {
  const title = "r, the share of a frame that its motion asks for";
  const highest = roundedUp(Math.max(LEAST_TOP, ...scores.ratios), 1);
  const most = roundedUp(Math.max(...views.flatMap((view) => [...view.counts])), f);
  const kept = views.map(({ name, counts }, i) => {
    const whose = views.length > 1 ? `${name}: ` : "";
    return { title: `${whose}kept tokens of ${f}`, values: counts, top: most, colour: i % LOOKS };
  });
  const patches = encoded
    ? [{ title: `patches encoded of ${encoded.f}`, values: encoded.counts, top: encoded.f, colour: "ratio" }]
    : [];
  return [{ title, values: scores.ratios, top: highest, colour: "ratio" }, ...patches, ...kept];
}

/** Draws the bars of all frames, where a click goes to one; returns what marks the current one. */
function drawBars(host, record, views, go) {
  const { n, cuts, sourceFrames } = record;
  const width = Math.max(host.clientWidth, LEAST_WIDTH);
  const slot = (width - MARGIN.left - MARGIN.right) / n;
  const rows = barRows(record, views);
  const step = PANEL.title + PANEL.height + PANEL.gap;
  const first = cuts.length ? CUTS : 0;
  const bottom = first + rows.length * step - PANEL.gap;
  const edge = (t) => MARGIN.left + t * slot;
  const now = svg("rect", { y: 0, width: Math.max(slot, 2), height: bottom, class: "now" });
  const marks = cuts.map((t) => svg("path", { d: `M${edge(t) - 5} 0 h10 l-5 8 z`, class: "mark" }));
  const numbers = ticks(n, Math.floor((n * slot) / TICK)).map((t) => {
    const place = { x: edge(t + 0.5), y: bottom + 15, "text-anchor": "middle" };
    return svg("text", place, String(t * sourceFrames + 1));
  });
  const panels = rows.map((row, i) => panel(row, cuts, first + i * step, slot));
  const size = { width, height: bottom + AXIS, "aria-hidden": "true" };
  const picture = svg("svg", size, now, ...marks, ...panels, ...numbers);
  picture.addEventListener("click", (event) => {
    const x = event.clientX - picture.getBoundingClientRect().left - MARGIN.left;
    if (x >= 0 && x < n * slot) go(Math.floor(x / slot));
  });
  host.replaceChildren(picture);
  return (t) => now.setAttribute("x", edge(t) + Math.min(0, (slot - 2) / 2));
}
