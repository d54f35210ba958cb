// Making elements. Text is only ever set as text: whatever a sender called an event type or a user, it is shown and never run.

/** An element with properties and children. Children are nodes, texts, lists of these, or nothing. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'on') for (const [event, handler] of Object.entries(value)) node.addEventListener(event, handler);
    else if (name === 'class') node.className = value;
    else if (name === 'value' || name === 'checked') node[name] = value;
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  add(node, children);
  return node;
}

/** Replaces what is in a node. */
export function fill(node, ...children) {
  node.replaceChildren();
  add(node, children);
  return node;
}

function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

let ids = 0;

/** An id that no other element has. */
export const freshId = (name) => `${name}-${++ids}`;

/** A control with its label above it. */
export function field(label, control, hint) {
  control.id ||= freshId('field');
  const hinted = hint && el('p', { class: 'hint', id: freshId('hint') }, hint);
  if (hinted) control.setAttribute('aria-describedby', hinted.id);
  return el('div', { class: 'field' }, el('label', { for: control.id }, label), control, hinted);
}

/** A choice of a few words. `options` are pairs of value and label. */
export function select(options, value, change) {
  const node = el('select', { on: { change: () => change?.(node.value) } });
  for (const [key, label] of options) node.append(el('option', { value: key }, label));
  node.value = value;
  return node;
}

/** A time to pass, ended early by the signal. */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

/** Offers a text as a file. */
export function download(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  el('a', { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** A button that copies a text, and says so. Where the browser has no clipboard (a page without TLS) the old way does. */
export function copied(text, label) {
  const button = el('button', { type: 'button' }, label);
  button.addEventListener('click', async () => {
    let isDone = false;
    try {
      await navigator.clipboard.writeText(text());
      isDone = true;
    } catch {
      const area = el('textarea', { class: 'hidden', readonly: true });
      area.value = text();
      button.after(area);
      area.select();
      isDone = document.execCommand('copy');
      area.remove();
      button.focus();
    }
    button.textContent = isDone ? 'Copied' : 'Copy it by hand';
    setTimeout(() => { button.textContent = label; }, 2_000);
  });
  return button;
}
