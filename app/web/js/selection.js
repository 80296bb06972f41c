// What can be done with several photos of the grid at once: download them, copy their paths, delete them.

import * as api from "./api.js";
import { byId, plural } from "./dom.js";
import { toast } from "./say.js";

/** Lets the bar act on what is selected in the `grid`; `resultOf(photoId)` is the result, `gallery` is told of deletions. */
export function startSelection(grid, resultOf, gallery) {
  const chosen = () => [...grid.selected].map(resultOf).filter(Boolean);
  const count = () => plural(grid.selected.size, "photo");
  grid.addEventListener("selected", () => {
    byId("selection").hidden = grid.selected.size === 0;
    byId("selection-count").textContent = `${count()} selected`;
  });
  byId("selection-none").addEventListener("click", () => grid.unselect());
  byId("selection-copy").addEventListener("click", () => copy(chosen().map(({ path }) => path)));
  byId("selection-download").addEventListener("click", async ({ currentTarget: button }) => {
    button.disabled = true;
    try {
      save(await api.archive(chosen().map(({ photo_id: id }) => id)));
    } catch (problem) {
      toast(problem.message || "These photos could not be downloaded.");
    }
    button.disabled = false;
  });
  startDeletion(chosen, count, grid, gallery);
}

async function copy(paths) {
  try {
    await navigator.clipboard.writeText(paths.join("\n"));
    toast(paths.length === 1 ? "Copied the path." : `Copied ${paths.length} paths.`);
  } catch {
    toast("The browser keeps its clipboard to itself here.");
  }
}

function save(blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = "photos.zip";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function startDeletion(chosen, count, grid, gallery) {
  const dialog = byId("deletion");
  const say = (text) => (byId("deletion-problem").textContent = text);
  byId("selection-delete").addEventListener("click", () => {
    byId("deletion-title").textContent = `Delete ${count()}?`;
    byId("deletion-key").value = api.key.get();
    say("");
    dialog.showModal();
  });
  for (const id of ["deletion-close", "deletion-keep"]) byId(id).addEventListener("click", () => dialog.close());
  byId("deletion-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const before = api.key.get();
    api.key.set(byId("deletion-key").value.trim());
    byId("deletion-send").disabled = true;
    let gone = 0;
    try {
      for (const { photo_id: id } of chosen()) {
        await api.deletePhoto(id);
        grid.selected.delete(id);
        gone += 1;
      }
      grid.unselect();
      dialog.close();
      toast(`Deleted ${plural(gone, "photo")}.`);
    } catch (problem) {
      if (problem.status === 401 || problem.status === 403) api.key.set(before); // the key that was good for looking stays
      say(`${gone > 0 ? `${plural(gone, "photo")} deleted, then it stopped. ` : ""}${problem.message || "It could not be done."}`);
    }
    byId("deletion-send").disabled = false;
    if (gone > 0) await gallery.refresh();
  });
}
