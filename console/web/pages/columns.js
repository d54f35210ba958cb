// The columns of a CSV file, where they have names of their own: the reader says which of them are the user, the type and so on, and the
// file is sent with those names in its first row. Only the first row is read here; the rest of the file is sent as it lies on the disk.

import { el, field, select } from '../dom.js';

/** Longest first row that is looked at, in bytes. */
const HEAD_BYTES = 64 * 1024;
/** Fields of an event: how they are called, whether an event must have them, and words that suggest them. */
const FIELDS = [
  { name: 'user_id', label: 'Who (user)', also: ['userid', 'user_id'], must: true, like: /user|customer|client|account|member|visitor|kunde/i },
  { name: 'event_type', label: 'What (type of event)', also: ['eventtype', 'event_type', 'type'], must: true, like: /type|event|action|what|kind|name/i },
  { name: 'occurred_at', label: 'When (time)', also: ['timestamp', 'occurred_at', 'occurredat', 'time'], like: /time|date|when|at$/i },
  { name: 'amount', label: 'Amount', also: ['amount'], like: /amount|price|value|total|sum/i },
  { name: 'idempotency_key', label: 'Key of the row', also: ['idempotency_key', 'idempotencykey'], like: /key|^id$|order|transaction/i },
];

/** Names in the first row of a file and how many bytes it has, or null where it cannot be read. */
async function headOf(file) {
  const bytes = new Uint8Array(await file.slice(0, HEAD_BYTES).arrayBuffer());
  const mark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  const names = [];
  let cell = [];
  let isQuoted = false;
  for (let at = mark; at <= bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === 0x22) isQuoted = !isQuoted;
    const ends = byte === undefined || (!isQuoted && (byte === 0x0a || byte === 0x0d));
    if (!ends && (isQuoted || byte !== 0x2c)) { cell.push(byte); continue; }
    const text = new TextDecoder().decode(new Uint8Array(cell));
    names.push(text.startsWith('"') ? text.slice(1, -1).replaceAll('""', '"') : text);
    cell = [];
    if (!ends) continue;
    // Without an end the row is longer than what was read, or the file has no other row.
    return byte === undefined ? null : { names, bytes: at };
  }
  return null;
}

const isKnown = (names, { also }) => names.some((name) => also.includes(name.trim().toLowerCase()));

/** The file to send: as it is, or with other names, which `ask` has shown to the reader. Null where the reader gave up. */
export async function withOurNames(file, ask) {
  const head = await headOf(file);
  if (head === null || FIELDS.every((one) => !one.must || isKnown(head.names, one))) return file;
  const chosen = await new Promise((resolve) => ask(form(head.names, resolve)));
  if (chosen === null) return null;
  const names = head.names.map((name) => chosen.get(name) ?? name);
  const row = names.map((name) => (/[",\r\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name)).join(',');
  return new Blob([row, file.slice(head.bytes)]);
}

/** Which column is what. Resolves with our names by theirs, or null. */
function form(names, resolve) {
  const open = FIELDS.filter((one) => !isKnown(names, one));
  const left = names.filter((name) => !FIELDS.some((one) => one.also.includes(name.trim().toLowerCase())));
  const guessed = new Set();
  const controls = open.map((one) => {
    const guess = left.find((name) => one.like.test(name) && !guessed.has(name)) ?? '';
    guessed.add(guess);
    const control = select([['', one.must ? 'Choose a column' : 'None'], ...left.map((name) => [name, name])], guess);
    control.required = Boolean(one.must);
    return { one, control };
  });
  const submit = (event) => {
    event.preventDefault();
    const picked = controls.filter(({ control }) => control.value !== '');
    const twice = picked.find(({ control }, index) => picked.findIndex((other) => other.control.value === control.value) !== index);
    twice?.control.setCustomValidity('This column is chosen twice.');
    if (node.reportValidity()) resolve(new Map(picked.map(({ one, control }) => [control.value, one.name])));
  };
  const clear = () => controls.forEach(({ control }) => control.setCustomValidity(''));
  const node = el('form', { class: 'columns', on: { submit, change: clear } },
    el('p', {}, 'The columns of this file have names of their own. Which are they?'),
    el('div', { class: 'bar' }, controls.map(({ one, control }) => field(one.label, control))),
    el('p', { class: 'hint' }, 'All other columns are kept with each event.'),
    el('div', { class: 'actions' },
      el('button', { type: 'submit' }, 'Send with these columns'),
      el('button', { type: 'button', class: 'quiet', on: { click: () => resolve(null) } }, 'Do not send')));
  return node;
}
