/** Numbers and states in words. */

/** @param {number | undefined | null} seconds @returns {string} `1:05`, `1:02:03`, or `–:––` where it is not known */
export function clock(seconds) {
  if (seconds === undefined || seconds === null || !Number.isFinite(seconds)) return "–:––";
  const whole = Math.max(0, Math.floor(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = String(whole % 60).padStart(2, "0");
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** @param {number | undefined | null} seconds @returns {string} for a screen reader: `1 minute 5 seconds` */
export function spoken(seconds) {
  if (seconds === undefined || seconds === null || !Number.isFinite(seconds)) return "unknown";
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [
    count(Math.floor(whole / 3600), "hour"),
    count(Math.floor((whole % 3600) / 60), "minute"),
    count(whole % 60, "second"),
  ].filter((part) => part !== "");
  return parts.join(" ") || "0 seconds";
}

/** @param {number} n @param {string} noun */
function count(n, noun) {
  return n === 0 ? "" : `${n} ${noun}${n === 1 ? "" : "s"}`;
}

/** @param {number} amplitude 0 to 1 @returns {number} dBFS, −Infinity for silence */
export function decibels(amplitude) {
  return 20 * Math.log10(amplitude);
}

/** @param {number} dbfs @returns {string} */
export function level(dbfs) {
  return dbfs < -90 ? "−∞" : dbfs.toFixed(0).replace("-", "−");
}

/** @param {string} url @returns {string} its host, or all of it where it has none */
export function hostOf(url) {
  return (URL.canParse(url) && new URL(url).host) || url;
}

/** @param {number} bytes @returns {string} `7.3 MB`, `640 kB` */
export function size(bytes) {
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.ceil(bytes / 1000)} kB`;
}

const SCHEME = /^[a-z][a-z0-9+.-]*:/i;

/**
 * What somebody typed: an address to play, or words to search for. `demo:` alone asks for the list of built-in pieces.
 * @param {string} text
 * @returns {"nothing" | "address" | "words"}
 */
export function kindOf(text) {
  const trimmed = text.trim();
  if (trimmed === "") return "nothing";
  return trimmed !== "demo:" && SCHEME.test(trimmed) && !/\s/.test(trimmed) ? "address" : "words";
}

/**
 * A hue for what has no cover, the same each time.
 * @param {string} text
 * @returns {number} 0 to 359
 */
export function hue(text) {
  let hash = 2166136261;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 16777619);
  return (hash >>> 0) % 360;
}
