// What was said in the room on the page, and what happened, row by row.
//
// Rows are made anew only when what they show changed, so that focus, selection and scrolling stay where they are.

import { avatar, icon, linked, make } from './dom.js';
import { clock, day, hours, midnight, moment, why } from './words.js';

/** @import { Entry, Gap, Message, Notice, Room } from '../room.js' */

/**
 * @typedef {object} Acts What can be done with a message.
 * @property {(message: Message) => void} edit
 * @property {(message: Message) => void} remove
 * @property {(message: Message) => void} again
 * @property {(message: Message) => void} discard
 * @property {(account: string) => string} nameOf
 */

/** @typedef {{key: string, signature: string, build: () => HTMLLIElement}} Row */

/** Said by the same within this time, messages stand together. */
const TOGETHER_MS = 5 * 60_000;
/** This close to the end, the page follows what comes. */
const NEAR_PX = 90;

/** The rows of one room. */
export class Timeline {
  #list;
  #scroll;
  #acts;
  /** @type {Map<string, {element: HTMLLIElement, signature: string}>} */ #rows = new Map();
  /** @type {Room | null} */ #room = null;
  /** Messages after this revision are new; `null` when none is to be marked. @type {number | null} */ #newAfter = null;

  /** @param {HTMLElement} list @param {HTMLElement} scroll @param {Acts} acts */
  constructor(list, scroll, acts) {
    this.#list = list;
    this.#scroll = scroll;
    this.#acts = acts;
    list.addEventListener('keydown', (event) => this.#key(event));
    list.addEventListener('focusin', (event) => this.#rove(event));
  }

  /** Whether the newest is in sight. */
  get atEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  /** @param {Room | null} room @param {number | null} newAfter */
  show(room, newAfter) {
    this.#room = room;
    this.#newAfter = newAfter;
    this.#rows.clear();
    this.#list.replaceChildren();
    this.update();
    this.toEnd();
    this.#list.querySelector('.fresh')?.scrollIntoView({ block: 'center' });
  }

  /** Shows what changed; stays at the end when it was there, else where it was. */
  update() {
    const room = this.#room;
    if (!room) return;
    const follows = this.atEnd;
    const anchor = follows ? null : this.#anchor();
    const focused = this.#list.contains(document.activeElement) ? document.activeElement?.closest('li')?.dataset.key : undefined;
    /** @type {Map<string, {element: HTMLLIElement, signature: string}>} */
    const rows = new Map();
    let next = this.#list.firstElementChild;
    for (const { key, signature, build } of this.#lay(room)) {
      const known = this.#rows.get(key);
      const element = known?.signature === signature ? known.element : build();
      element.dataset.key = key;
      rows.set(key, { element, signature });
      if (known && known.element !== element && known.element === next) {
        known.element.replaceWith(element);
        next = element.nextElementSibling;
      } else if (element === next) {
        next = next.nextElementSibling;
      } else {
        this.#list.insertBefore(element, next);
      }
    }
    while (next) {
      const gone = next;
      next = next.nextElementSibling;
      gone.remove();
    }
    this.#rows = rows;
    const rowsWithFocus = this.#list.querySelectorAll('li.message');
    if (!this.#list.querySelector('li[tabindex="0"]')) rowsWithFocus[rowsWithFocus.length - 1]?.setAttribute('tabindex', '0');
    if (focused) rows.get(focused)?.element.focus({ preventScroll: true });
    if (follows) this.toEnd();
    else if (anchor && rows.has(anchor.key)) {
      const moved = /** @type {HTMLLIElement} */ (rows.get(anchor.key)?.element).getBoundingClientRect().top - anchor.top;
      this.#scroll.scrollTop += moved;
    }
  }

  toEnd() {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  /** Nothing is new any more. */
  seen() {
    if (this.#newAfter === null) return;
    this.#newAfter = null;
    this.update();
  }

  /** The first row in sight, and where. */
  #anchor() {
    const top = this.#scroll.getBoundingClientRect().top;
    for (const element of this.#list.children) {
      const box = element.getBoundingClientRect();
      const key = /** @type {HTMLElement} */ (element).dataset.key;
      // Days and the like may go when something is put in front of them; messages stay.
      if (box.bottom > top && key?.startsWith('m')) return { key, top: box.top };
    }
    return null;
  }

  /** @param {Room} room @returns {Row[]} */
  #lay(room) {
    /** @type {Row[]} */ const rows = [];
    /** @type {Message | null} */ let before = null;
    let today = NaN;
    let marked = this.#newAfter === null;
    for (const entry of /** @type {Entry[]} */ ([...room.entries, ...room.unsent.values()])) {
      if (entry.type === 'gap') {
        rows.push(gap(entry));
        before = null;
        continue;
      }
      if (midnight(entry.time) !== today) {
        today = midnight(entry.time);
        rows.push(separator(today));
        before = null;
      }
      if (entry.type === 'notice') {
        rows.push(this.#notice(entry));
        before = null;
        continue;
      }
      const fresh = entry.kind === 'message' && !entry.own && (entry.revision ?? 0) > (this.#newAfter ?? Infinity);
      if (!marked && fresh) {
        marked = true;
        rows.push({ key: 'new', signature: '', build: () => make('li', { className: 'fresh' }, make('span', {}, 'New')) });
        before = null;
      }
      if (entry.kind === 'system') {
        rows.push(system(entry));
        before = null;
        continue;
      }
      const together = before?.sender === entry.sender && entry.time - before.time < TOGETHER_MS;
      rows.push(this.#message(entry, !together));
      before = entry;
    }
    return rows;
  }

  /** @param {Message} message @param {boolean} begins @returns {Row} */
  #message(message, begins) {
    const room = this.#room;
    const acts = this.#acts;
    const name = acts.nameOf(message.sender);
    const standing = room?.state !== 'removed' && !room?.view?.archived;
    const mayEdit = standing && message.own && !message.deleted && message.revision !== null && message.text !== null;
    const mayRemove = standing && !message.deleted && message.revision !== null && (message.own || room?.view?.role === 'owner');
    const { revision, text, version, edited, deleted, pending, failed, unreadable, time } = message;
    const parts = [begins, name, revision, text, version, edited, deleted, pending, failed?.message, unreadable, time, mayEdit, mayRemove];
    const build = () => {
      const state = [begins && 'begins', message.own && 'own', pending && 'pending', failed && 'failed', deleted && 'gone'];
      const stamp = make('time', { dateTime: new Date(time).toISOString(), title: moment(time) }, clock(time));
      const row = make(
        'li',
        { className: ['message', ...state].filter(Boolean).join(' '), tabIndex: -1 },
        begins ? avatar(message.sender, name) : make('span', { className: 'gutter', 'aria-hidden': 'true' }, make('time', { title: moment(time) }, hours(time))),
        make(
          'div',
          { className: 'what' },
          begins
            ? make('div', { className: 'by' }, make('b', {}, name), message.own && make('span', { className: 'you' }, 'you'), stamp)
            : make('span', { className: 'unseen' }, `${name}, ${clock(time)}: `),
          make('p', { className: 'text', dir: 'auto' }, ...words(message)),
          failed && this.#failed(message),
        ),
        make(
          'span',
          { className: 'marks' },
          edited && !deleted && make('span', { className: 'edited' }, 'edited'),
          pending && make('span', { className: 'waiting', title: 'On its way' }, icon('clock'), make('span', { className: 'unseen' }, 'On its way')),
          !deleted && key(version),
        ),
      );
      if (mayEdit || mayRemove) {
        row.append(
          make(
            'span',
            { className: 'acts' },
            mayEdit && make('button', { type: 'button', className: 'icon act-edit', title: 'Edit (E)', 'aria-label': 'Edit', onclick: () => acts.edit(message) }, icon('edit')),
            mayRemove && make('button', { type: 'button', className: 'icon act-delete', title: 'Delete (Del)', 'aria-label': 'Delete', onclick: () => acts.remove(message) }, icon('trash')),
          ),
        );
      }
      if (revision !== null) row.dataset.revision = String(revision);
      return row;
    };
    return { key: `m/${message.sender}/${message.message}`, signature: JSON.stringify(parts), build };
  }

  /** @param {Message} message */
  #failed(message) {
    return make(
      'p',
      { className: 'not-sent', role: 'alert' },
      `Not sent. ${why(message.failed)} `,
      make('button', { type: 'button', className: 'link', onclick: () => this.#acts.again(message) }, 'Try again'),
      make('button', { type: 'button', className: 'link', onclick: () => this.#acts.discard(message) }, 'Discard'),
    );
  }

  /** @param {Notice} notice @returns {Row} */
  #notice(notice) {
    const { event, account, revision } = notice;
    const nameOf = this.#acts.nameOf;
    const build = () => {
      if (typeof event !== 'string' && 'key_rotated' in event) {
        const text = `Key ${event.key_rotated.version} from here on`;
        const title = 'What follows opens with a new key; those who left the room before do not have it.';
        return make('li', { className: 'turn', title }, make('span', {}, icon('key'), text));
      }
      if (typeof event !== 'string' && 'continued' in event) {
        const { ended, known } = event.continued;
        const lost = known > ended ? 'Some of what was said before this is lost' : 'Some of what was said before this cannot be opened any more';
        return make('li', { className: 'system' }, `${lost}. ${nameOf(account)} had the room go on.`);
      }
      const set = typeof event !== 'string' && 'role_set' in event ? event.role_set : null;
      const role = set?.role === 'owner' ? 'an owner' : 'a member';
      return make('li', { className: 'system' }, set ? `${nameOf(account)} made ${nameOf(set.account)} ${role}` : '');
    };
    return { key: `n/${revision}`, signature: nameOf(account), build };
  }

  /** Arrows go from message to message; E edits, Delete deletes. @param {KeyboardEvent} event */
  #key(event) {
    const row = event.target instanceof HTMLElement && event.target.matches('li.message') ? event.target : null;
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const rows = /** @type {HTMLElement[]} */ ([...this.#list.querySelectorAll('li.message')]);
    const place = rows.indexOf(row);
    const target = { ArrowUp: place - 1, ArrowDown: place + 1, Home: 0, End: rows.length - 1 }[event.key];
    if (target !== undefined) {
      event.preventDefault();
      rows[Math.max(0, Math.min(rows.length - 1, target))]?.focus();
    }
    const button = { e: '.act-edit', Delete: '.act-delete' }[event.key];
    if (button) {
      const found = /** @type {HTMLElement | null} */ (row.querySelector(button));
      if (found) event.preventDefault();
      found?.click();
    }
  }

  /** One row at a time is a stop of the Tab key. @param {FocusEvent} event */
  #rove(event) {
    const row = event.target instanceof Element ? event.target.closest('li.message') : null;
    if (!row) return;
    for (const other of this.#list.querySelectorAll('li[tabindex="0"]')) other.setAttribute('tabindex', '-1');
    row.setAttribute('tabindex', '0');
  }
}

/** The version that a message is sealed under. @param {number} version */
function key(version) {
  const title = `Sealed under version ${version} of the room's key`;
  return make('span', { className: 'key', title }, icon('key'), make('span', { className: 'unseen' }, 'key '), `${version}`);
}

/** @param {Message} message @returns {(Node | string)[]} */
function words({ deleted, unreadable, text }) {
  if (deleted) return ['This message was deleted'];
  if (unreadable !== null) return [make('span', { className: 'unreadable' }, icon('lock'), `This message cannot be opened: ${unreadable}`)];
  return text === null ? ['…'] : linked(text);
}

/** @param {Message} message @returns {Row} */
function system(message) {
  const { text, unreadable, version, time, revision } = message;
  const build = () => {
    const row = make('li', { className: 'system', title: moment(time) }, make('span', {}, unreadable === null ? (text ?? '…') : 'Something happened here'), key(version));
    if (revision !== null) row.dataset.revision = String(revision);
    return row;
  };
  return { key: `m/${message.sender}/${message.message}`, signature: JSON.stringify([text, unreadable, version]), build };
}

/** @param {number} time @returns {Row} */
function separator(time) {
  const name = day(time);
  return { key: `d/${time}`, signature: name, build: () => make('li', { className: 'day' }, make('span', {}, name)) };
}

/** @param {Gap} entry @returns {Row} */
function gap({ revision, to, why: reason }) {
  const text = reason === 'expired' ? 'The keys of what was said here are gone' : 'You were not a member while this was said';
  const build = () => make('li', { className: 'turn closed' }, make('span', {}, icon('lock'), text));
  return { key: `g/${revision}`, signature: `${to}`, build };
}
