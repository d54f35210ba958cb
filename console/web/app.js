// The frame of the page: which page the address names, the navigation, and whether the server answers. An address is
// `#/page/part?name=value`, so that every view has a link, and back and forward work. A page is a module with `open`, which fills
// the root and gives `update` for another address of the same page; what it starts ends with its signal.

import { ask } from './api.js';
import { el, fill } from './dom.js';
import { keep, key } from './key.js';
import * as day from './pages/day.js';
import * as days from './pages/days.js';
import * as keys from './pages/keys.js';
import * as letter from './pages/letter.js';
import * as letters from './pages/letters.js';
import * as live from './pages/live.js';
import * as send from './pages/send.js';
import * as system from './pages/system.js';
import * as upload from './pages/upload.js';
import * as uploads from './pages/uploads.js';
import * as user from './pages/user.js';

/** The pages, in the order of the navigation. Those without a label are reached from others. */
const PAGES = [
  { name: 'days', label: 'Days', page: days, part: day },
  { name: 'live', label: 'Live', page: live },
  { name: 'users', label: 'Users', page: user },
  { name: 'send', label: 'Send', page: send, needs: 'takes_events' },
  { name: 'uploads', label: 'Uploads', page: uploads, part: upload },
  { name: 'dead-letters', label: 'Dead letters', page: letters, part: letter },
  { name: 'keys', label: 'Keys', page: keys },
  { name: 'system', label: 'System', page: system },
];

const main = document.getElementById('main');
let about = { takes_events: true, version: '' };
let current = null;

/** What an address says. */
function place() {
  const [way, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, ...rest] = way.split('/');
  const args = rest.filter(Boolean).map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  return { name: name || 'days', args, query: new URLSearchParams(query) };
}

/** Goes to an address; values that are empty are left out. */
function go(name, args, query, { replace = false } = {}) {
  const kept = Object.entries(query).flatMap(([key, value]) => [value].flat().map((one) => [key, one]));
  const text = new URLSearchParams(kept.filter(([, value]) => value !== '' && value !== undefined && value !== null)).toString();
  const hash = `#/${[name, ...args.map(encodeURIComponent)].join('/')}${text ? `?${text}` : ''}`;
  if (hash === location.hash) return;
  if (replace) location.replace(hash);
  else location.hash = hash;
}

function show() {
  const to = place();
  const known = PAGES.find((entry) => entry.name === to.name && (!entry.needs || about[entry.needs]));
  const page = known && to.args.length > 0 && known.part ? known.part : known?.page;
  if (current && current.page === page && page) {
    current.view.update(to);
    return;
  }
  current?.stop.abort();
  const stop = new AbortController();
  const isFirst = current === null;
  navigation(known?.name);
  document.title = `${known?.label ?? 'Not found'} · Tidemark`;
  main.className = `page ${known?.name ?? ''}`;
  if (page) {
    const context = { root: fill(main), signal: stop.signal, about, go: (args, query, how) => go(known.name, args, query, how) };
    current = { page, stop, view: page.open(context, to) };
  } else {
    fill(main, el('h1', {}, 'There is no such page'), el('p', { class: 'lead' }, el('a', { href: '#/days' }, 'Go to the days')));
    current = { page: null, stop, view: null };
  }
  if (!isFirst) {
    scrollTo(0, 0);
    const heading = main.querySelector('h1');
    if (heading) { heading.tabIndex = -1; heading.focus({ preventScroll: true }); }
  }
}

function navigation(name) {
  const entries = PAGES.filter((entry) => !entry.needs || about[entry.needs]);
  const nav = document.getElementById('nav');
  fill(nav, el('ul', {}, entries.map((entry) =>
    el('li', {}, el('a', { href: `#/${entry.name}`, 'aria-current': entry.name === name && 'page' }, entry.label)))));
  bringIntoSight();
}

/** On a phone the row of links may scroll: the present one must be in sight. */
function bringIntoSight() {
  const nav = document.getElementById('nav');
  const at = nav.querySelector('[aria-current]');
  if (at) nav.scrollLeft = at.offsetLeft - (nav.clientWidth - at.offsetWidth) / 2;
}

function frame() {
  document.getElementById('skip').addEventListener('click', (event) => {
    event.preventDefault();
    main.focus();
  });
  const link = document.getElementById('link');
  addEventListener('server', ({ detail: isThere }) => {
    const word = isThere ? 'Server answers' : 'No answer';
    if (link.textContent === word) return;
    link.textContent = word;
    link.dataset.state = isThere ? 'up' : 'gone';
  });
  const forget = document.getElementById('key');
  const keyed = () => { forget.hidden = key() === null; };
  forget.addEventListener('click', () => { keep(null); location.reload(); });
  addEventListener('keychange', keyed);
  keyed();
}

frame();
try {
  about = await ask('/console/about.json');
  document.getElementById('about').textContent = `Tidemark ${about.version}`;
} catch { /* The pages say themselves that the server does not answer. */ }
addEventListener('hashchange', show);
addEventListener('resize', bringIntoSight);
show();
