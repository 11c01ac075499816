// Dark or light: as the system has it, until the button says otherwise; the choice is for all tabs of the browser.

import { icon } from './dom.js';

const CHOSEN = 'chamberlain.theme';

/** Keeps the page's colours in step with the system and the button. @param {HTMLElement} button */
export function themes(button) {
  const system = matchMedia('(prefers-color-scheme: dark)');
  const show = () => {
    const chosen = localStorage.getItem(CHOSEN);
    const root = document.documentElement;
    if (chosen === 'dark' || chosen === 'light') root.dataset.theme = chosen;
    else delete root.dataset.theme;
    const dark = root.dataset.theme ? root.dataset.theme === 'dark' : system.matches;
    button.replaceChildren(icon(dark ? 'sun' : 'moon'));
    button.title = dark ? 'Light colours' : 'Dark colours';
    button.setAttribute('aria-label', button.title);
    button.dataset.next = dark ? 'light' : 'dark';
  };
  button.addEventListener('click', () => {
    localStorage.setItem(CHOSEN, button.dataset.next ?? 'dark');
    show();
  });
  system.addEventListener('change', show);
  addEventListener('storage', (event) => event.key === CHOSEN && show());
  show();
}
