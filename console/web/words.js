// Numbers and times as words. Sums come as exact decimals in texts and stay texts: they are grouped and added without a float.

const grouped = new Intl.NumberFormat('en');
const moment = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
const dated = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short', year: 'numeric', timeZone: 'UTC' });
const monthly = new Intl.DateTimeFormat('en-GB', { month: 'long', year: 'numeric', timeZone: 'UTC' });
const MILLION = 1_000_000n;

/** A count with its digits grouped. */
export const count = (number) => grouped.format(number);

/** A count with its noun: `1 event`, `2 events`. */
export const counted = (number, noun, nouns = `${noun}s`) => `${count(number)} ${number === 1 ? noun : nouns}`;

/** A sum with its digits grouped, and not one of them changed. */
export function sum(text) {
  const [, sign, whole, rest] = /^(-?)(\d+)(\.\d+)?$/.exec(text) ?? [];
  if (whole === undefined) return text;
  return (sign ? '\u2212' : '') + whole.replace(/\B(?=(\d{3})+$)/g, ',') + (rest ?? '');
}

/** Millionths of a sum. */
function millionths(text) {
  const [, sign, whole, rest = ''] = /^(-?)(\d+)(?:\.(\d{1,6}))?$/.exec(text) ?? [null, '', '0'];
  const value = BigInt(whole) * MILLION + BigInt(rest.padEnd(6, '0'));
  return sign ? -value : value;
}

/** The exact sum of sums, written as the server writes one. */
export function addSums(texts) {
  const total = texts.reduce((all, text) => all + millionths(text), 0n);
  if (total === 0n) return '0';
  const size = total < 0n ? -total : total;
  const rest = String(size % MILLION).padStart(6, '0').replace(/0{1,4}$/, '');
  return `${total < 0n ? '-' : ''}${size / MILLION}.${rest}`;
}

/** A time in the reader's own zone. */
export const time = (text) => (text ? moment.format(new Date(text)) : 'never');

/** A date such as `2025-11-04`, with its weekday. */
export const date = (text) => dated.format(new Date(`${text}T00:00:00Z`));

/** A month such as `2025-11`. */
export const month = (text) => monthly.format(new Date(`${text}-01T00:00:00Z`));

/** Of a start such as `2025-11-04T13:15:00+01:00`, what the clocks show. */
export const clock = (start) => start.slice(11, 16);

/** A size in bytes. */
export function bytes(size) {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) { size /= 1024; unit += 1; }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}

/** A span of seconds. */
export function span(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** A word of the API, as words: `key_conflict` is `key conflict`. */
export const spoken = (word) => word.replaceAll('_', ' ');
