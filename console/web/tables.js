// Tables that are read by eye, by keyboard and by ear: a caption, headers with scope, and a region that scrolls sideways on a phone
// and takes the focus so that arrow keys scroll it. Long ones grow on demand, since a browser is slow with ten thousand rows.

import { el } from './dom.js';
import { count } from './words.js';

const ROWS_AT_ONCE = 200;

/**
 * A table. `columns` are `{name, of(row), number, head, long}`: `number` aligns to the right, `head` makes it the row's header,
 * `long` lets it wrap, `grows` gives it the most room, `narrow` the least, `pick` is for a control; where its name is a control too, `word` is its name on a phone. `foot` is a row of totals, given as texts. With `stacks` a row becomes a block of lines on a phone, which long
 * texts need; `all` shows every row at once, where the caller bounds them.
 */
export function table(caption, columns, rows, { foot, empty = 'There is nothing to list.', stacks = false, all = false } = {}) {
  const classes = (column) => [column.number && 'number', column.long && 'long', column.grows && 'grows', column.pick && 'pick', column.narrow && 'narrow'].filter(Boolean).join(' ') || undefined;
  const atOnce = all ? rows.length : ROWS_AT_ONCE;
  const body = el('tbody');
  const more = el('button', { type: 'button', class: 'quiet more', on: { click: () => grow(true) } });
  let shown = 0;
  const grow = (isAsked) => {
    const first = shown;
    for (const row of rows.slice(shown, shown + atOnce)) body.append(line(columns, row, classes));
    shown = Math.min(rows.length, shown + atOnce);
    more.hidden = shown === rows.length;
    more.textContent = `Show more rows (${count(rows.length - shown)} are left)`;
    if (isAsked && more.hidden) { body.rows[first].tabIndex = -1; body.rows[first].focus(); }
  };
  grow(false);
  if (rows.length === 0) body.append(el('tr', {}, el('td', { colspan: columns.length, class: 'none' }, empty)));
  const head = el('tr', {}, columns.map((column) => el('th', { scope: 'col', class: classes(column) }, column.name)));
  const node = el('table', { class: stacks && 'stacks' },
    el('caption', {}, caption),
    el('thead', {}, head), body,
    foot && rows.length > 1 && el('tfoot', {}, el('tr', {}, foot.map((text, index) =>
      el(index === 0 ? 'th' : 'td', { scope: index === 0 ? 'row' : undefined, class: classes(columns[index]) }, text)))));
  return el('div', { class: 'tabled' }, el('div', { class: 'scrolls', role: 'region', tabindex: '0', 'aria-label': caption }, node), more);
}

function line(columns, row, classes) {
  return el('tr', {}, columns.map((column) => {
    const content = column.of(row);
    // On a phone a cell is a name and one thing beside it.
    const whole = Array.isArray(content) ? el('span', {}, content) : content;
    return el(column.head ? 'th' : 'td', { scope: column.head ? 'row' : undefined, class: classes(column), 'data-name': column.word ?? column.name }, whole);
  }));
}

/** Names and values. */
export const facts = (pairs) => el('dl', { class: 'facts' },
  pairs.filter(Boolean).map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, value))));

/** A few large numbers. */
export const figures = (list) => el('dl', { class: 'figures' },
  list.map(({ name, value, note, kind }) => el('div', { class: kind }, el('dt', {}, name), el('dd', {}, value), note && el('dd', { class: 'note' }, note))));
