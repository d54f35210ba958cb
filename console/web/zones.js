// Zones of time: which there are, which one the reader chose, and when a day of one begins.

const PLACE = 'tidemark.zone';

/** All names that the browser knows, UTC first. */
export const zones = () => ['UTC', ...Intl.supportedValuesOf('timeZone').filter((name) => name !== 'UTC')];

/** The zone that the reader chose last, else UTC, the zone of plain answers. */
export function zone() {
  try { return localStorage.getItem(PLACE) ?? 'UTC'; } catch { return 'UTC'; }
}

/** Remembers a zone. */
export function choose(name) {
  try { localStorage.setItem(PLACE, name); } catch { /* for this page only */ }
}

/** Whether the browser knows a zone. */
export function isZone(name) {
  try { return Boolean(new Intl.DateTimeFormat('en', { timeZone: name })); } catch { return false; }
}

const formats = new Map();

/** What the clocks of a zone show at an instant (seconds since 1970), as if it were UTC. */
function shown(seconds, name) {
  if (!formats.has(name)) {
    formats.set(name, new Intl.DateTimeFormat('en-CA', {
      timeZone: name, hourCycle: 'h23', year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit',
    }));
  }
  const parts = Object.fromEntries(formats.get(name).formatToParts(seconds * 1000).map((part) => [part.type, Number(part.value)]));
  return Date.UTC(parts.year, parts.month - 1, parts.day, parts.hour, parts.minute, parts.second) / 1000;
}

/** When a date begins in a zone, in seconds since 1970. For the chart's edges: answers never rest on it. */
export function midnight(date, name) {
  const wanted = Date.parse(`${date}T00:00:00Z`) / 1000;
  let guess = wanted;
  for (let round = 0; round < 2; round += 1) guess += wanted - shown(guess, name);
  return guess;
}

/** Today's date in a zone. */
export const today = (name) => new Date(shown(Math.floor(Date.now() / 1000), name) * 1000).toISOString().slice(0, 10);

/** A date some days later. */
export function shift(date, days) {
  const moved = new Date(`${date}T00:00:00Z`);
  moved.setUTCDate(moved.getUTCDate() + days);
  return moved.toISOString().slice(0, 10);
}

/** First and last date of a month such as `2025-11`. */
export function monthDates(month) {
  const [year, number] = month.split('-').map(Number);
  const last = new Date(Date.UTC(year, number, 0)).getUTCDate();
  return [`${month}-01`, `${month}-${String(last).padStart(2, '0')}`];
}
