// An event as a form: the fields that every event has, and all others as JSON. What the server finds wrong stands at the field that it
// names. Used where a dead letter is mended.

import { el, field, fill, freshId } from '../dom.js';
import { failure } from '../states.js';

/** Fields of an event, in the order of reading. */
const FIELDS = [
  ['user_id', 'User', { required: true, maxlength: 256 }],
  ['event_type', 'Type of event', { required: true, maxlength: 128 }],
  ['occurred_at', 'Time', { placeholder: '2025-11-04T12:00:00Z' }],
  ['amount', 'Amount', { inputmode: 'decimal', placeholder: 'none' }],
];
/** Names by which the API may call them. */
const ALSO = { userId: 'user_id', eventType: 'event_type', type: 'event_type', timestamp: 'occurred_at', time: 'occurred_at', occurredAt: 'occurred_at' };

/**
 * The form. `send(event, tenant)` sends it, and throws the server's problem. With `asksTenant` it asks whose the event is, which only
 * the operator may say.
 */
export function eventForm(event, { asksTenant, label, send, cancel }) {
  const controls = Object.fromEntries(FIELDS.map(([name, , props]) =>
    [name, el('input', { type: 'text', autocomplete: 'off', spellcheck: 'false', value: textOf(event?.[name]), ...props })]));
  controls.reverse = el('input', { type: 'checkbox', id: freshId('reverse'), checked: event?.reverse === true });
  controls.metadata = el('textarea', { rows: 6, spellcheck: 'false', class: 'code' });
  controls.metadata.value = JSON.stringify(others(event), null, 2);
  if (asksTenant) controls.tenant = el('input', { type: 'text', maxlength: 128, autocomplete: 'off', spellcheck: 'false' });
  const faults = Object.fromEntries(Object.entries(controls).map(([name, control]) => {
    const fault = el('p', { class: 'fault', id: freshId('fault') });
    control.setAttribute('aria-errormessage', fault.id);
    return [name, fault];
  }));
  const trouble = el('div');
  const button = el('button', { type: 'submit' }, label);
  const blame = (name, words) => {
    fill(faults[name], words);
    controls[name].setAttribute('aria-invalid', 'true');
    controls[name].focus();
  };
  const clear = () => {
    fill(trouble);
    for (const [name, control] of Object.entries(controls)) { control.removeAttribute('aria-invalid'); fill(faults[name]); }
  };
  const submit = async (raised) => {
    raised.preventDefault();
    clear();
    const more = parsed(controls.metadata.value);
    if (more === null) { blame('metadata', 'This must be a JSON object, such as {"page": "home"}.'); return; }
    const whole = { ...more };
    for (const [name] of FIELDS) if (controls[name].value.trim() !== '') whole[name] = controls[name].value.trim();
    if (controls.reverse.checked) whole.reverse = true;
    button.disabled = true;
    try {
      await send(whole, controls.tenant?.value);
    } catch (problem) {
      const [first] = faultsOf(problem);
      if (first) blame(first.name, first.words); else fill(trouble, failure(problem));
    } finally {
      button.disabled = false;
    }
  };
  const labelled = (name, words, hint) => el('div', { class: 'field' }, ...field(words, controls[name], hint).childNodes, faults[name]);
  return el('form', { class: 'mend', novalidate: true, on: { submit, input: clear } },
    el('div', { class: 'bar' }, FIELDS.map(([name, words]) => labelled(name, words)), asksTenant && labelled('tenant', 'Tenant', 'Only where the record has none that can be read; it takes a key with the scope operator.')),
    el('div', { class: 'check' }, controls.reverse, el('label', { for: controls.reverse.id }, 'It takes the event back (reverse)')),
    labelled('metadata', 'All other fields, as JSON'),
    trouble,
    el('div', { class: 'actions' }, button, el('button', { type: 'button', class: 'quiet', on: { click: cancel } }, 'Cancel')));

  /** What a problem says of fields that the form has. */
  function faultsOf(problem) {
    const { results, field: named, parameter } = problem.members ?? {};
    const list = Array.isArray(results) && results.length > 0 ? results : [{ field: named ?? parameter, message: problem.detail }];
    return list.flatMap(({ field: name = '', message }) => {
      const of = String(name).replace(/^event\./, '');
      const known = ALSO[of] ?? of;
      const at = known in controls ? known : of.startsWith('metadata') || known === 'idempotency_key' ? 'metadata' : null;
      return at ? [{ name: at, words: message || problem.detail }] : [];
    });
  }
}

const textOf = (value) => (value === undefined || value === null ? '' : String(value));

/** What is no field of its own. Its key is left out: a mended event has the key of its place. */
function others(event) {
  const { user_id, event_type, occurred_at, amount, reverse, idempotency_key, metadata, ...rest } = event ?? {};
  return { ...rest, ...(metadata !== null && typeof metadata === 'object' ? metadata : {}) };
}

function parsed(text) {
  try {
    const value = JSON.parse(text.trim() || '{}');
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}
