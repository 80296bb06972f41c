// The numbers of a search, for those who open the details: what each stage said of each result, and how far the second stage
// moved it.

import { make, title } from "./dom.js";

const decimals = (value) => (value === null || value === undefined ? "" : value.toFixed(3));

/** By how many places the second stage moved a result up; negative: down; 0 where only one stage ordered it. */
export function moved(result) {
  if (!result.recall_rank || result.relation_score === null || result.relation_score === undefined) return 0;
  return result.recall_rank - result.rank;
}

/** Writes the table of these results. */
export function showScores(box, results) {
  const columns = ["", "Photo", "Score", "Relation", "Recall", "Moved"];
  const head = make("tr", {}, ...columns.map((name) => make("th", { scope: "col" }, name || make("span", { class: "sr" }, "Rank"))));
  const rows = results.map((result) => {
    const steps = moved(result);
    const numbers = [decimals(result.score), decimals(result.relation_score), decimals(result.recall_score), said(steps)];
    return make("tr", {}, make("td", {}, String(result.rank)), make("th", { scope: "row" }, title(result.path)), ...numbers.map((text) => make("td", {}, text)));
  });
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  box.replaceChildren(table);
}

const said = (steps) => (steps === 0 ? "" : `${Math.abs(steps)} ${steps > 0 ? "up" : "down"}`);
