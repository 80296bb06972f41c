// A result that is dragged onto the paper becomes the photo that is wanted.

import * as api from "./api.js";
import { PHOTO_TYPE } from "./card.js";
import { toast } from "./say.js";

/** Lets results be dropped onto an element; `take` gets the photo as a file. */
export function acceptPhotos(element, take) {
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes(PHOTO_TYPE);
  for (const name of ["dragenter", "dragover"]) {
    element.addEventListener(name, (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      element.classList.add("dropping");
    });
  }
  element.addEventListener("dragleave", (event) => {
    if (!element.contains(event.relatedTarget)) element.classList.remove("dropping");
  });
  element.addEventListener("drop", async (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    element.classList.remove("dropping");
    const photo = JSON.parse(event.dataTransfer.getData(PHOTO_TYPE));
    try {
      const blob = await api.original(api.pictureOf(photo));
      take(new File([blob], photo.path.split("/").pop(), { type: blob.type }));
    } catch (problem) {
      toast(problem.message || "This photo cannot be searched with now.");
    }
  });
}
