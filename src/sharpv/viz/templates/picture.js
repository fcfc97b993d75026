// Frames on canvases, with what was kept or how the tokens score.
"use strict";

// Viridis, which the colour-blind can read, and which grows lighter from end to end.
const RAMP = [
  "#440154", "#482878", "#3e4989", "#31688e", "#26828e",
  "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725",
];
const CANVAS_SIDE = 640;
// From this scale on pixels are shown as squares, rather than as a blur.
const SHARP_SCALE = 4;
const DIM = "rgb(0 0 0 / 0.62)";
// Under a heat map the picture is grey and pale, so that it does not pass for a score.
const PALE = "rgb(128 128 128 / 0.45)";
const HEAT_ALPHA = 0.74;
// Unlike what was dropped, what was not encoded grows light.
const REUSED = "rgb(255 255 255 / 0.6)";

/** Returns a function from [0, 1] to a colour of the ramp, as it lies over the picture. */
function rampColour() {
  const stops = RAMP.map((colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)));
  return (share) => {
    const place = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
    const low = Math.min(Math.floor(place), stops.length - 2);
    const mixed = stops[low].map((value, i) => value + (place - low) * (stops[low + 1][i] - value));
    return `rgb(${mixed.map(Math.round).join(" ")} / ${HEAT_ALPHA})`;
  };
}

/** Returns the legend of the ramp as a CSS background: over grey, as over a mean picture. */
function rampBackground() {
  const colours = RAMP.map((_, i) => rampColour()(i / (RAMP.length - 1)));
  return `linear-gradient(to right, ${colours.join(", ")}), #808080`;
}

/**
 * Returns where things lie on the canvas, in its pixels: the frame, the window, the edges of the token cells.
 * The canvas holds the whole frame and the whole window, so that tokens on padding can be seen.
 */
function geometry({ grid, window }, width, height) {
  const scale = Math.max(1, Math.ceil(CANVAS_SIDE / Math.max(width, height)));
  const [top, left, bottom, right] = window ?? [0, 0, 1, 1];
  const [x0, y0] = [Math.min(0, left), Math.min(0, top)];
  const x = (share) => Math.round((share - x0) * width * scale);
  const y = (share) => Math.round((share - y0) * height * scale);
  const edges = (parts, from, to, place) => {
    return Array.from({ length: parts + 1 }, (_, i) => place(from + ((to - from) * i) / parts));
  };
  const known = grid !== null && window !== null;
  return {
    scale,
    width: x(Math.max(1, right)),
    height: y(Math.max(1, bottom)),
    frame: [x(0), y(0), x(1) - x(0), y(1) - y(0)],
    window: [x(left), y(top), x(right) - x(left), y(bottom) - y(top)],
    columns: known ? edges(grid[1], left, right, x) : null,
    rows: known ? edges(grid[0], top, bottom, y) : null,
  };
}

/** Returns the rectangle of cell i as [x, y, width, height]. */
function cell({ columns, rows }, i) {
  const across = columns.length - 1;
  const [row, column] = [Math.floor(i / across), i % across];
  return [columns[column], rows[row], columns[column + 1] - columns[column], rows[row + 1] - rows[row]];
}

/** Draws the frame as it is, on grey where it does not reach. */
function drawPicture(context, image, place) {
  const { canvas } = context;
  [canvas.width, canvas.height] = [place.width, place.height];
  canvas.style.setProperty("--shape", place.width / place.height);
  context.fillStyle = "#8a8a8a";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = place.scale < SHARP_SCALE;
  context.imageSmoothingQuality = "high";
  context.drawImage(image, ...place.frame);
}

/** Takes the colour out of a path, and lays another over it. */
function grey(context, path, over) {
  context.globalCompositeOperation = "saturation";
  context.fillStyle = "#808080";
  context.fill(path, "evenodd");
  context.globalCompositeOperation = "source-over";
  context.fillStyle = over;
  context.fill(path, "evenodd");
}

/** Takes the colour out of the cells that a mask leaves out, and lays another over them. */
function drawOthers(context, place, mask, over) {
  const others = new Path2D();
  mask.forEach((marked, i) => marked || others.rect(...cell(place, i)));
  grey(context, others, over);
}

/** Colours each cell by its share of the largest value. */
function drawHeat(context, place, shares) {
  const all = new Path2D();
  all.rect(...place.window);
  grey(context, all, PALE);
  const colour = rampColour();
  shares.forEach((share, i) => {
    context.fillStyle = colour(share);
    context.fillRect(...cell(place, i));
  });
}

/** Outlines what was kept, or encoded, so that it shows on dark pictures and on heat maps, too. */
function drawOutline(context, place, kept) {
  const across = place.columns.length - 1;
  const outline = new Path2D();
  const line = (x0, y0, x1, y1) => {
    outline.moveTo(x0, y0);
    outline.lineTo(x1, y1);
  };
  kept.forEach((token, i) => {
    if (!token) return;
    const [x, y, width, height] = cell(place, i);
    const column = i % across;
    if (!kept[i - across]) line(x, y, x + width, y);
    if (!kept[i + across]) line(x, y + height, x + width, y + height);
    if (column === 0 || !kept[i - 1]) line(x, y, x, y + height);
    if (column === across - 1 || !kept[i + 1]) line(x + width, y, x + width, y + height);
  });
  context.lineCap = "square";
  for (const [width, colour] of [[3, "rgb(0 0 0 / 0.7)"], [1, "#ffffff"]]) {
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke(outline);
  }
}

/** Veils and hatches the part of the frame that lies outside the window: no token sees it. */
function drawUnseen(context, place) {
  const outside = new Path2D();
  outside.rect(0, 0, place.width, place.height);
  outside.rect(...place.window);
  context.save();
  context.clip(outside, "evenodd");
  grey(context, outside, DIM);
  context.strokeStyle = "rgb(255 255 255 / 0.5)";
  context.lineWidth = 1;
  context.beginPath();
  for (let x = -place.height; x < place.width; x += 9) {
    context.moveTo(x, place.height);
    context.lineTo(x + place.height, 0);
  }
  context.stroke();
  context.restore();
}

/**
 * Draws one frame.
 * @param cells grid: rows and columns of the cells; window: what they cover.
 * @param layers mask: 0 and 1 per cell; over: the colour over those left out; shares: per cell, in [0, 1], for
 *   a heat map instead. A null mask leaves the frame as it is.
 */
function drawFrame(canvas, image, cells, { mask, over, shares }) {
  const place = geometry(cells, image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d");
  drawPicture(context, image, place);
  if (place.columns === null || mask === null) return;
  if (shares) drawHeat(context, place, shares);
  else drawOthers(context, place, mask, over);
  drawOutline(context, place, mask);
  drawUnseen(context, place);
}
