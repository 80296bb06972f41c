// Where the time of a search went, stage by stage.

import { make, milliseconds } from "./dom.js";

const STAGES = ["decode", "queue", "encode", "recall", "rerank"];

export function showTimings(box, timings, seen) {
  if (!timings) {
    box.hidden = true;
    return;
  }
  const parts = STAGES.filter((stage) => timings[stage] > 0).map((stage) => [stage, timings[stage]]);
  const rest = (timings.total ?? 0) - parts.reduce((sum, [, value]) => sum + value, 0);
  if (rest > 0.5) parts.push(["other", rest]);
  const bar = make("div", { class: "timings-bar", attributes: { "aria-hidden": "true" } });
  const legend = make("dl", { class: "timings-legend" });
  for (const [stage, value] of parts) {
    const piece = make("span", { dataset: { stage } });
    piece.style.flex = `${value} 1 0`;
    bar.append(piece);
    legend.append(make("div", { dataset: { stage } }, make("dt", {}, stage), make("dd", {}, `${milliseconds(value)} ms`)));
  }
  legend.append(make("div", { class: "total" }, make("dt", {}, "service"), make("dd", {}, `${milliseconds(timings.total)} ms`)));
  if (seen > 0) {
    legend.append(make("div", { class: "total" }, make("dt", {}, "pen up to results"), make("dd", {}, `${milliseconds(seen)} ms`)));
  }
  box.replaceChildren(bar, legend);
  box.hidden = false;
}
