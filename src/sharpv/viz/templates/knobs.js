// The form: from what is typed to a configuration, or to what is wrong with it.
"use strict";

// What each field takes, as SharpVConfig does, and says of anything else.
const FIELDS = {
  spatial_weight: { takes: (x) => x >= 0 && Math.fround(x) < Infinity, wants: "a number of at least 0" },
  retention: { takes: (x) => x > 0 && x <= 1, wants: "a number above 0 and at most 1" },
  threshold: { takes: (x) => Number.isFinite(x), wants: "a number" },
  min_tokens_per_frame: {
    takes: (x) => Number.isSafeInteger(x) && x >= 0,
    wants: "a whole number of at least 0",
  },
  coverage: { takes: (x) => x >= 0 && x <= 1, wants: "a number from 0 to 1" },
};
// Fields that only one way of choosing reads.
const MODES = { retention: "budget", threshold: "threshold" };

/** Returns the fields that the chosen way reads. */
function fieldsOf(mode) {
  return Object.keys(FIELDS).filter((name) => (MODES[name] ?? mode) === mode);
}

/** Shows the fields of the chosen way, and below each what is wrong with it. */
function showForm(form, problems) {
  const fields = fieldsOf(form.elements.mode.value);
  for (const name of Object.keys(FIELDS)) {
    const [input, message] = [form.elements[name], document.getElementById(`${name}-error`)];
    input.closest(".field").hidden = !fields.includes(name);
    input.setAttribute("aria-invalid", String(name in problems));
    message.textContent = problems[name] ?? "";
    message.hidden = !(name in problems);
  }
}

/** Returns the configuration that the form asks for, based on another, and what is wrong with each field. */
function readForm(form, base) {
  const mode = form.elements.mode.value;
  const config = { ...base, retention: "adaptive", threshold: null };
  const problems = {};
  for (const name of fieldsOf(mode)) {
    const text = form.elements[name].value;
    const value = text.trim() === "" ? NaN : Number(text);
    if (FIELDS[name].takes(value)) config[name] = value;
    else problems[name] = `This must be ${FIELDS[name].wants}.`;
  }
  return { config, problems };
}

/** Keeps a number and its slider together. */
function pair(form, input) {
  const name = input.dataset.for ?? input.name;
  const slider = form.querySelector(`[data-for="${name}"]`);
  if (input === slider) form.elements[name].value = slider.value;
  else if (slider) slider.value = input.value;
}

/** Copies the text of a field; where the browser does not let us, selects it. Returns what happened. */
async function copy(field) {
  const name = field.labels[0].textContent;
  try {
    await navigator.clipboard.writeText(field.value);
    return `${name} copied.`;
  } catch {
    field.select();
    return `${name} selected: copy it with Ctrl+C, or from the menu.`;
  }
}
