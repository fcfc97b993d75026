// How far the choices of several methods agree, as a table.
"use strict";

/** Makes an element with its text. */
function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Fills a table with the Jaccard index of each two views, and the share of the row's in the column's. */
function fillOverlap(table, views) {
  const names = views.map((view) => element("th", view.name, { scope: "col" }));
  const head = element("tr", "");
  head.append(element("td", ""), ...names);
  const rows = views.map((a) => {
    const row = element("tr", "");
    const cells = views.map((b) => {
      if (a === b) return element("td", "–");
      const { jaccard, share } = overlap(a.kept, b.kept);
      const cell = element("td", "");
      cell.append(element("b", jaccard.toFixed(3)), element("small", percent(share)));
      return cell;
    });
    row.append(element("th", a.name, { scope: "row" }), ...cells);
    return row;
  });
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...rows);
}
