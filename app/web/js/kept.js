// What is too large for an address, kept for this tab as long as it lives: Back, Forward and reload find it again.

const PREFIX = "sketchseek-kept-";
const ORDER = "sketchseek-kept"; // names, the oldest first

const order = () => JSON.parse(sessionStorage.getItem(ORDER) ?? "[]");

/** Keeps a text; the name to find it by, or null where it does not fit. What was kept longest ago makes room. */
export function keep(text) {
  const name = nameOf(text);
  if (sessionStorage.getItem(PREFIX + name) !== null) return name;
  const names = order();
  for (;;) {
    try {
      sessionStorage.setItem(PREFIX + name, text);
      sessionStorage.setItem(ORDER, JSON.stringify([...names, name]));
      return name;
    } catch {
      sessionStorage.removeItem(PREFIX + name);
      if (names.length === 0) return null;
      sessionStorage.removeItem(PREFIX + names.shift());
    }
  }
}

/** The text of this name, or null where this tab has none. */
export const find = (name) => sessionStorage.getItem(PREFIX + name);

/** A name that the same text always has (cyrb53, 53 bits). */
function nameOf(text) {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (let i = 0; i < text.length; i += 1) {
    a = Math.imul(a ^ text.charCodeAt(i), 2654435761);
    b = Math.imul(b ^ text.charCodeAt(i), 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (4294967296 * (2097151 & b) + (a >>> 0)).toString(36);
}
