// Numbers, settings and comparisons in words.
"use strict";

// Options of the command line, by field; the other fields have none.
const OPTIONS = {
  spatial_weight: "--spatial-weight",
  retention: "--retention",
  threshold: "--threshold",
  min_tokens_per_frame: "--min-tokens-per-frame",
  coverage: "--coverage",
  bucket: "--bucket",
  diversity: "--diversity",
  memory_threshold: "--memory-threshold",
  vision_reuse: "--vision-reuse",
};

/** Writes a whole number with commas. */
function count(number) {
  return number.toLocaleString("en");
}

/** Writes a share in percent. */
function percent(share) {
  return `${(100 * share).toFixed(1)}\u00a0%`;
}

/** Writes how many of how many. */
function portion(some, all) {
  return `${count(some)} of ${count(all)} (${percent(some / all)})`;
}

/** Returns the fields that differ from the defaults. */
function changed(config, defaults) {
  return Object.keys(defaults).filter((name) => config[name] !== defaults[name]);
}

/** Says whether an option can set a field to its value: there is none for parts of a field. */
function hasOption(config, name) {
  return name in OPTIONS && (config[name] === null || typeof config[name] !== "object");
}

/** Returns the command line of a configuration. */
function commandLine(command, config, defaults) {
  const words = changed(config, defaults)
    .filter((name) => hasOption(config, name))
    .map((name) => {
      if (config[name] === null) return "--no-memory";
      return config[name] === true ? OPTIONS[name] : `${OPTIONS[name]} ${config[name]}`;
    });
  return [command, ...words].join(" ");
}

/** Returns the fields that differ from the defaults and that no option sets. */
function withoutOption(config, defaults) {
  // The command takes images for frames by itself, where a model is shown a video so.
  return changed(config, defaults).filter((name) => !hasOption(config, name) && name !== "images_as_frames");
}

/** Returns the Python text of a configuration. */
function pythonConfig(config, defaults) {
  const names = { null: "None", true: "True", false: "False" };
  const value = (name) => names[config[name]] ?? JSON.stringify(config[name]);
  return `SharpVConfig(${changed(config, defaults).map((name) => `${name}=${value(name)}`).join(", ")})`;
}

/** Says in words how far choices agree. */
function agreement(views) {
  const all = views[0].kept.length;
  const votes = views[0].kept.map((_, i) => total(views.map((view) => view.kept[i])));
  const everyone = votes.filter((vote) => vote === views.length).length;
  const nobody = votes.filter((vote) => vote === 0).length;
  const words = [
    `${views.length === 2 ? "Both" : `All ${views.length}`} keep the same ${portion(everyone, all)} tokens;`,
    `${portion(nobody, all)} are kept by none.`,
  ];
  if (views.length > 2) {
    const pairs = views.flatMap((a, i) => {
      return views.slice(i + 1).map((b) => [a, b, overlap(a.kept, b.kept).jaccard]);
    });
    pairs.sort((p, q) => q[2] - p[2]);
    const pair = ([a, b, jaccard]) => `${a.name} and ${b.name} (Jaccard index ${jaccard.toFixed(2)})`;
    words.push(`Most alike are ${pair(pairs[0])}, least ${pair(pairs[pairs.length - 1])}.`);
  }
  return words.join(" ");
}
