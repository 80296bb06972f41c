// The tools beside the paper, and their keys.

import { byId } from "./dom.js";

const WIDTHS = { smallest: 2, largest: 24 };

/** Whether keys belong to what has the focus: a field, or a dialog. */
export const typing = (target) => target instanceof Element && target.closest("input:not([type=range]), textarea, select, dialog[open]");

export function startTools(surface) {
  const use = (erasing) => {
    surface.erasing = erasing;
    byId("pencil").setAttribute("aria-pressed", String(!erasing));
    byId("eraser").setAttribute("aria-pressed", String(erasing));
  };
  const widen = (width) => {
    surface.width = Math.min(WIDTHS.largest, Math.max(WIDTHS.smallest, width));
    byId("width").value = surface.width;
    byId("width-dot").style.setProperty("--width", surface.width);
  };
  const update = () => {
    byId("undo").disabled = !surface.history.canUndo;
    byId("redo").disabled = !surface.history.canRedo;
    byId("clear").disabled = surface.history.isEmpty;
    byId("invitation").classList.toggle("gone", !surface.isEmpty);
  };

  byId("pencil").addEventListener("click", () => use(false));
  byId("eraser").addEventListener("click", () => use(true));
  byId("width").addEventListener("input", () => widen(Number(byId("width").value)));
  byId("undo").addEventListener("click", () => surface.undo());
  byId("redo").addEventListener("click", () => surface.redo());
  byId("clear").addEventListener("click", () => surface.clear());
  surface.addEventListener("change", update);
  surface.addEventListener("begin", update);

  document.addEventListener("keydown", (event) => {
    if (typing(event.target)) return;
    const ofPhotos = !byId("selection").hidden || byId("results").contains(event.target); // Delete means them, not the paper
    const command = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (command && key === "z" && event.shiftKey) surface.redo();
    else if (command && key === "z") surface.undo();
    else if (command && key === "y") surface.redo();
    else if (command || event.altKey) return;
    else if (key === "p" || key === "b") use(false);
    else if (key === "e") use(true);
    else if (key === "[") widen(surface.width - 2);
    else if (key === "]") widen(surface.width + 2);
    else if ((key === "delete" && !ofPhotos) || (key === "backspace" && event.target === byId("canvas"))) surface.clear();
    else return;
    event.preventDefault();
  });
  widen(surface.width);
  update();
}
