// The theme, set before anything is painted: what the system says, unless the reader chose otherwise. A classic script, since a
// module would run after the first paint and the page would flash.
(() => {
  const root = document.documentElement;
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const kept = () => { try { return localStorage.getItem('tidemark.theme'); } catch { return null; } };
  const isDark = () => (root.dataset.theme ?? (dark.matches ? 'dark' : 'light')) === 'dark';
  const changed = () => dispatchEvent(new Event('themechange'));
  const chosen = kept();
  if (chosen === 'dark' || chosen === 'light') root.dataset.theme = chosen;
  dark.addEventListener('change', changed);

  addEventListener('DOMContentLoaded', () => {
    const button = document.getElementById('theme');
    const show = () => button.setAttribute('aria-pressed', String(isDark()));
    button.addEventListener('click', () => {
      root.dataset.theme = isDark() ? 'light' : 'dark';
      try { localStorage.setItem('tidemark.theme', root.dataset.theme); } catch { /* kept for this page only */ }
      changed();
    });
    addEventListener('themechange', show);
    show();
  });
})();
