// The page: signs in, keeps the rooms on screen in step with the client, and passes on what is typed and clicked.
//
// `window.chamberlain` is a handle for debugging, in the console and in the browser test: see app/handle.js.

import { ask } from './app/dialogs.js';
import { Details } from './app/details.js';
import { at, icon, paintAvatar, toast } from './app/dom.js';
import { handleOf } from './app/handle.js';
import { Sidebar } from './app/sidebar.js';
import { themes } from './app/theme.js';
import { Timeline } from './app/timeline.js';
import { count, sentence, why } from './app/words.js';
import { Client } from './client.js';

/** @import { Status } from './connection.js' */
/** @import { Message, Room } from './room.js' */

/** Where this tab keeps its sign-in; another tab may be somebody else. */
const SESSION = 'chamberlain.session';
/** Rooms that are delivered whether or not they are on screen; of the others only counts are. */
const OPEN_MAX = 50;
/** Revisions to begin a room with, and to load at a time. */
const PAGE = 50;
/** This close to the beginning, what was before is loaded. */
const NEAR_PX = 400;
const NARROW = matchMedia('(max-width: 760px)');
const MIDDLE = matchMedia('(max-width: 1180px)');

/** @type {{sign_in: 'development' | 'token', site: string, socket?: string}} */
let config = { sign_in: 'development', site: '' };
/** @type {Client | null} */ let client = null;
/** @type {Sidebar} */ let sidebar;
/** @type {Timeline} */ let timeline;
/** @type {Details} */ let details;
/** @type {Room | null} */ let room = null;
/** A room that was asked for and is not known yet. @type {string | null} */ let wanted = null;
/** @type {{room: string, revision: number, before: string} | null} */ let editing = null;
/** What was typed and not sent, by room. @type {Map<string, string>} */ const drafts = new Map();
/** Names by account. @type {Map<string, string>} */ const names = new Map();
/** Rooms this page is leaving of its own will. @type {Set<string>} */ const leaving = new Set();
let loadingOlder = false;
/** @type {ReturnType<typeof setTimeout> | null} */ let marking = null;
/** @type {ReturnType<typeof setInterval> | undefined} */ let countdown;
let unseenBelow = 0;

const text = /** @type {HTMLTextAreaElement} */ (at('text'));

Object.assign(window, { chamberlain: handleOf(() => client) });
begin();

// --- signing in ---

async function begin() {
  themes(at('theme'));
  listen();
  if (!globalThis.crypto?.subtle) {
    return gate(
      'This page cannot run here',
      `Messages are sealed in the browser, and browsers allow that only over HTTPS or on localhost. This page came from ${location.origin}: open it over HTTPS, or on the machine itself as http://localhost:${location.port || 80}.`,
    );
  }
  try {
    const response = await fetch('/v1/config', { headers: { accept: 'application/json' } });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    config = await response.json();
  } catch (error) {
    gate('', `The server cannot be reached: ${sentence(String(error instanceof Error ? error.message : error))} Trying again in a few seconds.`);
    setTimeout(() => location.reload(), 4_000);
    return;
  }
  const token = sessionStorage.getItem(SESSION);
  if (token) enter(token);
  else gate();
}

/** Shows the sign-in. @param {string} [lead] @param {string} [trouble] */
function gate(lead = '', trouble = '') {
  const development = config.sign_in === 'development';
  const credential = /** @type {HTMLInputElement} */ (at('credential'));
  at('house').hidden = true;
  at('gate').hidden = false;
  at('gate-lead').textContent = lead || 'Rooms that keep to themselves.';
  at('gate-trouble').textContent = trouble;
  at('gate-trouble').hidden = trouble === '';
  at('gate-fields').hidden = !config.site;
  at('credential-label').textContent = development ? 'Account' : 'Token';
  credential.type = development ? 'text' : 'password';
  credential.autocomplete = development ? 'username' : 'off';
  credential.placeholder = development ? 'ada' : '';
  at('credential-hint').textContent = development
    ? 'Development sign-in: any name will do, in small letters. Each tab may be somebody else.'
    : 'Paste the token that your operator gave you. It stays in this tab.';
  at('gate-foot').textContent = config.site ? `Site ${config.site}` : '';
  /** @type {HTMLButtonElement} */ (at('enter')).disabled = false;
  document.title = 'Chamberlain';
  if (config.site) credential.focus();
}

/** @param {string} token */
function enter(token) {
  const address = new URL(config.socket ?? '/v1/socket', location.href);
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  // A token that was refused is not to be offered again: who signs in gives another one.
  const one = new Client(address, () => token);
  client = one;
  details = new Details(one, { learn: ({ account, name }) => learnName(account, name), leaving: (id, will) => (will ? leaving.add(id) : leaving.delete(id)), closed: detailsClosed });
  let entered = false;
  one.on('status', (status) => {
    showStatus(status);
    if (status.state === 'ended' && client === one) signOut(status.code === 'closed' ? '' : status.reason);
    if (status.state === 'waiting' && !entered) knock(status.reason);
  });
  one.on('welcome', (welcome) => {
    sessionStorage.setItem(SESSION, token);
    learnName(welcome.account, welcome.name);
    if (entered) return;
    entered = true;
    at('gate').hidden = true;
    at('house').hidden = false;
    at('me-name').textContent = welcome.name;
    at('me-site').textContent = `${welcome.account !== welcome.name ? `${welcome.account} · ` : ''}${welcome.site}`;
    paintAvatar(at('me-avatar'), welcome.account, welcome.name);
    route();
    render();
    narrow();
  });
  one.on('rooms', () => {
    openRooms();
    render();
  });
  one.on('changed', ({ room: changed }) => {
    if (changed === room) said();
    sidebar.show(listed(), room?.id ?? null);
  });
  one.on('restarted', ({ room: other }) => toast(`${other.name} begins anew: the server has another log of it.`, 'bad'));
  one.on('removed', ({ room: other }) => {
    if (leaving.delete(other.id)) {
      one.known.delete(other.id);
      if (other === room) go(null);
      toast(`You left ${other.name}.`);
    } else if (other !== room) {
      toast(`You were removed from ${other.name}.`);
    }
    render();
  });
  one.on('joined', () => render());
  // A refused sign-in is told by the sign-in.
  one.on('problem', (problem) => problem.code !== 'unauthenticated' && toast(sentence(problem.message), 'bad'));
  one.start().catch(() => {});
}

/** Before the first welcome there is nothing to show but the door. @param {string} reason */
function knock(reason) {
  at('gate').hidden = false;
  at('gate-trouble').textContent = `${sentence(reason)} Trying again.`;
  at('gate-trouble').hidden = false;
}

/** @param {string} [trouble] */
function signOut(trouble = '') {
  sessionStorage.removeItem(SESSION);
  const old = client;
  client = null;
  old?.stop();
  room = null;
  wanted = null;
  editing = null;
  drafts.clear();
  names.clear();
  details?.show(null);
  timeline.show(null, null);
  gate('', trouble && sentence(trouble));
}

// --- rooms ---

/** Has the rooms delivered that fit; the others are counted. */
function openRooms() {
  if (!client) return;
  const rooms = client.list.filter((one) => one.state !== 'removed');
  for (const one of rooms.slice(0, OPEN_MAX)) {
    if (!one.wanted && one.state === 'closed') client.open(one.id, { limit: PAGE }).catch(() => {});
    if (one.view?.counterpart) learnName(one.view.counterpart, one.view.name);
  }
  if (rooms.length > OPEN_MAX) client.watch(['message']);
}

/** What the list shows: rooms this account is in, and the one it was removed from while it looked. */
function listed() {
  return client?.list ?? [];
}

/** Goes to a room; the address says which. @param {string | null} id */
function go(id) {
  const hash = id ? `#/room/${id}` : '#/';
  if (location.hash !== hash) location.hash = hash;
  else route();
}

/** Shows the room of the address. */
function route() {
  const id = /^#\/room\/([0-9A-Za-z]{17})$/.exec(location.hash)?.[1] ?? null;
  const found = id ? client?.known.get(id) : undefined;
  wanted = id && !found?.view ? id : null;
  select(found?.view ? found : null);
}

/** @param {Room | null} next */
function select(next) {
  if (next === room) return;
  if (room) drafts.set(room.id, editing ? editing.before : text.value);
  editing = null;
  room = next;
  at('empty').hidden = next !== null;
  at('talk').hidden = next === null;
  at('title').hidden = next === null;
  at('about').hidden = next === null;
  if (next) {
    timeline.show(next, next.unread > 0 ? (next.view?.read ?? 0) : null);
    text.value = drafts.get(next.id) ?? '';
    grow();
    if (!next.wanted && next.state === 'closed') client?.open(next.id, { limit: PAGE }).catch((error) => toast(why(error), 'bad'));
  } else {
    timeline.show(null, null);
    details.toggle(false);
  }
  details.show(next);
  drawer(false);
  render();
  mark();
  more();
  if (!next) sidebar.focus() || at('new-channel').focus();
  else if (NARROW.matches || standingOf(next) !== '') at('title').focus();
  else text.focus();
}

/** Everything around the messages. */
function render() {
  if (!client) return;
  if (wanted && client.known.get(wanted)?.view) route();
  if (room && client.known.get(room.id) !== room) select(null);
  sidebar.show(listed(), room?.id ?? null);
  const unread = listed().reduce((sum, one) => sum + (one.state === 'removed' || one === room ? 0 : one.unread), 0);
  const bubble = at('menu-unread');
  bubble.textContent = unread > 99 ? '99+' : String(unread);
  bubble.hidden = unread === 0;
  document.title = `${unread > 0 ? `(${unread}) ` : ''}${room ? `${room.name} · ` : ''}Chamberlain`;
  at('empty-title').textContent = listed().length > 0 ? 'No room is open' : `Welcome, ${names.get(client.account) ?? client.account}`;
  at('empty-text').textContent = listed().length > 0 ? 'Choose a room from the list, or begin one.' : 'Begin a channel, write to somebody, or wait until somebody adds you.';
  const view = room?.view;
  if (!room || !view) return;
  at('room-name').textContent = room.name;
  const kind = view.kind === 'channel' ? count(view.members, 'member', 'members') : view.counterpart === client.account ? 'Notes to yourself' : 'Direct message';
  at('room-about').replaceChildren(kind, document.createTextNode(' · '), icon('key'), `key ${view.key.version}`);
  at('sealed-note').textContent = `Sealed in this browser under key ${room.current?.version ?? view.key.version}`;
  text.placeholder = `Write to ${room.name}`;
  const standing = standingOf(room);
  const notice = at('standing');
  const composes = standing === '';
  if (notice.textContent !== standing) notice.textContent = standing;
  notice.hidden = composes;
  at('composer').hidden = !composes;
  at('skip').setAttribute('href', composes ? '#text' : '#timeline');
  at('editing').hidden = editing === null;
  details.update();
}

/** Why nothing can be said in a room; empty when it can. @param {Room} one */
function standingOf(one) {
  if (one.state === 'removed') {
    return `You were removed from ${one.name}. What you read before stays here until this page is closed; nothing that is said now reaches you.`;
  }
  if (one.view?.archived) return `${one.name} is archived. It can be read, and not changed.`;
  if (one.state === 'quarantined') return `${one.name} is being looked after by the operator of this server. Nothing can be said in it for now.`;
  return '';
}

/** The room on screen has something new. */
function said() {
  if (!room) return;
  const followed = timeline.atEnd;
  const before = at('timeline').childElementCount;
  timeline.update();
  if (!followed && !loadingOlder) unseenBelow += Math.max(0, at('timeline').childElementCount - before);
  showToEnd();
  mark();
  more();
  if (details.open) details.load();
}

/** Loads what was before, when the beginning is in sight. */
async function more() {
  const one = room;
  if (!one || !client || loadingOlder || !one.more || one.state === 'removed' || at('scroll').scrollTop > NEAR_PX) return;
  if (one.state !== 'open') return;
  loadingOlder = true;
  at('older').hidden = false;
  try {
    await client.older(one.id, PAGE);
  } catch (error) {
    toast(why(error), 'bad');
    return;
  } finally {
    loadingOlder = false;
    at('older').hidden = true;
  }
  if (one === room) more();
}

/** Notes that the room was read, once somebody can see the end of it. */
function mark() {
  const one = room;
  if (marking !== null || !one || !client || one.state !== 'open' || lastSaid(one) <= (one.view?.read ?? 0)) return;
  if (document.visibilityState !== 'visible' || !document.hasFocus() || !timeline.atEnd) return;
  marking = setTimeout(async () => {
    const last = lastSaid(one);
    let marked = false;
    try {
      if (one === room && one.state === 'open') await client?.markRead(one.id, last);
      marked = true;
    } catch {
      // It stays unread, and the next look marks it.
    }
    marking = null;
    if (marked) mark();
  }, 400);
}

/** The revision of the last message of a member; 0 when there is none. @param {Room} one */
function lastSaid(one) {
  for (let n = one.entries.length - 1; n >= 0; n -= 1) {
    const entry = one.entries[n];
    if (entry?.type === 'message' && entry.kind === 'message') return entry.revision ?? 0;
  }
  return 0;
}

function showToEnd() {
  if (timeline.atEnd) unseenBelow = 0;
  at('to-end').hidden = timeline.atEnd;
  at('to-end-text').textContent = unseenBelow > 0 ? `${unseenBelow} new` : 'Newest';
}

/** @param {string} account @param {string} name */
function learnName(account, name) {
  if (names.get(account) === name) return;
  names.set(account, name);
  const people = at('people');
  if (names.size < 500 && account !== client?.account) {
    const option = document.createElement('option');
    option.value = account;
    people.append(option);
  }
}

// --- saying things ---

/** Sends what was typed, or saves the edit. */
function say() {
  const one = room;
  const words = text.value.trim();
  if (!one || !client || standingOf(one) !== '') return;
  if (editing) {
    const { revision } = editing;
    if (words === '' || words === one.message(revision)?.text) return stopEditing();
    client.edit(one.id, revision, words).catch((error) => toast(why(error), 'bad'));
    return stopEditing();
  }
  if (words === '') return;
  text.value = '';
  drafts.delete(one.id);
  grow();
  // What goes wrong stands beside the message.
  client.send(one.id, words).catch(() => {});
  timeline.seen();
  timeline.toEnd();
}

/** @param {Message} message */
function edit(message) {
  if (!room || message.revision === null) return;
  editing = { room: room.id, revision: message.revision, before: editing?.before ?? text.value };
  text.value = message.text ?? '';
  grow();
  render();
  text.focus();
}

function stopEditing() {
  if (!editing) return;
  text.value = editing.before;
  editing = null;
  grow();
  render();
  text.focus();
}

/** @param {Message} message */
async function remove(message) {
  const { revision } = message;
  const one = room;
  if (!one || revision === null) return;
  await ask({
    title: 'Delete this message?',
    lead: 'It is taken back for everybody, and erased.',
    ok: 'Delete',
    grave: true,
    act: () => /** @type {Client} */ (client).delete(one.id, revision),
  });
}

/** The field is as high as what is in it. */
function grow() {
  text.style.height = 'auto';
  text.style.height = `${Math.min(text.scrollHeight, 220)}px`;
}

async function newChannel() {
  let made = '';
  const done = await ask({
    title: 'New channel',
    fields: [
      { name: 'name', label: 'Name', kind: 'text', most: 100 },
      { name: 'accounts', label: 'People', kind: 'accounts', optional: true, hint: 'Accounts, separated by spaces or commas. You can add more later.' },
    ],
    ok: 'Create',
    act: async (answers) => {
      made = await /** @type {Client} */ (client).createChannel(answers.text('name'), { accounts: answers.names('accounts') });
    },
  });
  if (done) go(made);
}

async function newDm() {
  let made = '';
  const done = await ask({
    title: 'Direct message',
    fields: [{ name: 'account', label: 'Account', kind: 'account', hint: 'One account. Your own makes a room for notes to yourself.' }],
    ok: 'Write',
    act: async (answers) => {
      const [account] = answers.names('account');
      made = (await /** @type {Client} */ (client).createDm(account ?? '')).room;
    },
  });
  if (done) go(made);
}

// --- the connection, the drawers ---

/** @param {Status} status */
function showStatus(status) {
  clearInterval(countdown);
  const pill = at('pill');
  const write = () => {
    const seconds = Math.max(0, Math.ceil(((status.retryAt ?? 0) - Date.now()) / 1_000));
    const offline = !navigator.onLine;
    const [state, words] =
      status.state === 'connected'
        ? ['connected', 'Connected']
        : offline
          ? ['offline', 'Offline']
          : status.state === 'waiting' && seconds > 0
            ? ['waiting', `Reconnecting in ${seconds} s`]
            : ['connecting', status.attempt > 0 ? 'Reconnecting' : 'Connecting'];
    pill.dataset.state = state;
    pill.title = status.reason ? sentence(status.reason) : '';
    at('pill-text').textContent = words;
    // Seconds are shown and not spoken.
    const spoken = state === 'waiting' ? 'Connection lost, reconnecting' : words;
    if (at('pill-spoken').textContent !== spoken && state !== 'connecting') at('pill-spoken').textContent = spoken;
  };
  write();
  if (status.state === 'waiting') countdown = setInterval(write, 250);
}

/** The list of rooms as a drawer, where there is no room beside. @param {boolean} open */
function drawer(open) {
  const side = at('side');
  const shown = open && NARROW.matches;
  side.classList.toggle('open', shown);
  side.inert = NARROW.matches && !shown;
  at('scrim').hidden = !(shown || (details?.open && MIDDLE.matches));
  at('side-open').setAttribute('aria-expanded', String(shown));
  if (shown) sidebar.focus();
}

function narrow() {
  drawer(NARROW.matches && room === null);
}

function detailsClosed() {
  at('about').setAttribute('aria-expanded', 'false');
  at('scrim').hidden = !at('side').classList.contains('open');
  at('about').focus();
}

function listen() {
  sidebar = new Sidebar((account) => names.get(account) ?? account);
  timeline = new Timeline(at('timeline'), at('scroll'), {
    edit,
    remove,
    again: (message) => void client?.retry(message.room, message.message).catch(() => {}),
    discard: (message) => client?.discard(message.room, message.message),
    nameOf: (account) => names.get(account) ?? account,
  });
  at('sign-in').addEventListener('submit', (event) => {
    event.preventDefault();
    const field = /** @type {HTMLInputElement} */ (at('credential'));
    const token = field.value.trim();
    if (token === '' || client) return;
    /** @type {HTMLButtonElement} */ (at('enter')).disabled = true;
    if (config.sign_in === 'token') field.value = '';
    enter(config.sign_in === 'development' ? token.toLowerCase() : token);
  });
  at('sign-out').addEventListener('click', () => signOut());
  for (const id of ['new-channel', 'empty-channel']) at(id).addEventListener('click', newChannel);
  for (const id of ['new-dm', 'empty-dm']) at(id).addEventListener('click', newDm);
  at('side-open').addEventListener('click', () => drawer(true));
  at('side-close').addEventListener('click', () => closeDrawer());
  at('scrim').addEventListener('click', () => (at('side').classList.contains('open') ? closeDrawer() : details.toggle(false)));
  // A tap on the room that is open already closes the drawer all the same.
  at('rooms').addEventListener('click', (event) => event.target instanceof Element && event.target.closest('a') && drawer(false));
  at('about').addEventListener('click', () => {
    details.toggle();
    at('about').setAttribute('aria-expanded', String(details.open));
    drawer(false);
    if (details.open) details.load();
  });
  at('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    say();
  });
  at('editing-stop').addEventListener('click', stopEditing);
  text.addEventListener('input', grow);
  text.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      say();
    } else if (event.key === 'ArrowUp' && text.value === '' && room) {
      const mine = room.messages.findLast((message) => message.own && message.revision !== null && !message.deleted && message.text !== null);
      if (mine) {
        event.preventDefault();
        edit(mine);
      }
    }
  });
  const scroll = at('scroll');
  scroll.addEventListener('scroll', () => {
    showToEnd();
    mark();
    more();
  }, { passive: true });
  at('to-end').addEventListener('click', () => {
    timeline.toEnd();
    text.focus();
  });
  // When the field grows or the keyboard comes up, the newest stays in sight.
  let follows = true;
  scroll.addEventListener('scroll', () => (follows = timeline.atEnd), { passive: true });
  new ResizeObserver(() => follows && timeline.toEnd()).observe(scroll);
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || event.defaultPrevented || /** @type {HTMLDialogElement} */ (at('dialog')).open) return;
    if (editing) stopEditing();
    else if (details?.open) details.toggle(false);
    else if (at('side').classList.contains('open')) closeDrawer();
    else if (room && at('timeline').contains(document.activeElement)) text.focus();
  });
  addEventListener('hashchange', () => client && route());
  addEventListener('online', () => client && (showStatus(client.status), client.wake()));
  addEventListener('offline', () => client && showStatus(client.status));
  addEventListener('focus', () => mark());
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState !== 'visible') return;
    client?.wake();
    mark();
  });
  NARROW.addEventListener('change', narrow);
}

function closeDrawer() {
  drawer(false);
  at('side-open').focus();
}
