// The whole tour of the subjects, by a client that is not ours: the NATS project's own for Node.js, over plain NATS.
//
//   npm ci
//   NATS_URL=nats://127.0.0.1:4222 SITE=local NATS_PASSWORD=... node tour.mjs
//
// The accounts `ada.l` (anybody may have a dot in the name), `bob` and `cyd` are in the server's directory, and users of the NATS
// server with this one password, with the permissions that `chamberlain nats permissions` printed. docs/subjects.md tells what is
// sent and what comes back. With NATS_SEED, the seed of an nkey, `cyd` comes with that instead of the password. Each step prints a line; the first that goes otherwise than told ends the tour with exit code 1.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { connect, headers, nkeyAuthenticator } from '@nats-io/transport-node';
// Opens and seals envelopes with WebCrypto alone; the module that the browser's client uses.
import { Opener, Sealer, fromBase64 } from '../../web/envelope.js';

const servers = process.env.NATS_URL ?? 'nats://127.0.0.1:4222';
const site = process.env.SITE ?? 'local';
const pass = process.env.NATS_PASSWORD ?? '';
const seed = process.env.NATS_SEED;
/** How long an answer or an event may take, milliseconds. */
const PATIENCE = 10_000;
/** As whom the sender's part of an event is sealed. */
const HEADER = { kind: 'system', sender: 'chamberlain-subjects', message: '0'.repeat(20), edit: 0 };

/** An account as one token of a subject: what NATS reserves is percent-encoded. */
const token = (account) =>
  account.replace(/[.*> %]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`);

const withId = (id = randomUUID()) => {
  const all = headers();
  all.set('X-Request-ID', id);
  return all;
};

/** Fails when it takes too long. */
const inTime = (promise, what) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing came within ${PATIENCE} ms`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

/** Somebody with a connection of their own. */
class Person {
  constructor(account, connection) {
    this.account = account;
    this.connection = connection;
    this.own = `chat.user.${token(account)}`;
    this.keys = new Map();
  }

  static async come(account) {
    const inboxPrefix = `_INBOX.${token(account)}`;
    const key = account === 'cyd' && seed ? new TextEncoder().encode(seed) : undefined;
    const proof = key ? { authenticator: nkeyAuthenticator(key) } : { user: account, pass };
    const connection = await connect({ servers, ...proof, inboxPrefix, name: `tour of ${account}` });
    return new Person(account, connection);
  }

  /** Asks, and gives the answer. */
  async ask(subject, body = {}, id = undefined) {
    const options = { headers: withId(id), timeout: PATIENCE };
    return (await this.connection.request(subject, JSON.stringify(body), options)).json();
  }

  create(body, id) {
    return this.ask(`${this.own}.request.room.${site}.create`, body, id);
  }

  verb(room, verb, body) {
    return this.ask(`${this.own}.request.room.${room}.${site}.${verb}`, body);
  }

  /** Sends a message; the answer comes at a subject of its own, which the request id names. */
  async send(room, body) {
    const id = randomUUID();
    const answers = await this.listen(`${this.own}.response.${id}`);
    this.connection.publish(`${this.own}.room.${room}.${site}.msg.send`, JSON.stringify(body), { headers: withId(id) });
    return answers();
  }

  /** Listens; each call of what is returned waits for the next. */
  async listen(subject) {
    const messages = this.connection.subscribe(subject)[Symbol.asyncIterator]();
    await this.connection.flush();
    return async () => (await inTime(messages.next(), subject)).value.json();
  }

  /** Keeps the key of a key event. */
  async keep(key) {
    const name = { site, room: key.roomId, version: key.version };
    const opener = await Opener.create(name, fromBase64(key.publicKey), fromBase64(key.privateKey));
    this.keys.set(`${key.roomId} ${key.version}`, { opener, publicKey: key.publicKey });
  }

  /** Opens what an event says: who, and what. */
  async open(event) {
    const { roomId: room, keyVersion: version } = event;
    const { opener } = this.keys.get(`${room} ${version}`);
    const parse = (bytes) => JSON.parse(new TextDecoder().decode(bytes));
    const header = parse(await opener.open({ room, version, ...HEADER }, event.encryptedHeader));
    assert.equal(header.revision, event.revision, 'the header belongs to the event');
    const { kind, sender, messageId: message, edit } = header;
    const said = parse(await opener.open({ room, version, kind, sender, message, edit }, event.encryptedMessage));
    return { sender, ...said };
  }
}

let steps = 0;
const step = (words) => console.log(`${String(++steps).padStart(2)}. ${words}`);
const refused = (answer, code, reason) => {
  assert.deepEqual([answer.code, answer.reason], [code, reason], JSON.stringify(answer));
  assert.ok(answer.error.length > 0);
};

const [ada, bob, cyd] = [await Person.come('ada.l'), await Person.come('bob'), await Person.come('cyd')];
const told = await bob.listen(`${bob.own}.event.subscription.update`);
const keys = await bob.listen(`${bob.own}.event.room.key`);
const direct = await bob.listen(`${bob.own}.event.room`);

const id = randomUUID();
const made = await ada.create({ name: 'Lobby', users: ['bob'], orgs: [], channels: [] }, id);
assert.deepEqual([made.status, made.roomType], ['accepted', 'channel'], JSON.stringify(made));
const room = made.roomId;
assert.equal((await ada.create({ name: 'Lobby', users: ['bob'], orgs: [], channels: [] }, id)).roomId, room);
step(`ada.l made the channel ${room}; asked again with the same request id, it is the same one`);

const joined = await told();
assert.deepEqual([joined.type, joined.roomId, joined.name], ['joined', room, 'Lobby']);
const key = await keys();
assert.deepEqual([key.roomId, key.version], [room, 0]);
await bob.keep(key);
step('bob heard of it, and got its key');

const events = await bob.listen(`chat.room.${room}.event`);
const sent = await ada.send(room, { text: 'hello, bob' });
assert.deepEqual([sent.status, sent.roomId, sent.keyVersion], ['accepted', room, 0], JSON.stringify(sent));
const heard = await events();
assert.deepEqual([heard.type, heard.revision, heard.siteId], ['message', sent.revision, site]);
assert.ok(!JSON.stringify(heard).includes('ada'), 'a subject that anyone may listen to names nobody');
assert.deepEqual(await bob.open(heard), { sender: 'ada.l', text: 'hello, bob' });
step('ada.l sent a message; bob heard the envelope, and opened it');

const sealer = await Sealer.create({ site, room, version: 0 }, fromBase64(key.publicKey));
const messageId = randomUUID().replaceAll('-', '').slice(0, 20);
const claim = { room, version: 0, kind: 'message', sender: 'bob', message: messageId, edit: 0 };
const sealed = await sealer.seal(claim, new TextEncoder().encode(JSON.stringify({ text: 'hello, ada' })));
assert.equal((await bob.send(room, { messageId, encryptedMessage: sealed })).status, 'accepted');
assert.deepEqual(await bob.open(await events()), { sender: 'bob', text: 'hello, ada' });
step('bob sealed an answer himself');

const revision = sent.revision;
assert.equal((await ada.verb(room, 'msg.edit', { revision, edit: 1, text: 'hello, Bob' })).status, 'accepted');
const edited = await events();
assert.deepEqual([edited.type, edited.target], ['edited', revision]);
step('ada.l edited the message');

assert.equal((await bob.verb(room, 'message.read', { revision })).revision, revision);
const { members, total } = await ada.verb(room, 'member.list', { limit: 10 });
assert.deepEqual([total, members.map((member) => member.account)], [2, ['ada.l', 'bob']]);
assert.equal(members[1].read, revision);
step('bob marked it as read, and the list of members says so');

const past = await bob.verb(room, 'msg.history', { limit: 50 });
const item = past.items.find((one) => one.revision === revision);
assert.deepEqual([item.type, item.account, item.messageId], ['message', 'ada.l', sent.messageId]);
step(`the past has ${past.items.length} items, up to revision ${past.to}`);

assert.equal((await ada.verb(room, 'msg.delete', { revision })).status, 'accepted');
const deleted = await events();
assert.deepEqual([deleted.type, deleted.target, deleted.encryptedMessage], ['deleted', revision, undefined]);
step('ada.l took the message back');

assert.equal((await ada.verb(room, 'room.rename', { name: 'Hall' })).status, 'accepted');
assert.match((await bob.open(await events())).text, /renamed the channel to "Hall"$/);
assert.equal((await ada.verb(room, 'member.role-update', { account: 'bob', newRole: 'owner' })).status, 'accepted');
step('ada.l renamed the channel, and made bob an owner');

const cydKeys = await cyd.listen(`${cyd.own}.event.room.key`);
assert.equal((await bob.verb(room, 'member.add', { users: ['cyd'], history: { mode: 'none' } })).status, 'accepted');
assert.deepEqual([(await cydKeys()).version, (await keys()).version], [1, 1]);
refused(await cyd.verb(room, 'key.get', { version: 0 }), 'not_found', 'no_such_key');
assert.equal((await cyd.verb(room, 'key.get', {})).version, 1);
step('cyd came without history: a new key for all, and the old one not for cyd');

assert.equal((await ada.verb(room, 'member.remove', { account: 'bob' })).status, 'accepted');
assert.equal((await told()).type, 'left');
assert.equal((await cydKeys()).version, 2);
refused(await bob.verb(room, 'msg.history', {}), 'not_found', 'not_a_member');
step('bob was removed: he heard so, and the next key is not for him');

const dm = await ada.create({ users: ['bob'] });
assert.deepEqual([dm.status, dm.roomType], ['accepted', 'dm'], JSON.stringify(dm));
assert.equal((await bob.create({ users: ['ada.l'] })).status, 'exists');
assert.equal((await told()).counterpart, 'ada.l');
await bob.keep(await keys());
assert.equal((await bob.open(await direct())).kind, 'room_created');
await ada.send(dm.roomId, { text: 'between us' });
assert.deepEqual(await bob.open(await direct()), { sender: 'ada.l', text: 'between us' });
step('ada.l and bob talked in a direct message room');

refused(await ada.create({ name: 'x', orgs: ['sales'] }), 'not_found', 'unknown_org');
refused(await ada.create({ nmae: 'x' }), 'bad_request', 'malformed');
refused(await ada.verb(room, 'member.kick', {}), 'bad_request', 'malformed');
refused(await ada.create({ name: 'x' }, 'seven'), 'bad_request', 'malformed');
refused(await ada.send(room, { text: ' ' }), 'bad_request', 'empty');
step('what cannot be done was refused, with a code, a reason and words');

const before = await bob.listen(`${bob.own}.>`);
ada.connection.publish(`${ada.own}.request.room.${room}.${site}.member.list`, '{}', { reply: `${bob.own}.response.x` });
await ada.verb(room, 'member.list', {});
const nothing = await Promise.race([before(), new Promise((done) => setTimeout(done, 300, 'nothing'))]).catch(() => 'nothing');
assert.equal(nothing, 'nothing', 'nothing is published where the requester may not');
step('an answer that was to go to somebody else went nowhere');

await Promise.all([ada, bob, cyd].map((person) => person.connection.close()));
console.log(`done: ${steps} steps`);
process.exit(0);
