// The list of rooms: names, the last words, unread counts.

import { at, avatar, icon, make } from './dom.js';
import { moment, when } from './words.js';

/** @import { Message, Room } from '../room.js' */

/** From this many rooms on there is a field to find one. */
const FIND_FROM = 8;

export class Sidebar {
  #list = at('rooms');
  #find = /** @type {HTMLInputElement} */ (at('find'));
  /** @type {Room[]} */ #rooms = [];
  /** @type {string | null} */ #selected = null;
  #nameOf;

  /** @param {(account: string) => string} nameOf */
  constructor(nameOf) {
    this.#nameOf = nameOf;
    this.#find.addEventListener('input', () => this.#render());
    this.#find.addEventListener('keydown', (event) => {
      if (event.key === 'ArrowDown') this.#focus(0, event);
      if (event.key === 'Escape' && this.#find.value) {
        event.stopPropagation();
        this.#find.value = '';
        this.#render();
      }
    });
    this.#list.addEventListener('keydown', (event) => this.#key(event));
  }

  /** @param {Room[]} rooms @param {string | null} selected */
  show(rooms, selected) {
    this.#rooms = rooms;
    this.#selected = selected;
    this.#render();
  }

  /** Puts the focus on the selected room, or the first; gives whether there was one. */
  focus() {
    const links = this.#links();
    const link = links.find((one) => one.getAttribute('aria-current')) ?? links[0];
    link?.focus();
    return link !== undefined;
  }

  #render() {
    this.#find.hidden = this.#rooms.length < FIND_FROM && !this.#find.value;
    const wanted = this.#find.value.trim().toLowerCase();
    const rooms = wanted ? this.#rooms.filter((room) => room.name.toLowerCase().includes(wanted)) : this.#rooms;
    const focused = /** @type {HTMLElement | null} */ (this.#list.contains(document.activeElement) ? document.activeElement : null)?.dataset.room;
    const { scrollTop } = this.#list;
    this.#list.replaceChildren(...rooms.map((room) => this.#row(room)));
    if (rooms.length === 0) this.#list.append(make('li', { className: 'none' }, wanted ? 'No room is called that.' : 'No rooms yet.'));
    this.#list.scrollTop = scrollTop;
    const links = this.#links();
    const stop = links.find((link) => link.getAttribute('aria-current')) ?? links[0];
    if (stop) stop.tabIndex = 0;
    if (focused) links.find((link) => link.dataset.room === focused)?.focus({ preventScroll: true });
  }

  /** @param {Room} room */
  #row(room) {
    const view = room.view;
    const selected = room.id === this.#selected;
    const gone = room.state === 'removed';
    const unread = gone ? 0 : room.unread;
    const count = unread > 99 ? '99+' : String(unread);
    const label = unread > 0 ? make('span', { className: 'bubble' }, make('span', { 'aria-hidden': 'true' }, count), make('span', { className: 'unseen' }, `${unread} unread`)) : null;
    const sign = view?.kind === 'channel' ? make('span', { className: 'sign' }, icon('hash')) : avatar(view?.counterpart ?? room.name, room.name);
    const link = make(
      'a',
      {
        href: `#/room/${room.id}`,
        tabIndex: -1,
        className: [selected && 'selected', gone && 'gone', unread > 0 && 'unread'].filter(Boolean).join(' '),
        'aria-current': selected ? 'page' : null,
      },
      sign,
      make(
        'span',
        { className: 'lines' },
        make('span', { className: 'line' }, make('b', {}, room.name), view && make('time', { title: moment(view.time) }, when(view.time))),
        make('span', { className: 'line' }, make('small', {}, this.#last(room)), label),
      ),
    );
    link.dataset.room = room.id;
    return make('li', {}, link);
  }

  /** @param {Room} room */
  #last(room) {
    if (room.state === 'removed') return 'You were removed';
    if (room.view?.archived) return 'Archived';
    /** @type {Message | undefined} */ let last;
    for (let n = room.entries.length - 1; n >= 0 && !last; n -= 1) {
      const entry = room.entries[n];
      if (entry?.type === 'message') last = entry;
    }
    if (!last) return room.view?.kind === 'channel' ? `${room.view.members} members` : (room.view?.counterpart ?? '');
    const text = last.deleted ? 'Message deleted' : (last.text ?? '…');
    if (last.kind === 'system' || room.view?.kind !== 'channel') return text;
    return `${last.own ? 'You' : this.#nameOf(last.sender)}: ${text}`;
  }

  #links() {
    return /** @type {HTMLAnchorElement[]} */ ([...this.#list.querySelectorAll('a')]);
  }

  /** @param {number} place @param {KeyboardEvent} event */
  #focus(place, event) {
    const links = this.#links();
    const link = links[Math.max(0, Math.min(links.length - 1, place))];
    if (!link) return;
    event.preventDefault();
    for (const other of links) other.tabIndex = -1;
    link.tabIndex = 0;
    link.focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const links = this.#links();
    const place = links.indexOf(/** @type {HTMLAnchorElement} */ (event.target));
    const target = { ArrowUp: place - 1, ArrowDown: place + 1, Home: 0, End: links.length - 1 }[event.key];
    if (place >= 0 && target !== undefined) this.#focus(target, event);
  }
}
