// Curves of similarity over the layers, as SVG.
"use strict";

const CURVES = { top: 12, height: 190, bottom: 36, left: 40, right: 64 };
const MARK = 4.5;

/** Draws a run's line, a dot for each layer that kept its video and a cross for each that dropped it. */
function curve(layers, run, x, y) {
  const look = run % LOOKS;
  // A second round of looks has hollow dots.
  const dot = `dot fill-${look} line-${look}${run < LOOKS ? "" : " second"}`;
  const known = layers.filter(({ similarity }) => similarity !== null);
  const marks = known.map(({ layer, similarity, dropped }) => {
    const [cx, cy] = [x(layer), y(similarity)];
    if (!dropped) return svg("circle", { cx, cy, r: MARK - 1, class: dot });
    const [side, back] = [2 * MARK, -2 * MARK];
    const d = `M${cx - MARK} ${cy - MARK} l${side} ${side} m0 ${back} l${back} ${side}`;
    return svg("path", { d, class: `cross line-${look}` });
  });
  const points = known.map(({ layer, similarity }) => `${x(layer)},${y(similarity)}`).join(" ");
  return svg("g", {}, svg("polyline", { points, class: `curve line-${look}` }), ...marks);
}

/** Draws the similarity of each layer of each run, and M. */
function drawLayers(host, runs) {
  const width = Math.max(host.clientWidth, LEAST_WIDTH);
  const all = runs.flatMap((run) => run.layers);
  const many = Math.max(...all.map(({ layer }) => layer)) + 1;
  const lowest = Math.floor(Math.min(0, ...all.map(({ similarity }) => similarity ?? 0)) * 10) / 10;
  const bottom = CURVES.top + CURVES.height;
  const end = width - CURVES.right;
  const x = (layer) => CURVES.left + ((layer + 0.5) * (end - CURVES.left)) / many;
  const y = (value) => bottom - (CURVES.height * (value - lowest)) / (1 - lowest);
  const line = (value, kind, label, at, anchor) => [
    svg("line", { x1: CURVES.left, x2: end, y1: y(value), y2: y(value), class: kind }),
    svg("text", { x: at, y: y(value) + 4, "text-anchor": anchor }, label),
  ];
  const levels = [-1, -0.5, 0, 0.5, 1].filter((value) => value >= lowest);
  const thresholds = [...new Set(runs.filter((run) => run.layers.length).map((run) => run.memoryThreshold))];
  const numbers = ticks(many, Math.floor((end - CURVES.left) / TICK)).map((layer) => {
    return svg("text", { x: x(layer), y: bottom + 16, "text-anchor": "middle" }, String(layer));
  });
  const middle = CURVES.left + (end - CURVES.left) / 2;
  const picture = svg(
    "svg",
    { width, height: bottom + CURVES.bottom, "aria-hidden": "true" },
    ...levels.flatMap((value) => line(value, "grid", String(value), CURVES.left - 6, "end")),
    ...thresholds.flatMap((value) => line(value, "threshold", `M = ${value}`, end + 6, "start")),
    ...runs.map((run, i) => curve(run.layers, i, x, y)),
    ...numbers,
    svg("text", { x: middle, y: bottom + 33, "text-anchor": "middle" }, "decoder layer"),
  );
  host.replaceChildren(picture);
}
