// The client against a server that the test plays by hand: what is sent again, what goes on where, and what is noticed.

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { WebSocket } from 'ws';

import { Client, ClientError, Refused, messageId } from '../client.js';
import { Opener, fromBase64 } from '../envelope.js';
import { ROOM, RoomKeys, SITE, Server, batch, id20, positionOf, until, within } from './play/server.js';

const QUICK = { webSocket: WebSocket, followRooms: false, backoffFirstMs: 10, backoffMostMs: 40 };

/** A test with a server and a client that do not outlive it. */
function play(name, body) {
  test(name, async () => {
    const server = await Server.start();
    const clients = [];
    const client = (token = 'ada', options = {}) => {
      clients.push(new Client(server.url, token, { ...QUICK, ...options }));
      return clients.at(-1);
    };
    try {
      await body(server, client);
    } finally {
      for (const one of clients) one.stop();
      await server.stop();
    }
  });
}

/** A client with one open room, and its server's side. */
async function opened(server, client, { after = 0, head = after, ...rest } = {}) {
  const keys = new RoomKeys();
  await keys.rotate();
  const [, connection] = await Promise.all([client.start(), server.welcome()]);
  const opening = client.open(ROOM);
  const asked = await connection.expect('open');
  assert.deepEqual(asked, { room: ROOM, limit: 50 });
  connection.send({ opened: { room: keys.view({ head, ...rest }), after, head } });
  connection.send({ key: keys.last.frame });
  return { keys, connection, room: await within(opening, 'the room did not open') };
}

play('a client says hello with its token and the subprotocol', async (server, make) => {
  const client = make(() => 'secret');
  const [welcome, connection] = await Promise.all([client.start(), server.welcome()]);
  assert.equal(connection.protocol, 'chamberlain.v1+json');
  assert.deepEqual(connection.hello, { token: 'secret' });
  assert.equal(welcome.account, 'ada');
  assert.equal(client.status.state, 'connected');
});

play('messages are opened and told in the order of the log', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client);
  const told = [];
  client.on('changed', ({ changed }) => told.push(...changed.map((entry) => entry.text)));
  const system = { kind: 'members_added', text: '"ada" added "bea" to the channel', accounts: ['bea'] };
  connection.send(batch([await keys.message(1, 'ada', system, { kind: 'system', ordinal: 0 })]));
  connection.send(batch([await keys.message(2, 'bea', 'one', { ordinal: 1 }), await keys.message(3, 'ada', 'two', { ordinal: 2 })]));
  connection.send(batch([await keys.message(4, 'bea', 'three', { ordinal: 3 })]));
  await until(() => told.length >= 4, 'four messages');
  assert.deepEqual(told, [system.text, 'one', 'two', 'three']);
  const [said, one, two] = room.messages;
  assert.deepEqual(said.system, { kind: 'members_added', accounts: ['bea'] });
  assert.deepEqual([one.own, two.own, one.version, one.revision], [false, true, 0, 2]);
  assert.equal(room.unread, 3);
});

play('an iterator gives every message once', async (server, make) => {
  const client = make();
  const { keys, connection } = await opened(server, client);
  connection.send(batch([await keys.message(1, 'bea', 'one'), await keys.message(2, 'bea', 'two')]));
  const heard = [];
  const listening = (async () => {
    for await (const message of client.messages(ROOM)) {
      heard.push(message.text);
      if (heard.length === 3) return;
    }
  })();
  await until(() => heard.length === 2, 'two messages');
  connection.send(batch([{ revision: 3, time: 3, account: 'ada', event: 'unchanged', body: null }]));
  connection.send(batch([await keys.message(4, 'bea', 'three')]));
  await within(listening, 'the third message was not heard');
  assert.deepEqual(heard, ['one', 'two', 'three']);
});

play('what is sent is sealed, pending, and then recorded once', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client);
  const sending = client.send(ROOM, 'hello');
  assert.equal(room.messages[0].pending, true);
  const { id, command } = await connection.expect('command');
  const { message, content } = command.submit;
  assert.match(message, /^[0-9A-Za-z]{20}$/);
  assert.equal(JSON.stringify(command).includes('hello'), false);
  const opener = await Opener.create({ site: SITE, room: ROOM, version: 0 }, ...halves(keys.last));
  const claim = { room: ROOM, version: 0, kind: 'message', sender: 'ada', message, edit: 0 };
  assert.equal(new TextDecoder().decode(await opener.open(claim, content.sealed)), '{"text":"hello"}');
  const item = { revision: 1, time: 9, account: 'ada', event: { message: { message, kind: 'message', version: 0, ordinal: 1 } }, body: content.sealed };
  connection.send(batch([item], { own: [{ revision: 1, request: id }] }));
  connection.ok(id, { outcome: { sent: { revision: 1, time: 9, version: 0 } } });
  assert.deepEqual(await sending, { revision: 1, time: 9, version: 0 });
  await room.openings;
  assert.deepEqual(room.messages.map(({ text, pending, own, revision }) => ({ text, pending, own, revision })), [
    { text: 'hello', pending: false, own: true, revision: 1 },
  ]);
});

play('after a reconnection the room goes on where it was', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client);
  connection.send(batch([await keys.message(1, 'bea', 'one'), await keys.message(2, 'bea', 'two')]));
  await until(() => room.last === 2, 'two revisions');
  const states = [];
  client.on('status', ({ state }) => states.push(state));
  connection.drop();
  const again = await server.welcome();
  const asked = await again.expect('open');
  assert.equal(positionOf(asked.position), 'position 2');
  again.send({ opened: { room: keys.view({ head: 3 }), after: 2, head: 3 } });
  again.send(batch([await keys.message(3, 'bea', 'three')]));
  await until(() => room.messages[2]?.text === 'three', 'the third message');
  assert.deepEqual(room.messages.map((message) => message.text), ['one', 'two', 'three']);
  assert.deepEqual(states, ['waiting', 'connecting', 'connected']);
});

play('an unanswered command is sent again with the same id and the same bytes', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client);
  const sending = Promise.all([client.send(ROOM, 'one'), client.send(ROOM, 'two'), client.rename(ROOM, 'new name')]);
  const first = [await connection.expect('command'), await connection.expect('command'), await connection.expect('command')];
  connection.drop();
  const again = await server.welcome();
  const second = [await again.expect('command'), await again.expect('command'), await again.expect('command')];
  assert.deepEqual(second, first);
  await again.expect('open');
  again.send({ opened: { room: keys.view(), after: 0, head: 0 } });
  for (const [at, { id, command }] of second.entries()) {
    again.ok(id, { outcome: command.rename ? { done: { revision: at + 1 } } : { sent: { revision: at + 1, time: 1, version: 0 } } });
  }
  const revisions = (await sending).map((answer) => answer.revision ?? answer);
  assert.deepEqual(revisions.toSorted(), [1, 2, 3]);
  assert.ok(revisions[0] < revisions[1], 'what was said first is sent first');
  assert.equal(again.unasked('command').length, 0, 'nothing is sent three times');
  assert.ok([...room.unsent.values()].every((message) => !message.pending));
});

play('with a stale key the message is sealed again: same message, new request, new nonce', async (server, make) => {
  const client = make();
  const { keys, connection } = await opened(server, client);
  const sending = client.send(ROOM, 'under which key?');
  const first = await connection.expect('command');
  const next = await keys.rotate();
  connection.refuse(first.id, 'stale_key', 'conflict', { room: ROOM, current: next.current });
  const second = await connection.expect('command');
  assert.notEqual(second.id, first.id);
  assert.equal(second.command.submit.message, first.command.submit.message);
  const [before, after] = [first, second].map(({ command }) => command.submit.content.sealed);
  assert.deepEqual([before.version, after.version], [0, 1]);
  assert.notEqual(before.encapsulation, after.encapsulation);
  connection.ok(second.id, { outcome: { sent: { revision: 2, time: 1, version: 1 } } });
  assert.equal((await sending).version, 1);
});

play('a sealer counts on and is made once per version', async (server, make) => {
  const client = make();
  const { connection } = await opened(server, client);
  for (let n = 0; n < 3; n += 1) client.send(ROOM, `${n}`).catch(() => {});
  const sealed = [];
  for (let n = 0; n < 3; n += 1) sealed.push((await connection.expect('command')).command.submit.content.sealed);
  assert.deepEqual(sealed.map((one) => one.counter), [0, 1, 2]);
  assert.equal(new Set(sealed.map((one) => one.encapsulation)).size, 1);
});

play('a missing revision opens the room again where it broke', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client);
  let reopened = 0;
  client.on('reopened', () => (reopened += 1));
  connection.send(batch([await keys.message(1, 'bea', 'one')]));
  connection.send(batch([await keys.message(3, 'bea', 'three')]));
  connection.send(batch([await keys.message(4, 'bea', 'four')]));
  assert.deepEqual(await connection.expect('close'), { room: ROOM });
  const asked = await connection.expect('open');
  assert.equal(positionOf(asked.position), 'position 1');
  connection.send({ opened: { room: keys.view({ head: 4 }), after: 1, head: 4 } });
  const rest = [await keys.message(2, 'bea', 'two'), await keys.message(3, 'bea', 'three'), await keys.message(4, 'bea', 'four')];
  connection.send(batch(rest));
  await until(() => room.last === 4, 'all four');
  await room.openings;
  assert.deepEqual(room.messages.map((message) => message.text), ['one', 'two', 'three', 'four']);
  assert.equal(reopened, 1);
});

play('revisions that are not for us are covered and leave a gap', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client);
  connection.send({ void: { room: ROOM, from: 1, to: 8, why: 'not_entitled', position: 'cG9zaXRpb24gOA==' } });
  connection.send({ void: { room: ROOM, from: 9, to: 9, why: 'filtered', position: 'cG9zaXRpb24gOQ==' } });
  connection.send(batch([await keys.message(10, 'bea', 'ten')]));
  await until(() => room.last === 10, 'ten');
  assert.deepEqual(room.entries.map(({ type, revision }) => [type, revision]), [['gap', 1], ['message', 10]]);
});

play('another log is said plainly, and begins anew', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client);
  connection.send(batch([await keys.message(1, 'bea', 'one')]));
  await until(() => room.last === 1, 'one');
  const restarted = new Promise((resolve) => client.on('restarted', resolve));
  connection.send({ reset: { room: ROOM, why: 'unknown_position' } });
  assert.equal((await within(restarted, 'nothing was said')).room, room);
  assert.deepEqual(await connection.expect('open'), { room: ROOM, limit: 50 });
  connection.send({ opened: { room: keys.view(), after: 0, head: 0 } });
  connection.send(batch([await keys.message(1, 'bea', 'another one')]));
  await until(() => room.messages[0]?.text === 'another one', 'the other log');
  assert.equal(room.messages.length, 1);
});

play('a quarantined room is opened again where it was, once it goes on', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client);
  connection.send(batch([await keys.message(1, 'bea', 'before')]));
  await until(() => room.messages[0]?.text === 'before', 'a message');
  mock.timers.enable({ apis: ['setTimeout'] });
  try {
    connection.send({ reset: { room: ROOM, why: 'quarantined' } });
    while (room.state !== 'quarantined') await new Promise(setImmediate);
    assert.equal(connection.unasked('open').length, 0);
    mock.timers.tick(10_000);
    assert.equal(positionOf((await connection.expect('open')).position), 'position 1');
    connection.send({ error: { id: null, room: ROOM, code: 'unavailable', reason: 'quarantined', message: 'still', current: null } });
    while (room.state !== 'quarantined') await new Promise(setImmediate);
    mock.timers.tick(10_000);
    await connection.expect('open');
    connection.send({ opened: { room: keys.view(), after: 1, head: 1 } });
    while (room.state !== 'open') await new Promise(setImmediate);
    assert.equal(room.messages.length, 1);
  } finally {
    mock.timers.reset();
  }
});

play('a removed member keeps what it read and is told; added again, the room goes on', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client);
  connection.send(batch([await keys.message(1, 'bea', 'before')]));
  await until(() => room.messages[0]?.text === 'before', 'a message');
  const removed = [];
  client.on('removed', (event) => removed.push(event.room.id));
  connection.send({ account: { revision: 1, event: { left: { room: ROOM, at: 2 } } } });
  connection.send({ reset: { room: ROOM, why: 'removed' } });
  await until(() => room.state === 'removed', 'removed');
  connection.send(batch([await keys.message(2, 'bea', 'after')]));
  const refused = client.send(ROOM, 'still here');
  const { id } = await connection.expect('command');
  connection.refuse(id, 'not_a_member', 'not_found', { room: ROOM });
  await assert.rejects(refused, (error) => error instanceof Refused && error.reason === 'not_a_member');
  assert.deepEqual(room.messages.map(({ text, failed }) => [text, failed?.reason]), [['before', undefined], ['still here', 'not_a_member']]);
  assert.deepEqual(removed, [ROOM]);
  connection.send({ account: { revision: 2, event: { joined: { room: ROOM, at: 5, kind: 'channel', name: 'plans', counterpart: null } } } });
  assert.equal(positionOf((await connection.expect('open')).position), 'position 1');
  assert.equal(connection.unasked('open').length, 0);
});

play('removed while away: the answer to open says so', async (server, make) => {
  const client = make();
  const { connection, room } = await opened(server, client);
  connection.drop();
  const again = await server.welcome();
  await again.expect('open');
  again.refuse(null, 'not_a_member', 'not_found', { room: ROOM });
  await until(() => room.state === 'removed', 'removed');
});

play('edits and deletions reach the message, also before it is loaded', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client, { after: 3 });
  const edited = async (revision, edit, text) => ({
    revision, time: revision, account: 'bea', event: { edited: { revision: 2, edit, version: 0 } },
    body: await keys.body('bea', id20(2), text, { edit }),
  });
  const deleted = { revision: 5, time: 5, account: 'bea', event: { deleted: { revision: 3 } }, body: null };
  connection.send(batch([await edited(4, 1, 'first edit'), deleted, await edited(6, 2, 'second edit')]));
  await until(() => room.last === 6, 'six');
  assert.equal(room.more, true);
  const loading = client.older(ROOM, 10);
  const { id, query } = await connection.expect('query');
  assert.deepEqual(query.history, { room: ROOM, range: { before: 4 }, limit: 10 });
  const items = [await keys.message(1, 'bea', 'first'), await keys.message(2, 'bea', 'as it was'), await keys.message(3, 'bea', 'gone')];
  connection.ok(id, { history: { room: ROOM, items, from: 1, to: 3, more: false } });
  assert.equal(await loading, 3);
  assert.deepEqual(room.messages.map(({ text, edits, deleted }) => [text, edits, deleted]), [
    ['first', 0, false], ['second edit', 2, false], [null, 0, true],
  ]);
  assert.equal(room.more, false);
  connection.send(batch([{ revision: 7, time: 7, account: 'bea', event: { deleted: { revision: 2 } }, body: null }]));
  await until(() => room.messages[1].deleted, 'the deletion');
  assert.equal(room.messages[1].text, null);
});

play('an edit is sealed as the next edit of its message', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client);
  connection.send(batch([await keys.message(1, 'ada', 'tpyo')]));
  await until(() => room.messages[0]?.text === 'tpyo', 'a message');
  const editing = client.edit(ROOM, 1, 'typo');
  const { id, command } = await connection.expect('command');
  assert.deepEqual([command.edit.revision, command.edit.edit], [1, 1]);
  const opener = await Opener.create({ site: SITE, room: ROOM, version: 0 }, ...halves(keys.last));
  const claim = { room: ROOM, version: 0, kind: 'message', sender: 'ada', message: id20(1), edit: 1 };
  await opener.open(claim, command.edit.content.sealed);
  connection.ok(id, { outcome: { sent: { revision: 2, time: 2, version: 0 } } });
  assert.equal((await editing).revision, 2);
});

play('a key that did not come is asked for, once', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client);
  const next = await keys.rotate();
  connection.send(batch([await keys.message(1, 'bea', 'one'), await keys.message(2, 'bea', 'two')]));
  const { id, query } = await connection.expect('query');
  assert.deepEqual(query.key, { room: ROOM, version: 1 });
  connection.ok(id, { key: next.frame });
  await until(() => room.messages[1]?.text === 'two', 'both opened');
  assert.equal(connection.unasked('query').length, 0);
});

play('what does not open says why and stops nothing', async (server, make) => {
  const client = make();
  const { keys, connection, room } = await opened(server, client);
  const forged = await keys.message(1, 'bea', 'said by bea');
  forged.account = 'cyd';
  connection.send(batch([forged, await keys.message(2, 'bea', 'two')]));
  await until(() => room.messages[1]?.text === 'two', 'the second');
  assert.equal(room.messages[0].text, null);
  assert.match(room.messages[0].unreadable, /not what it is claimed to be/);
});

play('a refusal that passes is waited out under the same request id', async (server, make) => {
  const client = make();
  const { connection } = await opened(server, client);
  const rotating = client.rotate(ROOM);
  const first = await connection.expect('command');
  connection.refuse(first.id, 'busy', 'too_many_requests');
  const second = await connection.expect('command');
  assert.deepEqual(second, first);
  connection.ok(second.id, { outcome: { done: { revision: 1 } } });
  assert.equal(await rotating, 1);
});

play('a server that asks for time gets it', async (server, make) => {
  const client = make();
  const [, connection] = await Promise.all([client.start(), server.welcome()]);
  const asked = Date.now();
  connection.send({ bye: { code: 4013, reason: 'draining', retry_after_ms: 300 } });
  await until(() => client.status.state === 'waiting', 'waiting');
  assert.ok(client.status.retryAt >= asked + 290);
  assert.equal(client.status.reason, 'draining');
  await server.welcome();
  assert.ok(Date.now() >= asked + 290);
});

play('a server that answers is kept however quiet it is, and one that falls silent is left', async (server, make) => {
  const client = make('ada', { pingAfterMs: 200, answerMs: 120 });
  const [, connection] = await Promise.all([client.start(), server.welcome()]);
  // Each silence is longer than an answer may take.
  for (let answered = 0; answered < 3; answered += 1) {
    await connection.expect('ping');
    assert.equal(client.status.state, 'connected');
    connection.send('pong');
  }
  await connection.expect('ping');
  await server.welcome();
  await until(() => client.status.state === 'connected', 'connected again');
});

play('a refused token is asked for anew, and refused twice ends it', async (server, make) => {
  const asked = [];
  const client = make(({ refused }) => (asked.push(refused), asked.length === 1 ? 'old' : 'new'));
  const starting = assert.rejects(client.start(), (error) => error instanceof ClientError && /no longer/.test(error.message));
  for (const token of ['old', 'new']) {
    const connection = await server.accept();
    assert.equal((await connection.expect('hello')).token, token);
    connection.refuse(null, 'token_expired', 'unauthenticated', { message: 'the token is no longer valid' });
    connection.socket.close(4001, 'the token is no longer valid');
  }
  await starting;
  assert.deepEqual(asked, [false, true, true]);
  assert.deepEqual([client.status.state, client.status.code], ['ended', 'invalid_token']);
});

play('a token is renewed before it ends', async (server, make) => {
  let count = 0;
  const client = make(() => `token ${(count += 1)}`);
  const [, connection] = await Promise.all([client.start(), server.welcome('ada', { time: 1_000, expires: 1_100 })]);
  assert.deepEqual(await connection.expect('refresh'), { token: 'token 2' });
});

play('a disabled account is not tried again', async (server, make) => {
  const client = make();
  const [, connection] = await Promise.all([client.start(), server.welcome()]);
  connection.send({ bye: { code: 4003, reason: 'account disabled', retry_after_ms: null } });
  await until(() => client.status.state === 'ended', 'ended');
  await assert.rejects(client.send(ROOM, 'hello'), ClientError);
});

play('the list of rooms follows account events and what is said', async (server, make) => {
  const client = make('ada', { followRooms: true });
  const keys = new RoomKeys();
  await keys.rotate();
  const [, connection] = await Promise.all([client.start(), server.welcome()]);
  const list = async (rooms, account_revision) => {
    const { id, query } = await connection.expect('query');
    assert.equal(query, 'rooms');
    connection.ok(id, { rooms: { rooms, account_revision } });
  };
  await list([], 0);
  client.watch(['message']);
  assert.deepEqual(await connection.expect('watch'), { kinds: ['message'] });
  connection.send({ account: { revision: 1, event: { joined: { room: ROOM, at: 1, kind: 'channel', name: 'plans', counterpart: null } } } });
  // An answer from before the event is asked for again.
  await list([], 0);
  await list([keys.view({ head: 4, messages: 2, unread: 2, time: 5 })], 1);
  await until(() => client.list.length === 1, 'the room');
  assert.equal(client.list[0].unread, 2);
  connection.send({ watched: { room: ROOM, item: await keys.message(5, 'bea', 'three', { ordinal: 3 }) } });
  await until(() => client.list[0].unread === 3, 'one more unread');
  const marking = client.markRead(ROOM, 5);
  const { id, command } = await connection.expect('command');
  assert.deepEqual(command, { mark_read: { room: ROOM, revision: 5 } });
  connection.ok(id, { outcome: { marked: { revision: 5 } } });
  await marking;
  assert.equal(client.list[0].unread, 0);
});

test('message ids are base 62, evenly', () => {
  const counts = new Map();
  for (let n = 0; n < 3_000; n += 1) for (const character of messageId()) counts.set(character, (counts.get(character) ?? 0) + 1);
  assert.equal(counts.size, 62);
  // 60,000 characters, 968 of each expected, standard deviation 31: eight of those are never met by chance.
  for (const [character, count] of counts) assert.ok(Math.abs(count - 968) < 250, `${character}: ${count}`);
});

function halves({ frame }) {
  return [fromBase64(frame.public), fromBase64(frame.secret)];
}
