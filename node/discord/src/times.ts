/** Times as people write and read them. */

/** The most seconds the daemon seeks to. */
export const SECONDS_MOST = 2_592_000;

/** `90`, `1:30` and `1:02:03.5` in seconds; undefined for anything else. */
export function parseTime(text: string): number | undefined {
  const parts = /^(?:(?:(\d{1,3}):)?(\d{1,3}):)?(\d{1,7}(?:\.\d{1,3})?)$/.exec(text.trim());
  if (parts === null) return undefined;
  const [, hours = "0", minutes = "0", seconds = "0"] = parts;
  const total = Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds);
  return total <= SECONDS_MOST ? total : undefined;
}

/** `0:05`, `12:34`, `1:02:03`. */
export function formatTime(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
