// Distinct users, estimated: how many different users there were, and between which numbers that surely is in 19 of 20 cases. The same
// user on two days is one user of both together, so days do not add up.

import { el } from '../dom.js';
import { table } from '../tables.js';
import { count, date } from '../words.js';

const between = ({ low, high, users }) => (low === users && high === users ? 'exactly' : `${count(low)} to ${count(high)}`);

/** All of the range, as one large number. */
export const usersFigure = ({ total }) => ({ name: 'Users', value: count(total.users), note: between(total) === 'exactly' ? 'different ones' : `estimated: ${between(total)}` });

/** By day and type, on demand. */
export function usersTable({ days }) {
  if (days.length === 0) return null;
  return el('details', {}, el('summary', {}, 'Users by day and type'),
    el('section', { class: 'card' },
      table('Different users by day and type', [
        { name: 'Day', head: true, of: (line) => el('time', { datetime: line.day }, date(line.day)) },
        { name: 'Type', long: true, of: (line) => line.event_type },
        { name: 'Users', number: true, of: (line) => count(line.users) },
        { name: 'Surely between', number: true, of: (line) => between(line) },
      ], days),
      el('p', { class: 'hint' }, 'A user who comes on two days is one of each and one in all. The numbers are estimates of UTC days; 19 of 20 are within what stands beside them.')));
}
