// One dead letter: why it was refused, where it lies, and the bytes that were sent. Bytes that are text are shown as text, JSON as its
// fields too; all others as hex beside what of them is readable.

import { ask } from '../api.js';
import { el, fill } from '../dom.js';
import { load } from '../states.js';
import { facts, table } from '../tables.js';
import { count, counted, spoken, time } from '../words.js';
import { REASONS, stateOf } from './letters.js';
import { eventForm } from './mend.js';
import { redrive, redriveOne } from './redrive.js';

/** Longest hex that is shown; what a reader looks for stands at the beginning. */
const SHOWN_BYTES = 4_096;
/** What a state means to whoever looks at it. */
const STATE_MEANINGS = {
  quarantined: 'It was tried so often, and refused again, that it is left alone: it is put back only where that is forced.',
  redriven: 'It was put back on the log, and that copy has its outcome.',
};

export function open({ root, signal }, to) {
  const title = el('h1', {});
  const box = el('div');
  root.append(el('p', { class: 'way' }, el('a', { href: '#/dead-letters' }, 'Dead letters')), title, box);

  function update({ args }) {
    title.textContent = `Dead letter ${args[0]}`;
    delete box.dataset.shown;
    const again = () => update({ args });
    load(box, {
      what: 'the dead letter', signal,
      get: () => ask(`/v1/dead-letters/${encodeURIComponent(args[0])}`, { signal }),
      show: (letter) => shown(letter, { signal, again }),
    });
  }

  update(to);
  return { update };
}

function shown(letter, act) {
  return [
    el('section', { class: 'card' },
      el('p', { class: 'why' }, el('span', { class: 'tag' }, spoken(letter.reason)), REASONS[letter.reason] ?? ''),
      letter.state && el('p', { class: 'why' }, stateOf(letter), STATE_MEANINGS[letter.state] ?? ''),
      facts([
        ['Detail', letter.detail],
        ['Accepted', moment(letter.accepted_at)],
        ['Partition and offset', `${letter.partition}, ${count(letter.offset)}`],
        ['User', letter.user_id === null ? el('span', { class: 'muted' }, 'not readable')
          : el('a', { href: `#/users/${encodeURIComponent(letter.user_id)}` }, letter.user_id)],
        ['Key', letter.key !== null ? el('code', {}, letter.key) : letter.key_hex ? el('code', {}, `0x${letter.key_hex}`) : el('span', { class: 'muted' }, 'none')],
        letter.upload_id && ['Upload', [el('a', { href: `#/uploads/${encodeURIComponent(letter.upload_id)}` }, letter.upload_id), letter.row !== null && `, row ${count(letter.row)}`]],
        (letter.kept_until || letter.retention) && ['Its bytes are kept', kept(letter)],
      ]),
      mending(letter, act)),
    tries(letter),
    decoded(letter),
    value(letter),
  ];
}

const moment = (text) => el('time', { datetime: text }, time(text));

/** How long the log has the bytes, without which nothing can be put back. */
function kept({ kept_until: until, retention }) {
  if (!until) return retention === 'forever' ? 'for ever' : 'for a time that is not known';
  const days = Math.floor((Date.parse(until) - Date.now()) / 86_400_000);
  const left = days < 0 ? 'past' : days === 0 ? 'less than a day' : counted(days, 'day');
  return ['until ', moment(until), el('span', { class: days < 7 ? 'bad' : 'muted' }, ` (${left}${days < 0 ? '' : ' left'})`)];
}

/** Puts it back as it is, or mended. */
function mending(letter, { signal, again }) {
  const box = el('div', { class: 'mending' });
  const offer = (told) => fill(box, told,
    el('div', { class: 'actions' },
      el('button', { type: 'button', on: { click: () => redrive({ ids: [letter.id] }, { title: `Redrive ${letter.id}`, signal, done: again }) } }, 'Redrive'),
      el('button', { type: 'button', class: 'quiet', on: { click: edit } }, 'Edit and redrive')));
  const edit = () => {
    const form = eventForm(letter.event ?? guess(letter), {
      asksTenant: letter.event === null,
      label: 'Redrive the mended event',
      cancel: () => { offer(); box.querySelector('button').focus(); },
      send: async (event, tenant) => {
        const why = await redriveOne({ ids: [letter.id], event, ...(tenant && { tenant }), ...(letter.state === 'quarantined' && { force: true }) }, signal);
        if (why === null) again(); else offer(el('p', { class: 'problem', role: 'alert' }, `It was left alone: ${why}.`));
      },
    });
    fill(box, el('h2', {}, 'Mend it'),
      el('p', { class: 'hint' }, 'What is redriven has a key of its own, made of the place of this record: however often it is mended, it counts once at most.'), form);
    form.querySelector('input').focus();
  };
  offer();
  return box;
}

/** What a record that could not be decoded may have meant. */
const guess = ({ value_utf8: text }) => (text === undefined ? null : Object.fromEntries(fieldsOf(text) ?? []));

/** Every try to put it back, oldest first. */
function tries({ redrives }) {
  if (!redrives?.length) return null;
  return el('section', { class: 'card' }, table(counted(redrives.length, 'try', 'tries'), [
    { name: 'When', head: true, of: ({ at }) => moment(at) },
    { name: 'By', of: ({ by }) => (by ? el('code', {}, by) : undefined) ?? el('span', { class: 'muted' }, 'nobody\u2019s key') },
    { name: 'As', of: ({ edited }) => (edited ? 'mended' : 'it was') },
    { name: 'Outcome', of: ({ outcome, reason }) => [el('span', { class: `tag ${outcome === 'counted' ? 'good' : outcome === 'dead_lettered' ? 'bad' : 'plain'}` }, outcome ? spoken(outcome) : 'not concluded yet'), reason && ` ${spoken(reason)}`] },
    { name: 'Detail', long: true, grows: true, of: ({ detail }) => detail ?? '' },
  ], redrives, { stacks: true }));
}

/** Fields in the order of reading; all others come behind them. */
const ORDER = ['user_id', 'event_type', 'occurred_at', 'amount', 'reverse', 'idempotency_key'];
const rank = ([name]) => (ORDER.indexOf(name) + ORDER.length + 1) % (ORDER.length + 1);

/** The event that the record holds, field by field. */
function decoded({ event, undecoded }) {
  if (event === undefined) return null;
  if (event === null) return el('section', { class: 'card' }, el('h2', {}, 'No event could be read'), el('p', {}, undecoded ?? ''));
  const rows = Object.entries(event).flatMap(([name, value]) =>
    (name === 'metadata' && value !== null && typeof value === 'object' ? Object.entries(value).map(([key, one]) => [`metadata.${key}`, one]) : [[name, value]]))
    .filter(([, value]) => value !== null)
    .sort((a, b) => rank(a) - rank(b));
  return el('section', { class: 'card' },
    table('The event as it was read', [
      { name: 'Field', head: true, of: ([name]) => name },
      { name: 'Value', long: true, grows: true, of: ([, one]) => (typeof one === 'string' ? one : JSON.stringify(one)) },
    ], rows),
    el('details', {}, el('summary', {}, 'As JSON'), el('pre', { tabindex: '0', 'aria-label': 'The event as JSON' }, JSON.stringify(event, null, 2))));
}

function value(letter) {
  const size = letter.value_bytes;
  const heading = el('h2', {}, 'What was sent');
  if (size === null) return el('section', { class: 'card' }, heading, el('p', {}, 'The record has no value.'));
  const cut = letter.value_truncated && el('p', { class: 'notice' }, `Only the beginning of ${counted(size, 'byte')} is shown.`);
  const fields = letter.value_utf8 === undefined ? null : fieldsOf(letter.value_utf8);
  return el('section', { class: 'card' }, heading, cut,
    fields && letter.event === undefined && table('Its fields', [
      { name: 'Field', head: true, of: ([name]) => name },
      { name: 'Value', long: true, of: ([, value]) => (typeof value === 'string' ? value : JSON.stringify(value)) },
    ], fields),
    letter.value_utf8 === undefined
      ? [el('p', { class: 'hint' }, `${counted(size, 'byte')} that are no text: in hex, and beside it what of them can be read.`), bytesOf(letter.value_hex)]
      : [el('p', { class: 'hint' }, `${counted(size, 'byte')} of text.`), el('pre', { tabindex: '0', 'aria-label': 'The value as text' }, letter.value_utf8)]);
}

/** The fields of a JSON object, or null. */
function fieldsOf(text) {
  try {
    const parsed = JSON.parse(text);
    return parsed !== null && typeof parsed === 'object' && !Array.isArray(parsed) ? Object.entries(parsed) : null;
  } catch {
    return null;
  }
}

function bytesOf(hex) {
  // As many as a phone shows without scrolling.
  const each = innerWidth < 500 ? 8 : 16;
  const bytes = hex.match(/../g) ?? [];
  const lines = [];
  for (let at = 0; at < Math.min(bytes.length, SHOWN_BYTES); at += each) {
    const line = bytes.slice(at, at + each);
    const readable = line.map((byte) => Number.parseInt(byte, 16)).map((code) => (code >= 32 && code < 127 ? String.fromCharCode(code) : '\u00b7'));
    const halves = [line.slice(0, 8).join(' '), line.slice(8).join(' ')].join('  ');
    lines.push(`${at.toString(16).padStart(4, '0')}  ${halves.padEnd(each * 3)}  ${readable.join('')}`);
  }
  return [
    el('pre', { class: 'bytes', tabindex: '0', 'aria-label': 'The value in hex' }, lines.join('\n')),
    bytes.length > SHOWN_BYTES && el('p', { class: 'hint' }, `These are the first ${count(SHOWN_BYTES)} bytes.`),
  ];
}
