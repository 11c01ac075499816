// About a room: its key, its members, and what may be done with them.

import { ask } from './dialogs.js';
import { at, avatar, icon, make, toast } from './dom.js';
import { count, why } from './words.js';

/** @import { Client } from '../client.js' */
/** @import { Room } from '../room.js' */
/** @import { MemberView } from '../types.js' */

/** Members shown; the rest is counted. */
const SHOWN_MAX = 500;

export class Details {
  #panel = at('details');
  /** @type {Client} */ #client;
  /** @type {Room | null} */ #room = null;
  /** @type {MemberView[]} */ #members = [];
  #total = 0;
  #loading = 0;
  #learn;
  #leaving;
  #closed;

  /**
   * @param {Client} client
   * @param {{learn: (member: MemberView) => void, leaving: (room: string, will: boolean) => void, closed: () => void}} told What the page is
   *   told: names, whether this account is about to leave of its own will, and that the panel was closed.
   */
  constructor(client, { learn, leaving, closed }) {
    this.#client = client;
    this.#learn = learn;
    this.#leaving = leaving;
    this.#closed = closed;
  }

  get open() {
    return !this.#panel.hidden;
  }

  /** @param {Room | null} room */
  show(room) {
    if (room !== this.#room) {
      this.#members = [];
      this.#total = room?.view?.members ?? 0;
    }
    this.#room = room;
    this.#render();
    if (room) this.load();
  }

  toggle(open = !this.open) {
    if (open === this.open) return;
    this.#panel.hidden = !open;
    if (open) this.#panel.querySelector('button')?.focus();
    else this.#closed();
  }

  /** Asks who is in the room; what comes too late is dropped. */
  async load() {
    const room = this.#room;
    if (!room || room.state === 'removed') return;
    const turn = (this.#loading += 1);
    /** @type {MemberView[]} */ const members = [];
    try {
      for (let more = true; more && members.length < SHOWN_MAX; ) {
        const page = await this.#client.members(room.id, { after: members.at(-1)?.account });
        if (turn !== this.#loading || room !== this.#room) return;
        members.push(...page.members);
        this.#total = page.total;
        more = page.more && page.members.length > 0;
      }
    } catch {
      return;
    }
    this.#members = members;
    for (const member of members) this.#learn(member);
    this.#render();
  }

  /** The room changed. */
  update() {
    this.#render();
  }

  #render() {
    const room = this.#room;
    const view = room?.view;
    if (!room || !view) {
      this.#panel.replaceChildren();
      return;
    }
    const focused = this.#panel.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.does : undefined;
    const there = room.state !== 'removed' && !view.archived;
    const channel = view.kind === 'channel';
    const rules = there && channel && (view.role === 'owner' || Boolean(this.#client.welcome?.admin));
    this.#panel.replaceChildren(
      make(
        'header',
        {},
        make('h2', {}, channel ? 'About this channel' : 'About this conversation'),
        make('button', { type: 'button', className: 'icon', 'aria-label': 'Close', 'data-does': 'close', onclick: () => this.toggle(false) }, icon('close')),
      ),
      make(
        'dl',
        {},
        row('Name', make('span', { className: 'value' }, view.name), rules && link('Rename', 'rename', () => this.#rename(room))),
        row('Key', make('span', { className: 'value key' }, icon('key'), `Version ${view.key.version}`), rules && link('Rotate', 'rotate', () => this.#rotate(room))),
        row('Room', make('code', { className: 'value' }, room.id)),
      ),
      make(
        'section',
        {},
        make(
          'div',
          { className: 'section-head' },
          make('h3', {}, count(Math.max(this.#total, this.#members.length), 'member', 'members')),
          there && channel && make('button', { type: 'button', 'data-does': 'add', onclick: () => this.#add(room) }, icon('plus'), 'Add people'),
        ),
        make('ul', { className: 'members' }, ...this.#members.map((member) => this.#member(room, member, rules))),
        this.#total > this.#members.length && this.#members.length > 0 && make('p', { className: 'hint' }, `and ${(this.#total - this.#members.length).toLocaleString()} more`),
      ),
      channel && there
        ? make(
            'footer',
            {},
            make('button', { type: 'button', 'data-does': 'leave', onclick: () => this.#leave(room) }, icon('out'), 'Leave channel'),
            rules && make('button', { type: 'button', className: 'grave', 'data-does': 'archive', onclick: () => this.#archive(room) }, icon('box'), 'Archive channel'),
          )
        : '',
    );
    if (focused) /** @type {HTMLElement | null} */ (this.#panel.querySelector(`[data-does="${CSS.escape(focused)}"]`))?.focus();
  }

  /** @param {Room} room @param {MemberView} member @param {boolean} rules */
  #member(room, member, rules) {
    const me = member.account === this.#client.account;
    const owner = member.role === 'owner';
    const other = owner ? 'member' : 'owner';
    const { account, name } = member;
    return make(
      'li',
      {},
      avatar(account, name),
      make('span', { className: 'who' }, make('b', {}, name, me && make('span', { className: 'you' }, 'you')), name !== account && make('small', {}, account)),
      member.bot && make('span', { className: 'badge' }, 'bot'),
      owner && make('span', { className: 'badge owner' }, 'owner'),
      rules &&
        make(
          'span',
          { className: 'does' },
          !member.bot && link(owner ? 'Make member' : 'Make owner', `role ${account}`, () => this.#try(room, () => this.#client.setRole(room.id, account, other))),
          !me && link('Remove', `remove ${account}`, () => this.#remove(room, member), 'grave'),
        ),
    );
  }

  /** @param {Room} room @param {() => Promise<unknown>} act */
  async #try(room, act) {
    try {
      await act();
    } catch (error) {
      toast(why(error), 'bad');
    }
    if (room === this.#room) this.load();
  }

  /** @param {Room} room */
  #rename(room) {
    return ask({
      title: 'Rename the channel',
      fields: [{ name: 'name', label: 'Name', kind: 'text', value: room.name, most: 100 }],
      ok: 'Rename',
      act: (answers) => this.#client.rename(room.id, answers.text('name')),
    });
  }

  /** @param {Room} room */
  #rotate(room) {
    return ask({
      title: 'Move to a new key?',
      lead: 'What is said from then on is sealed under a new version of the room’s key. This happens by itself whenever somebody is removed.',
      ok: 'Rotate the key',
      act: () => this.#client.rotate(room.id),
    });
  }

  /** @param {Room} room */
  async #add(room) {
    const added = await ask({
      title: `Add people to ${room.name}`,
      fields: [
        { name: 'accounts', label: 'Accounts', kind: 'accounts', hint: 'One or more, separated by spaces or commas.' },
        { name: 'past', label: 'They may read what was said before', kind: 'check', checked: true, hint: 'Otherwise the room moves to a new key, and they begin here.' },
      ],
      ok: 'Add',
      act: (answers) => this.#client.add(room.id, answers.names('accounts'), { bots: true, history: answers.checked('past') ? 'all' : 'none' }),
    });
    if (added && room === this.#room) this.load();
  }

  /** @param {Room} room @param {MemberView} member */
  async #remove(room, { account, name }) {
    const removed = await ask({
      title: `Remove ${name}?`,
      lead: `${name} keeps what was read before and gets nothing that follows: the room moves to a new key at once.`,
      ok: 'Remove',
      grave: true,
      act: () => this.#client.remove(room.id, [account]),
    });
    if (removed && room === this.#room) this.load();
  }

  /** @param {Room} room */
  #leave(room) {
    return ask({
      title: `Leave ${room.name}?`,
      lead: 'You get nothing that follows, until somebody adds you again.',
      ok: 'Leave',
      grave: true,
      act: async () => {
        this.#leaving(room.id, true);
        try {
          await this.#client.leave(room.id);
        } catch (error) {
          this.#leaving(room.id, false);
          throw error;
        }
      },
    });
  }

  /** @param {Room} room */
  #archive(room) {
    return ask({
      title: `Archive ${room.name}?`,
      lead: 'Everybody can still read it; nobody can write in it or change it any more. This cannot be undone.',
      ok: 'Archive',
      grave: true,
      act: () => this.#client.archive(room.id),
    });
  }
}

/** @param {string} name @param {...(Node | false)} values */
function row(name, ...values) {
  return make('div', {}, make('dt', {}, name), make('dd', {}, ...values));
}

/** @param {string} text @param {string} does @param {() => void} act @param {string} [tone] */
function link(text, does, act, tone = '') {
  return make('button', { type: 'button', className: `link ${tone}`, 'data-does': does, onclick: act }, text);
}
