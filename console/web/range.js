// Which days of which zone, in which buckets: the form above days and users. What is chosen goes into the address, so that it can be
// sent to somebody, and comes back from it.

import { el, field, freshId, select } from './dom.js';
import { choose, isZone, shift, today, zone, zones } from './zones.js';

const QUICK = [['', 'Own range'], ['7', 'Last 7 days'], ['30', 'Last 30 days'], ['90', 'Last 90 days'], ['365', 'Last 365 days']];
const BUCKETS = [['15m', '15 minutes'], ['1h', 'Hour'], ['1d', 'Day'], ['1mo', 'Month']];
const MEASURES = [['count', 'Events'], ['sum', 'Sums']];

/** What an address asks for, with what it leaves open. `from` and `to` stay null where the page is to find them. */
export function asked(query) {
  const tz = query.get('tz') ?? zone();
  return {
    tz,
    from: query.get('from'),
    to: query.get('to'),
    bucket: query.get('bucket') ?? '1d',
    measure: query.get('measure') === 'sum' ? 'sum' : 'count',
    types: query.getAll('type'),
  };
}

/** The last days of a zone up to today. */
export function lastDays(days, tz) {
  const to = today(tz);
  return { from: shift(to, 1 - days), to };
}

/** The form. `go(changes)` is called with what is chosen anew; `show(asked)` shows what an address says. */
export function rangeForm({ withBuckets, go }) {
  let at = null;
  const quick = select(QUICK, '', (days) => days && go(lastDays(Number(days), at.tz)));
  const from = el('input', { type: 'date', min: '1970-01-01', max: '2200-12-31', on: { change: dates } });
  const to = el('input', { type: 'date', min: '1970-01-01', max: '2200-12-31', on: { change: dates } });
  const list = el('datalist', { id: freshId('zones') }, zones().map((name) => el('option', { value: name })));
  const place = el('input', { type: 'text', list: list.id, autocomplete: 'off', spellcheck: 'false', on: { change: zoned, input: () => place.setCustomValidity(''), focus: () => place.select() } });
  const bucket = withBuckets && select(BUCKETS, '1d', (value) => go({ bucket: value }));
  const measure = select(MEASURES, 'count', (value) => go({ measure: value }));

  function dates() {
    // A year that is half written is not a date yet.
    if (!from.checkValidity() || !to.validity.valid && !to.validity.customError) return;
    to.setCustomValidity(from.value && to.value && from.value > to.value ? 'The range ends before it begins.' : '');
    if (from.value && to.value && to.reportValidity()) go({ from: from.value, to: to.value });
  }

  function zoned() {
    const name = place.value.trim() || 'UTC';
    place.setCustomValidity(isZone(name) ? '' : 'There is no such zone. Names are such as Europe/Berlin.');
    if (!place.reportValidity()) return;
    choose(name);
    go({ tz: name });
  }

  const node = el('form', { class: 'bar', on: { submit: (event) => event.preventDefault() } },
    field('From', from), field('To', to), field('Range', quick), field('Zone', place), list,
    withBuckets && field('By', bucket), field('Show', measure));
  return {
    node,
    show(now, { from: first, to: last }) {
      at = now;
      put(from, first ?? '');
      put(to, last ?? '');
      to.setCustomValidity('');
      const found = QUICK.find(([days]) => days && first === lastDays(Number(days), now.tz).from && last === today(now.tz));
      quick.value = found ? found[0] : '';
      put(place, now.tz);
      if (bucket) bucket.value = now.bucket;
      measure.value = now.measure;
    },
  };
}

/** Sets what a control shows; the same again would throw its cursor out of place. */
function put(input, value) {
  if (input.value !== value) input.value = value;
}

/** What of an answer's query stands for the range. A type's comma and backslash are escaped, as the API wants it. */
export function queryOf(now, { from, to }) {
  return {
    from, to, tz: now.tz,
    bucket: now.bucket === '1d' ? undefined : now.bucket,
    type: now.types.map((type) => type.replace(/[\\,]/g, '\\$&')),
  };
}
