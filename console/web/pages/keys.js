// Keys: who may do what, by tenant; a new one, whose text is shown once; one that is revoked, which is asked twice. What may be made here is
// what the reader's own key may make: the answer says who asks.

import { ask, reach } from '../api.js';
import { copied, el, field, fill } from '../dom.js';
import { keep, key } from '../key.js';
import { empty, failure, load } from '../states.js';
import { table } from '../tables.js';
import { count, counted, time } from '../words.js';

/** Every scope, with what it opens. */
const SCOPES = [
  ['ingest', 'sends events'],
  ['query', 'reads what was counted'],
  ['admin', 'dead letters, and keys of its tenant'],
  ['operator', 'the ledger, and keys of every tenant'],
];
/** Of the first key: without both nobody could make another one here. */
const FIRST = ['admin', 'operator'];

export function open({ root, signal }) {
  const made = el('div', { role: 'status' });
  const list = el('div');
  const create = el('div');
  root.append(
    el('h1', {}, 'Keys'),
    el('p', { class: 'lead' }, 'What clients show to be let in. Each is of one tenant, and opens what its scopes say and nothing else.'),
    made, list, create);

  const look = () => load(list, {
    what: 'the keys', signal,
    get: () => ask('/v1/keys', { signal }),
    show: (answer) => {
      if (!create.firstChild) fill(create, form({ ...answer, isFirst: answer.caller.id === null, signal, done }));
      return shown(answer, { signal, again: look });
    },
  });

  function done(line, isFirst) {
    // From here on the server asks for a key: whoever made the first one must not be locked out of this page.
    if (isFirst) keep(line.key);
    fill(made, secret(line, isFirst, () => fill(made)));
    made.querySelector('input').focus();
    made.scrollIntoView({ block: 'nearest' });
    fill(create);
    look();
  }

  look();
  return { update() {} };
}

function shown({ keys, caller }, act) {
  if (caller.id === null) {
    return [empty('There are no keys yet', 'Whoever reaches this machine may do everything, and only this machine is answered.',
      'The first key changes that: from then on every request needs one.')];
  }
  const isOperator = caller.scopes.includes('operator');
  const [held, revoked] = [keys.filter((one) => !one.revoked_at), keys.filter((one) => one.revoked_at)];
  const columns = (last) => [
    { name: 'Name', head: true, long: true, of: (one) => [one.name || el('span', { class: 'muted' }, 'without a name'), one.id === caller.id && [' ', el('span', { class: 'tag plain' }, 'this one')]] },
    isOperator && { name: 'Tenant', long: true, of: (one) => one.tenant },
    { name: 'Scopes', narrow: true, of: (one) => one.scopes.join(', ') },
    { name: 'Limits', narrow: true, of: limits },
    { name: 'Last used', narrow: true, of: (one) => moment(one.last_used_at) },
    { name: 'Id', of: (one) => el('code', {}, one.id) },
    last,
  ].filter(Boolean);
  return [
    el('section', { class: 'card' },
      table(counted(held.length, 'key'), columns({ name: 'Revoke', of: (one) => revocation(one, caller, act) }), held, { stacks: true })),
    revoked.length > 0 && el('details', {}, el('summary', {}, counted(revoked.length, 'revoked key')),
      el('section', { class: 'card' },
        table('Revoked keys, which open nothing', columns({ name: 'Revoked', of: (one) => moment(one.revoked_at) }), revoked, { stacks: true }))),
  ];
}

const moment = (text) => (text ? el('time', { datetime: text }, time(text)) : el('span', { class: 'muted' }, 'never'));
const limits = ({ rate, quota }) => [rate && `${count(rate)} requests a second`, quota && `${count(quota)} events a day`].filter(Boolean).join(', ') || el('span', { class: 'muted' }, 'none');

/** The button of a row. It is asked twice, in a dialog that says what it means. */
function revocation(one, caller, { signal, again }) {
  const may = caller.scopes.includes('operator') || one.scopes.every((scope) => caller.scopes.includes(scope));
  if (!may) return el('span', { class: 'muted' }, 'has more scopes than yours');
  const name = one.name ? `\u201c${one.name}\u201d` : one.id;
  return el('button', { type: 'button', class: 'quiet small', 'aria-label': `Revoke ${name}`, on: { click: () => confirm() } }, 'Revoke');

  function confirm() {
    const box = el('div', { role: 'alert' });
    let force = false;
    const close = () => { dialog.close(); dialog.remove(); };
    const act = async () => {
      for (const button of dialog.querySelectorAll('button')) button.disabled = true;
      try {
        await reach(`/v1/keys/${one.id}${force ? '?force=true' : ''}`, { method: 'DELETE', signal });
        close();
        if (one.id === caller.id) { keep(null); location.reload(); } else again();
      } catch (problem) {
        for (const button of dialog.querySelectorAll('button')) button.disabled = false;
        if (problem.code !== 'last_operator_key') { fill(box, failure(problem)); return; }
        force = true;
        fill(box, el('p', { class: 'notice' }, 'It is the last key with the scope operator. Without it, keys of other tenants and the ledger are out of reach from here; tidemark keys makes another on the server.'));
        dialog.querySelector('.danger').textContent = 'Revoke it all the same';
        dialog.querySelector('button.quiet').focus();
      }
    };
    const dialog = el('dialog', { 'aria-labelledby': 'revoke-title', on: { cancel: (event) => { event.preventDefault(); close(); } } },
      el('form', { on: { submit: (event) => { event.preventDefault(); act(); } } },
        el('h2', { id: 'revoke-title' }, `Revoke ${name} for good?`),
        el('p', {}, one.id === caller.id ? 'It is the key that this page uses: you will be asked for another one.'
          : `Whoever uses it is refused from now on, everywhere within two seconds.${one.last_used_at ? ` It was used last on ${time(one.last_used_at)}.` : ' It was never used.'}`),
        box,
        el('div', { class: 'actions' },
          el('button', { type: 'submit', class: 'danger' }, 'Revoke for good'),
          el('button', { type: 'button', class: 'quiet', on: { click: close } }, 'Keep it'))));
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector('button.quiet').focus();
  }
}

/** What is to be made. Problems of the server stand at the field that they name. */
function form({ caller, isFirst, signal, done }) {
  const isOperator = caller.scopes.includes('operator');
  const name = el('input', { type: 'text', maxlength: 128, autocomplete: 'off', placeholder: 'shop, till 3' });
  const tenant = el('input', { type: 'text', maxlength: 128, autocomplete: 'off', spellcheck: 'false', required: true, value: caller.tenant, disabled: !isOperator });
  const rate = el('input', { type: 'number', min: 1, max: 1_000_000, step: 1, placeholder: 'no limit' });
  const quota = el('input', { type: 'number', min: 1, step: 1, placeholder: 'no limit' });
  const boxes = SCOPES.filter(([scope]) => isOperator || caller.scopes.includes(scope)).map(([scope, meaning]) => {
    const box = el('input', { type: 'checkbox', id: `scope-${scope}`, name: 'scopes', value: scope, checked: isFirst, disabled: isFirst && FIRST.includes(scope) });
    return el('div', { class: 'check' }, box, el('label', { for: box.id }, el('strong', {}, scope), ` \u2013 ${meaning}`));
  });
  const scopes = el('fieldset', { class: 'scopes' }, el('legend', {}, 'Scopes'), boxes);
  const trouble = el('div');
  const controls = { name, tenant, rate, quota };
  const number = (input) => (input.value === '' ? null : Number(input.value));
  const clear = () => {
    fill(trouble);
    for (const control of Object.values(controls)) control.setCustomValidity('');
    scopes.querySelector('input').setCustomValidity('');
  };
  const submit = async (event) => {
    event.preventDefault();
    clear();
    const picked = [...scopes.querySelectorAll('input:checked')].map((box) => box.value);
    if (picked.length === 0) return say(scopes.querySelector('input'), 'Choose at least one scope.');
    const body = JSON.stringify({ tenant: tenant.value, name: name.value, scopes: picked, rate: number(rate), quota: number(quota) });
    const button = node.querySelector('button');
    button.disabled = true;
    try {
      done(await ask('/v1/keys', { method: 'POST', body, headers: { 'Content-Type': 'application/json' }, signal }), isFirst);
    } catch (problem) {
      if (signal.aborted) return;
      button.disabled = false;
      const at = controls[problem.members?.parameter];
      if (at) say(at, problem.detail); else fill(trouble, failure(problem));
    }
  };
  const say = (control, words) => { control.setCustomValidity(words); control.reportValidity(); };
  const node = el('form', { class: 'card make', on: { submit, input: clear } },
    el('h2', {}, isFirst ? 'Make the first key' : 'Make a key'),
    el('div', { class: 'bar tops' }, field('Name', name, 'For people: who has it, and what for.'), field('Tenant', tenant, isFirst ? 'What was counted so far is of the tenant default.' : undefined)),
    scopes,
    el('div', { class: 'bar' }, field('Requests a second', rate), field('Events a day', quota)),
    trouble,
    el('div', { class: 'actions' }, el('button', { type: 'submit' }, 'Make the key')));
  return node;
}

/** The text of a key, which nobody can show again. */
function secret(line, isFirst, close) {
  const input = el('input', { type: 'text', readonly: true, value: line.key, class: 'secret', on: { focus: () => input.select() } });
  return el('section', { class: 'card fresh-key' },
    el('h2', {}, line.name ? `The new key \u201c${line.name}\u201d` : 'The new key'),
    el('p', {}, 'Copy it now: it is shown this once, and nobody can show it again.'),
    field('Key', input),
    isFirst && el('p', { class: 'notice' }, 'This server asks for a key from now on. This tab uses the new one until it is closed.'),
    el('div', { class: 'actions' }, copied(() => line.key, 'Copy the key'),
      el('button', { type: 'button', class: 'quiet', on: { click: close } }, 'I have it: hide it')));
}
