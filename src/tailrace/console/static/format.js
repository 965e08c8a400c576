/** Numbers, times and sizes as the page shows them. Pure. */

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const precise = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

/** 18,402 */
export function whole(number) {
  return grouped.format(number);
}

/** 0.3, 41, 9,870: as many digits as a rate is worth. */
export function rate(number) {
  return number < 10 ? tenths.format(number) : grouped.format(number);
}

/** 950, 12.4k, 1.05M: short enough for an axis. */
export function short(number) {
  if (number < 1000) {
    return precise.format(number);
  }
  return number < 1_000_000 ? `${precise.format(number / 1000)}k` : `${precise.format(number / 1_000_000)}M`;
}

/** Whole milliseconds in; "<1 ms", "17 ms", "1.2 s". */
export function duration(ms) {
  if (ms < 1) {
    return "<1 ms";
  }
  return ms < 1000 ? `${precise.format(ms)} ms` : `${precise.format(ms / 1000)} s`;
}

export function size(bytes) {
  if (bytes < 1024) {
    return `${grouped.format(bytes)} B`;
  }
  return bytes < 1024 ** 2 ? `${precise.format(bytes / 1024)} KiB` : `${precise.format(bytes / 1024 ** 2)} MiB`;
}

/** Local time of day, 14:07:31.204. */
export function clock(epochMs) {
  const moment = new Date(epochMs);
  const two = (part) => String(part).padStart(2, "0");
  const ms = String(moment.getMilliseconds()).padStart(3, "0");
  return `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}.${ms}`;
}

/** "1 record", "1,204 records" */
export function counted(number, noun) {
  return `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
}
