// What the results' side says while there is nothing to show: how to begin, and what to do when something is wrong.

import { DOODLES } from "./doodles.js";
import { make, makeSvg, plural } from "./dom.js";

const action = (label, run) => {
  const button = make("button", { type: "button", class: "solid" }, label);
  button.addEventListener("click", run);
  return button;
};

const box = (title, ...children) => make("div", { class: "state-box" }, make("h3", {}, title), ...children);

/** The first thing one sees: what this is, and drawings to try it with. */
export function welcome(photos, draw) {
  const doodles = make("div", { class: "doodles", attributes: { role: "group", "aria-label": "Drawings to try" } });
  for (const doodle of DOODLES) {
    const paths = doodle.strokes.map((points) =>
      makeSvg("polyline", { points: points.map(({ x, y }) => `${Math.round(x)},${Math.round(y)}`).join(" ") }),
    );
    const button = make("button", { type: "button", class: "doodle" }, makeSvg("svg", { viewBox: "40 40 432 432", "aria-hidden": "true" }, ...paths), doodle.name);
    button.addEventListener("click", () => draw(doodle));
    doodles.append(button);
  }
  const among = photos ? ` among ${plural(photos, "photo")}` : "";
  return box(
    "Draw it, find the photo",
    make("p", {}, `Sketch what you are looking for${among}. Results follow as you draw; open one to see which part of your sketch matched which part of the photo.`),
    make("p", {}, "Or begin with one of these:"),
    doodles,
  );
}

/** What to do where there is no photo yet; a service that follows a folder needs no command. */
export function emptyGallery({ folders, following, building }, add) {
  const names = folders.map((name) => `“${name}”`).join(", ");
  const where = folders.length === 1 ? `the folder ${names}` : `the folders ${names}`;
  if (building) {
    const text = `Photos of ${where} are read. This page shows them as they arrive.`;
    return box("The gallery is being built", make("p", { class: "being-built" }, text));
  }
  const follows = folders.length > 0 && following && following !== "down";
  return box(
    "The gallery is empty",
    ...(follows
      ? [make("p", {}, `There is nothing to find yet. The gallery follows ${where}: copy photos there, or drop them onto this side of the page. They show as they arrive.`)]
      : [
          make("p", {}, "There is nothing to find yet. Drop photos onto this side of the page, or build a gallery from a folder; this page notices when they arrive."),
          make("pre", {}, "sketchseek gallery build PHOTOS --gallery DIR"),
        ]),
    action("Add photos", add),
  );
}

export function nothingFound(chosen, reset) {
  if (chosen.length === 0) return box("No photo to show", make("p", {}, "The gallery holds no photo that could be compared."));
  return box(
    "No photo passes these filters",
    make("p", {}, `Chosen: ${chosen.join(", ")}. Take some away, or all.`),
    action("Take all filters away", reset),
  );
}

const FAINT = {
  little: ["A little more, please", "A dot or a straight line fits almost any photo. A few more lines tell what you are looking for."],
  invisible: ["Nothing can be seen in this picture", "Its lines hardly differ from the paper. Draw over them, or use a picture with more contrast. Your filters stay."],
};

/** A drawing that tells too little; `insist` shows what it finds all the same, where it finds anything. */
export function faint(why, insist) {
  const [title, text] = FAINT[why];
  return box(title, make("p", {}, text), why === "little" ? action("Search anyway", insist) : null);
}

const WORDS = {
  offline: ["The service does not answer", "Check that it is running (sketchseek serve) and that this device can reach it. Your drawing is safe, and what was found stays. It is tried again by itself."],
  deadline_exceeded: ["This took too long", "The service is busy. It is tried again by itself."],
  429: ["Too many requests at once", "The service asks for a short pause. It is tried again by itself."],
  503: ["The service is getting ready", "It is loading its network and gallery, or busy. It is tried again by itself."],
  413: ["This picture is too large", "Send a smaller file, or a photo of lower resolution."],
  415: ["This kind of picture cannot be read", "PNG, JPEG and WebP work everywhere."],
  401: ["This gallery needs a key", "Enter the key of whoever runs this service."],
  403: ["This key is not enough", "Enter another key of whoever runs this service."],
  404: ["This is no longer there", "It may have been changed or removed."],
  422: ["This cannot be searched with", "Change the drawing, the words or the filters."],
  507: ["The service has no room left", "Whoever runs it has to make room on its disk."],
};
const OTHERS = ["Something went wrong", "Try again. If it stays, the service's log says more."];

/** An error, in words that say what to do. */
export function trouble(problem, retry, unlock) {
  const [title, text] = WORDS[problem.code] ?? WORDS[problem.status] ?? OTHERS;
  const said = problem.detail || text;
  const element = box(title, make("p", {}, said), problem.status === 401 || problem.status === 403 ? action("Enter a key", unlock) : action("Try again", retry));
  element.classList.add("problem");
  element.setAttribute("role", "alert");
  return element;
}
