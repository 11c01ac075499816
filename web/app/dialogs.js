// The page's one dialog: it asks, does what was answered, and closes when that went well.

import { at, make } from './dom.js';
import { why } from './words.js';

/**
 * @typedef {object} Field
 * @property {string} name
 * @property {string} label
 * @property {'text' | 'accounts' | 'account' | 'check'} kind
 * @property {string} [hint]
 * @property {string} [value]
 * @property {boolean} [checked]
 * @property {boolean} [optional]
 * @property {number} [most] Characters.
 */

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} [lead]
 * @property {Field[]} [fields]
 * @property {string} ok What the button says: the verb.
 * @property {boolean} [grave] Whether it cannot be undone.
 * @property {(answers: Answers) => Promise<unknown>} act Done while the dialog waits; what it throws is shown.
 */

/** @typedef {{text: (name: string) => string, names: (name: string) => string[], checked: (name: string) => boolean}} Answers */

/** Accounts in a text, separated by anything that no account has in it. @param {string} text */
export function accountsIn(text) {
  return [...new Set(text.toLowerCase().split(/[\s,;]+/u).map((name) => name.replace(/^@/u, '')).filter(Boolean))];
}

/** Asks, and gives whether it was done. @param {Question} question @returns {Promise<boolean>} */
export function ask({ title, lead = '', fields = [], ok, grave = false, act }) {
  const dialog = /** @type {HTMLDialogElement} */ (at('dialog'));
  const form = /** @type {HTMLFormElement} */ (at('dialog-form'));
  const trouble = at('dialog-trouble');
  const button = /** @type {HTMLButtonElement} */ (at('dialog-ok'));
  const cancel = /** @type {HTMLButtonElement} */ (at('dialog-cancel'));
  at('dialog-title').textContent = title;
  at('dialog-lead').textContent = lead;
  at('dialog-lead').hidden = lead === '';
  button.textContent = ok;
  button.className = grave ? 'danger' : 'primary';
  trouble.hidden = true;
  const inputs = new Map(fields.map((field) => [field.name, input(field)]));
  at('dialog-fields').replaceChildren(...fields.map((field) => labelled(field, /** @type {HTMLInputElement} */ (inputs.get(field.name)))));
  /** @type {Answers} */
  const answers = {
    text: (name) => inputs.get(name)?.value.trim() ?? '',
    names: (name) => accountsIn(inputs.get(name)?.value ?? ''),
    checked: (name) => inputs.get(name)?.checked ?? false,
  };
  return new Promise((resolve) => {
    let done = false;
    const stop = new AbortController();
    const { signal } = stop;
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      trouble.hidden = true;
      try {
        await act(answers);
        done = true;
        dialog.close();
      } catch (error) {
        trouble.textContent = why(error);
        trouble.hidden = false;
      } finally {
        button.disabled = false;
      }
    }, { signal });
    cancel.addEventListener('click', () => dialog.close(), { signal });
    dialog.addEventListener('click', (event) => event.target === dialog && dialog.close(), { signal });
    dialog.addEventListener('close', () => {
      stop.abort();
      // What had the focus before may be gone by now.
      if (document.activeElement === document.body) at('new-channel').focus();
      resolve(done);
    }, { signal });
    dialog.showModal();
    const first = [...inputs.values()].find((one) => one.type !== 'checkbox');
    if (first) first.select();
    else button.focus();
  });
}

/** @param {Field} field @returns {HTMLInputElement} */
function input({ name, kind, value = '', checked = false, optional = false, most }) {
  const id = `field-${name}`;
  if (kind === 'check') return make('input', { id, type: 'checkbox', checked });
  const plain = { autocomplete: 'off', spellcheck: kind === 'text', autocapitalize: kind === 'text' ? 'sentences' : 'none' };
  const element = make('input', { id, type: 'text', value, required: !optional, ...plain, 'aria-describedby': `${id}-hint` });
  if (most) element.maxLength = most;
  if (kind === 'account') element.setAttribute('list', 'people');
  return element;
}

/** @param {Field} field @param {HTMLInputElement} element */
function labelled({ label, kind, hint = '' }, element) {
  const words = make('label', { for: element.id }, label);
  const note = hint && make('p', { className: 'hint', id: `${element.id}-hint` }, hint);
  if (kind === 'check') return make('div', { className: 'question check' }, element, make('div', {}, words, note));
  return make('div', { className: 'question' }, words, element, note);
}
