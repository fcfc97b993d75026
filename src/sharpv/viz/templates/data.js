// What the page knows: the record embedded in it, and the choices of tokens that it shows.
"use strict";

/** Decodes base64. */
function decode(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** Decodes float32 numbers, which machines with a browser hold as the file does. */
function decodeFloats(text) {
  return new Float32Array(decode(text).buffer);
}

/** Decodes `length` bits, the highest of a byte first, to 0 and 1. */
function decodeMask(text, length) {
  const bytes = decode(text);
  return Uint8Array.from({ length }, (_, i) => (bytes[i >> 3] >> (7 - (i & 7))) & 1);
}

/** Returns the record with its numbers decoded. */
function readRecord(text) {
  const record = JSON.parse(text);
  const { n, f } = record;
  record.scores = {
    n,
    f,
    spatial: decodeFloats(record.spatial),
    temporal: decodeFloats(record.temporal),
    ratios: decodeFloats(record.ratios),
  };
  for (const run of record.runs) run.kept = decodeMask(run.kept, n * f);
  if (record.encoded) {
    const { grid, computed } = record.encoded;
    record.encoded.f = grid[0] * grid[1];
    record.encoded.computed = decodeMask(computed, n * record.encoded.f);
    record.encoded.counts = frameCounts(record.encoded.computed, record.encoded.f);
  }
  return record;
}

/** Returns the kept tokens of each frame of a mask [n f]. */
function frameCounts(mask, f) {
  return Array.from({ length: mask.length / f }, (_, t) => total(mask.subarray(t * f, (t + 1) * f)));
}

function total(numbers) {
  return numbers.reduce((a, b) => a + b, 0);
}

/** Says whether two configurations choose the same tokens. */
function sameChoice(a, b) {
  const names = ["retention", "threshold", "spatial_weight", "min_tokens_per_frame", "coverage", "bucket"];
  return names.every((name) => a[name] === b[name]);
}

/** Returns the choices to show: one per run, and SharpV's where it was not run; `live` follows the knobs. */
function makeViews({ views, runs, n, f }) {
  return views.map((name, i) => {
    const run = runs[i] ?? null;
    const kept = run ? run.kept : new Uint8Array(n * f);
    return { name, run, kept, live: run ? run.live : true, counts: frameCounts(kept, f) };
  });
}

/** Lets the live view follow a configuration: as it was run, or chosen here. */
function choose(view, record, config) {
  const asRun = view.run !== null && sameChoice(config, record.config);
  view.kept = asRun ? view.run.kept : keptMask(record.scores, config, record.anchors);
  view.counts = frameCounts(view.kept, record.f);
  return asRun;
}

/** Returns how alike two masks are: their Jaccard index, and the share of the first also in the second. */
function overlap(a, b) {
  const both = total(a.map((token, i) => token & b[i]));
  const [ofA, ofB] = [total(a), total(b)];
  const either = ofA + ofB - both;
  return { jaccard: either ? both / either : 1, share: ofA ? both / ofA : 1 };
}
