// One day: its numbers by type, and the users who did most, each of whom leads to the events behind the number.

import { ask, path } from '../api.js';
import { el } from '../dom.js';
import { asked, queryOf } from '../range.js';
import { asOf, empty, load } from '../states.js';
import { figures, table } from '../tables.js';
import { byWeight } from '../totals.js';
import { addSums, count, counted, date, sum } from '../words.js';
import { shift } from '../zones.js';

const LIMIT = 50;

export function open({ root, signal }, to) {
  const title = el('h1', {});
  const lead = el('p', { class: 'lead' });
  const ways = el('div', { class: 'actions' });
  const box = el('div');
  let turn = new AbortController();
  root.append(el('p', { class: 'way' }, el('a', { href: '#/days' }, 'Days')), title, lead, ways, box);

  function update({ args, query }) {
    turn.abort();
    turn = new AbortController();
    signal.addEventListener('abort', () => turn.abort(), { once: true });
    const { signal: ends } = turn;
    const day = args[0];
    const isDate = /^\d{4}-\d{2}-\d{2}$/.test(day) && !Number.isNaN(Date.parse(day));
    const now = asked(query);
    title.textContent = isDate ? date(day) : day;
    lead.textContent = `A day of the zone ${now.tz}${now.types.length > 0 ? `; types: ${now.types.join(', ')}` : ''}.`;
    ways.replaceChildren();
    if (isDate) ways.append(...[-1, 1].map((by) => el('a', { class: 'button plain', href: linkOf(shift(day, by), now) }, by < 0 ? 'Day before' : 'Day after')));
    const of = queryOf(now, {});
    load(box, {
      what: 'the day', signal: ends,
      get: () => Promise.all([
        ask(path(`/v1/days/${encodeURIComponent(day)}`, of), { signal: ends }),
        ask(path(`/v1/days/${encodeURIComponent(day)}/users`, { ...of, limit: LIMIT }), { signal: ends }),
      ]),
      show: ([totals, users]) => shown(day, totals, users, now),
    });
  }

  update(to);
  return { update };
}

/** The address of a day's page. */
export const linkOf = (day, { tz, types }) => path(`#/days/${day}`, { tz, type: types });

function shown(day, totals, { users, complete }, now) {
  const lines = totals.days;
  if (lines.length === 0) return [empty('No events on this day', 'Other days may have some.'), asOf(totals.as_of)];
  const order = byWeight(lines);
  const userLink = (id) => path(`#/users/${encodeURIComponent(id)}`, { from: day, to: day, tz: now.tz });
  return [
    figures([
      { name: 'Events', value: count(lines.reduce((all, line) => all + line.count, 0)) },
      { name: 'Sum of amounts', value: sum(addSums(lines.map((line) => line.sum))) },
      { name: 'Types', value: count(order.length) },
    ]),
    el('section', { class: 'card' }, table('By type', [
      { name: 'Type', head: true, long: true, of: (line) => line.event_type },
      { name: 'Events', number: true, of: (line) => count(line.count) },
      { name: 'Sum', number: true, of: (line) => sum(line.sum) },
    ], [...lines].sort((a, b) => order.indexOf(a.event_type) - order.indexOf(b.event_type)))),
    el('section', { class: 'card' },
      table(`The ${counted(users.length, 'user')} with the most events`, [
        { name: 'User', head: true, long: true, of: (user) => el('a', { href: userLink(user.user_id) }, user.user_id) },
        { name: 'Events', number: true, of: (user) => count(user.count) },
        { name: 'Sum', number: true, of: (user) => sum(user.sum) },
      ], users),
      complete ? users.length === LIMIT && el('p', { class: 'hint' }, `There may be more users; the first ${LIMIT} are shown.`)
        : el('p', { class: 'notice' }, 'There are too many users to look at all of them: others may have more events.')),
    asOf(totals.as_of),
  ];
}
