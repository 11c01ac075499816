// Making and finding elements. Text goes in as text: nothing anybody says is ever parsed as markup.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * The element with this id, of the kind that the page has there.
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @returns {T}
 */
export function at(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return /** @type {T} */ (element);
}

/**
 * A new element. Properties that begin with `on` are listeners, those with a hyphen, `role` and `for` are attributes.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string | null | false | undefined)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name.includes('-') || name === 'role' || name === 'for') element.setAttribute(name, String(value));
    else /** @type {any} */ (element)[name] = value;
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

/** One of the page's symbols. @param {string} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A round sign for an account, in a colour of its own. @param {string} account @param {string} [name] */
export function avatar(account, name = account) {
  const sign = make('span', { className: 'avatar', 'aria-hidden': 'true' });
  paintAvatar(sign, account, name);
  return sign;
}

/** @param {HTMLElement} sign @param {string} account @param {string} [name] */
export function paintAvatar(sign, account, name = account) {
  let hash = 0x811c9dc5;
  for (const character of account) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  sign.className = `avatar hue-${(hash >>> 8) % 12}`;
  const words = name.split(/[\s._@+-]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[1]].map((word) => [...(word ?? '')][0]) : [...(words[0] ?? '?')].slice(0, 1);
  sign.textContent = letters.join('').toUpperCase();
}

/** Text with its web addresses as links. @param {string} text @returns {(Node | string)[]} */
export function linked(text) {
  /** @type {(Node | string)[]} */ const parts = [];
  let done = 0;
  for (const match of text.matchAll(/https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]]/gu)) {
    parts.push(text.slice(done, match.index));
    parts.push(make('a', { href: match[0], target: '_blank', rel: 'noopener noreferrer' }, match[0]));
    done = match.index + match[0].length;
  }
  parts.push(text.slice(done));
  return parts.filter((part) => part !== '');
}

/** A short word at the edge of the page, for a while. @param {string} text @param {'plain' | 'bad'} [tone] */
export function toast(text, tone = 'plain') {
  const note = make('p', { className: `toast ${tone}` }, text);
  const toasts = at('toasts');
  toasts.append(note);
  while (toasts.childElementCount > 4) toasts.firstElementChild?.remove();
  setTimeout(() => note.remove(), 6_000);
}
