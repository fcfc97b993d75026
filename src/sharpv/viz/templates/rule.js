// Which tokens stay: sharpv.core.select again, with the same numbers in every step.
// Scores are those of n frames of f tokens: S (spatial) and T (temporal) as Float32Array [n f], r (ratios) as
// Float32Array [n]. A configuration has the fields of SharpVConfig.
"use strict";

// Of sharpv.core.select, where their reasons stand.
const RATIO_TOLERANCE = 1e-5;
const RATIO_UNITS = 1e6;

/** Returns I = T + w S in float32; the first frame, which has no T, takes S where w is 0. */
function importance({ f, spatial, temporal }, w) {
  const weight = Math.fround(w);
  // Each product and each sum is rounded to float32 once, as torch does.
  return temporal.map((change, i) => {
    if (w === 0 && i < f) return spatial[i];
    return change + Math.fround(weight * spatial[i]);
  });
}

/** Rounds to the nearest whole number, halves to the even one. */
function roundHalfEven(x) {
  const below = Math.floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

/** Returns how many tokens each frame keeps, before `bucket` adds to them. */
function tokenCounts(scores, values, config) {
  const { n, f, ratios } = scores;
  const least = Math.min(config.min_tokens_per_frame, f);
  let counts;
  if (config.threshold !== null) {
    counts = Array.from(ratios, (_, t) => {
      return values.subarray(t * f, (t + 1) * f).filter((value) => value >= config.threshold).length;
    });
  } else if (config.retention === "adaptive") {
    counts = Array.from(ratios, (r) => Math.ceil((r - RATIO_TOLERANCE) * f));
  } else {
    const total = Math.max(roundHalfEven(config.retention * n * f), n * least);
    const weights = Array.from(ratios, (r) => roundHalfEven(r * RATIO_UNITS));
    counts = shareTokens(total, weights, least, f);
  }
  return counts.map((count) => Math.min(Math.max(count, least), f));
}

/**
 * Shares `total` in proportion to the weights, each between `least` and `most`, in whole numbers.
 * All stay below 2^53, so exact, while n n f is below 9e9.
 */
function shareTokens(total, weights, least, most) {
  const counts = weights.map(() => 0);
  const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
  let free = weights.map((_, t) => t);
  let parts, whole;
  for (;;) {
    const weight = sum(free.map((t) => weights[t]));
    parts = weights.map((part) => (weight ? part : 1));
    whole = weight || free.length;
    const over = free.filter((t) => total * parts[t] > most * whole);
    const under = free.filter((t) => total * parts[t] < least * whole);
    const excess = sum(over.map((t) => total * parts[t] - most * whole));
    const lack = sum(under.map((t) => least * whole - total * parts[t]));
    const [fixed, bound] = excess >= lack ? [over, most] : [under, least];
    if (!fixed.length) break;
    for (const t of fixed) counts[t] = bound;
    total -= bound * fixed.length;
    const settled = new Set(fixed);
    free = free.filter((t) => !settled.has(t));
  }
  const remainder = (t) => (total * parts[t]) % whole;
  for (const t of free) counts[t] = (total * parts[t] - remainder(t)) / whole;
  const left = total - sum(free.map((t) => counts[t]));
  free.sort((a, b) => remainder(b) - remainder(a) || a - b);
  for (const t of free.slice(0, left)) counts[t] += 1;
  return counts;
}

/** Returns the numbers of the `count` largest values; the lower number wins ties. */
function largest(values, count) {
  // Two infinities differ by NaN, which counts as a tie.
  const order = Array.from(values, (_, i) => i).sort((a, b) => values[b] - values[a] || a - b);
  return order.slice(0, count);
}

/** Says which tokens stay, as 0 and 1 in a Uint8Array [n f]; `diversity` is left out. */
function keptMask(scores, config, anchors) {
  const { n, f } = scores;
  const values = importance(scores, config.spatial_weight);
  const mask = new Uint8Array(n * f);
  tokenCounts(scores, values, config).forEach((count, t) => {
    const frame = values.slice(t * f, (t + 1) * f);
    for (const i of anchors.slice(0, roundHalfEven(count * config.coverage))) frame[i] = Infinity;
    for (const i of largest(frame, count)) mask[t * f + i] = 1;
  });
  return config.bucket === 1 ? mask : fillBucket(mask, values, config.bucket);
}

/** Adds the most important other tokens of the video until their number is a multiple of `bucket`. */
function fillBucket(mask, values, bucket) {
  const kept = mask.reduce((a, b) => a + b, 0);
  const lack = (bucket - (kept % bucket)) % bucket;
  const others = values.map((value, i) => (mask[i] ? -Infinity : value));
  for (const i of largest(others, lack)) mask[i] = 1;
  return mask;
}
