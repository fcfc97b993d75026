// The page: what is shown, and what happens when it is touched.
"use strict";

const STEP_MS = 400;
const PAST = "to the same place a frame before, which the first frame lacks";

const find = (name) => document.getElementById(name);
const record = readRecord(find("record").textContent);
const views = makeViews(record);
const live = views.find((view) => view.live);
const frames = record.pictures.length;
const state = { frame: 0, map: "kept", config: record.config, timer: null, moveMark: () => {} };
const images = new Map();

/** Returns the picture of a frame, decoded once it is wanted. */
function picture(frame) {
  if (!images.has(frame)) {
    const image = new Image();
    image.src = `data:image/webp;base64,${record.pictures[frame]}`;
    images.set(frame, image.decode().then(() => image));
  }
  return images.get(frame);
}

/** Returns the frame of the model that a frame of the clip belongs to. */
function stepOf(frame) {
  return Math.min(Math.floor(frame / record.sourceFrames), record.n - 1);
}

/** Returns the values of a map [n f], the name it has, and the most that it can reach. */
function heat(map) {
  const { spatial, temporal } = record.scores;
  const w = state.config.spatial_weight;
  if (map === "spatial") return { values: spatial, title: "S, to the frame's mean", most: 2 };
  if (map === "temporal") return { values: temporal, title: `T, ${PAST}`, most: 2 };
  return { values: importance(record.scores, w), title: `importance I = T + w S, w = ${w}`, most: 2 + 2 * w };
}

/** Returns a frame's part of values [n f], without the tokens that have no place in the picture. */
function placed(values, step) {
  return Array.from(values.subarray(step * record.f + record.leading, (step + 1) * record.f));
}

/** Draws the frame on each view's canvas. */
async function drawViews() {
  const { frame, map } = state;
  const image = await picture(frame);
  if (frame !== state.frame || map !== state.map) return;
  const step = stepOf(frame);
  const { values, top } = state.heat ?? {};
  const shares = values ? placed(values, step).map((value) => value / top) : null;
  document.querySelectorAll("canvas").forEach((canvas, i) => {
    if (map === "encoded") {
      const { grid, f, computed } = record.encoded;
      const mask = Array.from(computed.subarray(step * f, (step + 1) * f));
      drawFrame(canvas, image, { grid, window: record.window }, { mask, over: REUSED, shares: null });
    } else {
      const mask = map === "picture" ? null : placed(views[i].kept, step);
      drawFrame(canvas, image, record, { mask, over: DIM, shares });
    }
    const shown = map === "encoded" ? "the patches that were encoded" : `what ${views[i].name} keeps`;
    canvas.setAttribute("aria-label", `The frame, with ${shown}`);
  });
}

/** Explains the map: what dim means, or which value has which colour. */
function showLegend() {
  if (!find("maps")) return;
  const scored = ["importance", "temporal", "spatial"].includes(state.map);
  state.heat = null;
  if (scored) {
    const { values, title, most } = heat(state.map);
    const { f, leading } = record;
    const top = values.reduce((most, value, i) => (i % f < leading ? most : Math.max(most, value)), 0) || 1;
    state.heat = { values, top };
    find("heat-top").textContent = top.toFixed(2);
    const scale = "the colours end at the clip's largest";
    find("heat-title").textContent = `dissimilarity, 0 to ${most}: ${title}; ${scale}`;
  }
  find("heat-legend").hidden = !scored;
  find("kept-legend").hidden = state.map !== "kept";
  if (find("encoded-legend")) find("encoded-legend").hidden = state.map !== "encoded";
}

/** Says in words what a view keeps of a frame. */
function keptOf({ kept, counts }, step) {
  const { f, leading } = record;
  const text = `kept ${portion(counts[step], f)}`;
  const first = total(kept.subarray(step * f, step * f + leading));
  if (leading === 1) return `${text}, class token ${first ? "kept" : "dropped"}`;
  return leading ? `${text}, ${first} of ${leading} class tokens` : text;
}

/** Says in words how much of a frame the vision tower encoded. */
function encodedOf({ counts, f }, step) {
  const now = counts[step];
  if (now === f) return `all ${count(f)} patches encoded`;
  return `${count(now)} of ${count(f)} patches encoded (${percent(now / f)})`;
}

/** Says in words what the frame is, and what is kept of it. */
function showCaption() {
  const { sourceFrames, scores, times, cuts, encoded } = record;
  const step = stepOf(state.frame);
  const texts = views.map((view) => keptOf(view, step));
  const parts = [`Frame ${state.frame + 1} of ${frames}`, `${times[state.frame].toFixed(2)} s`];
  const [from, to] = [step * sourceFrames + 1, Math.min((step + 1) * sourceFrames, frames)];
  if (to > from) parts.push(`frames ${from} to ${to} are one to the model`);
  parts.push(`r = ${scores.ratios[step].toFixed(3)}`);
  if (encoded) parts.push(encodedOf(encoded, step));
  if (views.length === 1) parts.push(texts[0]);
  if (cuts.includes(step)) parts.push("likely cut");
  find("caption").textContent = parts.join(" · ");
  find("bars").setAttribute("aria-valuetext", find("caption").textContent);
  find("bars").setAttribute("aria-valuenow", step + 1);
  document.querySelectorAll(".stage figcaption span").forEach((span, i) => (span.textContent = texts[i]));
}

/** Shows a frame. */
function go(frame) {
  state.frame = Math.min(Math.max(frame, 0), frames - 1);
  find("frame").value = state.frame + 1;
  state.moveMark(stepOf(state.frame));
  showCaption();
  return drawViews();
}

/** Shows the first frame of the clip that a frame of the model holds. */
function goToStep(step) {
  return go(Math.min(Math.max(step, 0), record.n - 1) * record.sourceFrames);
}

function stop() {
  clearInterval(state.timer);
  state.timer = null;
  find("play").textContent = "Play";
  find("caption").setAttribute("aria-live", "polite");
}

function play() {
  if (state.timer !== null) return stop();
  if (state.frame === frames - 1) go(0);
  find("play").textContent = "Pause";
  find("caption").setAttribute("aria-live", "off");
  state.timer = setInterval(() => {
    go(state.frame + 1);
    if (state.frame === frames - 1) stop();
  }, STEP_MS);
}

/** Draws what depends on the width of the page. */
function drawCharts() {
  state.moveMark = drawBars(find("bars"), record, views, goToStep);
  state.moveMark(stepOf(state.frame));
  if (find("layers")) drawLayers(find("layers"), record.runs);
}

/** Shows what the live view keeps: in words, in the table of frames, beside the other views. */
function showChoice(asRun) {
  const { run, kept, counts } = live;
  const now = total(kept);
  const prompt = run ? `; a prompt of ${count(run.promptTokens + now - total(run.kept))} tokens` : "";
  find("choice").textContent = `Keeps ${portion(now, kept.length)} video tokens${prompt}.`;
  find("as-run").hidden = !asRun;
  find("changed").hidden = asRun;
  document.querySelectorAll("[data-live]").forEach((cell, t) => (cell.textContent = counts[t]));
  if (views.length > 1) {
    find("agreement").textContent = agreement(views);
    fillOverlap(find("overlap"), views);
  }
}

/** Takes over what the form asks for, or says what is wrong with it. */
function update() {
  const { config, problems } = readForm(find("knobs"), record.config);
  showForm(find("knobs"), problems);
  const refused = Object.keys(problems).length > 0;
  document.querySelectorAll("[data-copy]").forEach((button) => (button.disabled = refused));
  if (refused) return;
  state.config = config;
  showChoice(choose(live, record, config));
  find("cli").value = commandLine(record.command, config, record.defaults);
  const silent = withoutOption(config, record.defaults);
  find("no-option").textContent = `No option sets ${silent.join(" and ")}: give a YAML file, by --config.`;
  find("no-option").hidden = silent.length === 0;
  find("python").value = pythonConfig(config, record.defaults);
  showLegend();
  drawCharts();
  showCaption();
  drawViews();
}

/** Lets arrow keys go through the frames, where they do nothing else. */
function pressArrow(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const own = event.target.closest?.("input, textarea, .scroll, #bars");
  if (!step || own || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  go(state.frame + step);
}

/** Lets keys go through the bars, as through a slider. */
function pressBar(event) {
  const step = stepOf(state.frame);
  const places = { Home: 0, End: record.n - 1 };
  places.ArrowLeft = places.ArrowDown = step - 1;
  places.ArrowRight = places.ArrowUp = step + 1;
  if (!(event.key in places)) return;
  event.preventDefault();
  goToStep(places[event.key]);
}

function listen() {
  find("frame").addEventListener("input", (event) => go(Number(event.target.value) - 1));
  find("before").addEventListener("click", () => go(state.frame - 1));
  find("after").addEventListener("click", () => go(state.frame + 1));
  find("play").addEventListener("click", play);
  find("maps")?.addEventListener("change", (event) => {
    state.map = event.target.value;
    showLegend();
    drawViews();
  });
  find("bars").addEventListener("keydown", pressBar);
  document.addEventListener("keydown", pressArrow);
  for (const link of document.querySelectorAll("[data-step]")) {
    link.addEventListener("click", () => goToStep(Number(link.dataset.step)));
  }
  find("knobs").addEventListener("input", (event) => {
    pair(find("knobs"), event.target);
    update();
  });
  find("knobs").addEventListener("submit", (event) => event.preventDefault());
  find("back").addEventListener("click", () => {
    find("knobs").reset();
    update();
  });
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      find("copied").textContent = await copy(find(button.dataset.copy));
    });
  }
  new ResizeObserver(drawCharts).observe(find("bars"));
}

if (find("ramp")) find("ramp").style.background = rampBackground();
listen();
update();
