// The API key, where the server wants one. It lives as long as the browser's tab and is never written anywhere else. One question
// is asked at a time, however many requests were refused.

import { el, field } from './dom.js';

const PLACE = 'tidemark.key';
let memory = null;
let asking = null;

/** The key, or null. */
export function key() {
  if (memory !== null) return memory;
  try { return sessionStorage.getItem(PLACE); } catch { return null; }
}

/** Keeps a key, or forgets it. */
export function keep(value) {
  memory = value;
  try {
    if (value === null) sessionStorage.removeItem(PLACE);
    else sessionStorage.setItem(PLACE, value);
  } catch { /* kept in memory */ }
  dispatchEvent(new Event('keychange'));
}

/** What a request says of who asks. */
export const credentials = () => (key() === null ? {} : { Authorization: `Bearer ${key()}` });

/** Asks for a key. `refused` is the one that did not do. True where there is another one to try. */
export function askForKey(refused) {
  if (key() !== refused) return Promise.resolve(true);
  asking ??= question(refused !== null).finally(() => { asking = null; });
  return asking;
}

function question(isRefused) {
  return new Promise((resolve) => {
    const input = el('input', { type: 'password', autocomplete: 'off', spellcheck: 'false', required: true });
    const close = (value) => {
      dialog.close();
      dialog.remove();
      if (value) keep(value);
      resolve(Boolean(value));
    };
    const form = el('form', { on: { submit: (event) => { event.preventDefault(); close(input.value.trim()); } } },
      el('h2', { id: 'key-title' }, 'This server asks for an API key'),
      el('p', {}, isRefused ? 'The key was not accepted. It may be mistyped, revoked, or of another server.'
        : 'It is kept in this tab until the tab is closed, and sent to this server only.'),
      field('API key', input),
      el('div', { class: 'actions' },
        el('button', { type: 'submit' }, 'Use this key'),
        el('button', { type: 'button', class: 'quiet', on: { click: () => close(null) } }, 'Cancel')));
    const dialog = el('dialog', { 'aria-labelledby': 'key-title', on: { cancel: (event) => { event.preventDefault(); close(null); } } }, form);
    document.body.append(dialog);
    dialog.showModal();
    input.focus();
  });
}
