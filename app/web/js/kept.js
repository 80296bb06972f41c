// What is too large for an address, kept for this tab as long as it lives: Back, Forward and reload find it again.

const PREFIX = "sketchseek-kept-";
const ORDER = "sketchseek-kept"; // names, the one that was used longest ago first
const MOST = 40; // texts; a long drawing is one more at every stroke

const order = () => JSON.parse(sessionStorage.getItem(ORDER) ?? "[]");
const setOrder = (names) => sessionStorage.setItem(ORDER, JSON.stringify(names));

/** Keeps a text; the name to find it by, or null where it does not fit. What was used longest ago makes room. */
export function keep(text) {
  const name = nameOf(text);
  if (sessionStorage.getItem(PREFIX + name) !== null) return use(name);
  const names = order();
  while (names.length >= MOST) sessionStorage.removeItem(PREFIX + names.shift());
  for (;;) {
    try {
      sessionStorage.setItem(PREFIX + name, text);
      setOrder([...names, name]);
      return name;
    } catch {
      sessionStorage.removeItem(PREFIX + name);
      if (names.length === 0) {
        sessionStorage.removeItem(ORDER);
        return null;
      }
      sessionStorage.removeItem(PREFIX + names.shift());
    }
  }
}

/** Says that a text is in use, so that others make room before it does; its name. */
export function use(name) {
  const names = order();
  if (names.includes(name) && names.at(-1) !== name) setOrder([...names.filter((one) => one !== name), name]);
  return name;
}

/** The text of this name, or null where this tab has none. */
export const find = (name) => sessionStorage.getItem(PREFIX + use(name));

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
