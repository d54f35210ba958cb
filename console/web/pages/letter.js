// One dead letter: why it was refused, where it lies, and the bytes that were sent. Bytes that are text are shown as text, JSON as its
// fields too; all others as hex beside what of them is readable.

import { ask } from '../api.js';
import { el } from '../dom.js';
import { load } from '../states.js';
import { facts, table } from '../tables.js';
import { count, counted, spoken, time } from '../words.js';
import { REASONS } from './letters.js';

/** Longest hex that is shown; what a reader looks for stands at the beginning. */
const SHOWN_BYTES = 4_096;

export function open({ root, signal }, to) {
  const title = el('h1', {});
  const box = el('div');
  root.append(el('p', { class: 'way' }, el('a', { href: '#/dead-letters' }, 'Dead letters')), title, box);

  function update({ args }) {
    title.textContent = `Dead letter ${args[0]}`;
    delete box.dataset.shown;
    load(box, {
      what: 'the dead letter', signal,
      get: () => ask(`/v1/dead-letters/${encodeURIComponent(args[0])}`, { signal }),
      show: shown,
    });
  }

  update(to);
  return { update };
}

function shown(letter) {
  return [
    el('section', { class: 'card' },
      el('p', { class: 'why' }, el('span', { class: 'tag' }, spoken(letter.reason)), REASONS[letter.reason] ?? ''),
      facts([
        ['Detail', letter.detail],
        ['Accepted', el('time', { datetime: letter.accepted_at }, time(letter.accepted_at))],
        ['Partition and offset', `${letter.partition}, ${count(letter.offset)}`],
        ['User', letter.user_id === null ? el('span', { class: 'muted' }, 'not readable')
          : el('a', { href: `#/users/${encodeURIComponent(letter.user_id)}` }, letter.user_id)],
        ['Key', letter.key !== null ? el('code', {}, letter.key) : letter.key_hex ? el('code', {}, `0x${letter.key_hex}`) : el('span', { class: 'muted' }, 'none')],
      ])),
    value(letter),
  ];
}

function value(letter) {
  const size = letter.value_bytes;
  const heading = el('h2', {}, 'What was sent');
  if (size === null) return el('section', { class: 'card' }, heading, el('p', {}, 'The record has no value.'));
  const cut = letter.value_truncated && el('p', { class: 'notice' }, `Only the beginning of ${counted(size, 'byte')} is shown.`);
  const fields = letter.value_utf8 === undefined ? null : fieldsOf(letter.value_utf8);
  return el('section', { class: 'card' }, heading, cut,
    fields && table('Its fields', [
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
