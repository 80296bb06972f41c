// What lies over the page, such as an open photo, has an entry of its own in the browser's history: Back closes it and leaves the
// search alone. The entry has the address of the page below it.

let close = null; // closes what lies over the page now

const isOurs = () => history.state?.layer === true;
const enter = () => history[isOurs() ? "replaceState" : "pushState"]({ layer: true }, ""); // it is ours already after a reload

addEventListener("popstate", () => {
  if (isOurs()) return;
  close?.();
  setTimeout(() => (history.scrollRestoration = "auto")); // once this step has left the page where it is
});

/** Says that something lies over the page; Back calls `closeIt()`. */
export function covered(closeIt) {
  close = closeIt;
  history.scrollRestoration = "manual"; // whoever closes it decides what is seen then
  enter();
}

/** Says that it is gone, whoever closed it. */
export function uncovered() {
  close = null;
  if (isOurs()) history.back();
}

/** Gives the page a new entry with this address. What lies over the page stays above it. */
export function goTo(url) {
  if (isOurs()) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  if (close) enter();
}
