// The path that people walk, in a real browser: they sign in, talk, one is removed, the server restarts, talk goes on.
//
// Run by the end-to-end tests; by hand: `npm ci && BASE_URL=http://127.0.0.1:8080 OUT_DIR=shots node walk.mjs`.
//
//   BASE_URL   where the server is; development sign-in, its data empty or at least without ada, bea and cyd
//   OUT_DIR    where screenshots go; made when it is not there
//   CHROMIUM   the browser; /usr/bin/chromium unless it is set
//
// The protocol on standard input and output: when the script prints the line `RESTART`, the server is to be stopped (killed
// or asked, both are fine) and started again on the same data and address; then the script is to be given a line, whatever
// is in it. It asks once. Every other line tells what was seen. The script ends with 0 when all of it was, and with 1 and
// the reason on standard error when something was not, with a screenshot `failed-*.png` of every page.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { chromium } from 'playwright-core';

const BASE_URL = process.env.BASE_URL ?? fail('BASE_URL is not set: where is the server?');
const OUT_DIR = process.env.OUT_DIR ?? fail('OUT_DIR is not set: where are the screenshots to go?');
const EXECUTABLE = process.env.CHROMIUM ?? '/usr/bin/chromium';
const PATIENCE_MS = 20_000;
/** More than one page of history. */
const MANY = 130;
const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];
const DESK = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 780 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

const lines = createInterface({ input: process.stdin });
let step = 'starting the browser';
const people = [];
let shots = 0;

/** One account in a browser of its own. */
class Person {
  constructor(name, context, page) {
    Object.assign(this, { name, context, page });
    /** Frames from the server, as objects. */
    this.frames = [];
    /** What went wrong in the page. */
    this.errors = [];
    /** While the server is away, the browser complains; that is as it should be. */
    this.away = false;
    page.on('websocket', (socket) => {
      socket.on('framereceived', ({ payload }) => this.frames.push(JSON.parse(payload)));
    });
    page.on('pageerror', (error) => this.errors.push(String(error)));
    page.on('console', (message) => {
      const expected = this.away && /WebSocket connection|ERR_CONNECTION|Failed to load resource/.test(message.text());
      if (message.type() === 'error' && !expected) this.errors.push(message.text());
    });
  }

  static async enter(browser, name, settings) {
    const context = await browser.newContext({ colorScheme: 'light', locale: 'en-GB', ...settings });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    const person = new Person(name, context, page);
    people.push(person);
    await page.goto(BASE_URL);
    await page.fill('#credential', name);
    if (people.length === 1) await person.shot('sign-in');
    await page.press('#credential', 'Enter');
    await page.waitForSelector('#pill[data-state="connected"]');
    // Every state of the connection from here on.
    await page.evaluate(() => {
      const pill = document.getElementById('pill');
      window.states = [];
      new MutationObserver(() => window.states.push(pill.dataset.state)).observe(pill, { attributeFilter: ['data-state'] });
    });
    return person;
  }

  async shot(name) {
    await this.page.waitForTimeout(250);
    shots += 1;
    await this.page.screenshot({ path: join(OUT_DIR, `${String(shots).padStart(2, '0')}-${name}.png`) });
  }

  async choose(room) {
    if (await this.page.isVisible('#side-open')) {
      if (!(await this.page.isVisible('#side.open'))) await this.page.click('#side-open');
    }
    await this.page.click(`#rooms a:has(b:text-is("${room}"))`);
    await this.page.waitForSelector(`#room-name:text-is("${room}")`);
  }

  /** Types and sends, as a person does. */
  async say(text) {
    await this.page.fill('#text', text);
    await this.page.press('#text', 'Enter');
  }

  message(text) {
    return this.page.locator('li.message', { has: this.page.locator('.text', { hasText: exactly(text) }) });
  }

  async sees(text) {
    await this.message(text).first().waitFor().catch(() => assert.fail(`${this.name} does not see “${text}”`));
  }

  /** What members said, in the order in which it stands. */
  said() {
    return this.page.locator('li.message .text').allInnerTexts();
  }

  /** Waits until something in the page is so. */
  async until(check, argument, words) {
    await this.page.waitForFunction(check, argument).catch(() => assert.fail(`${this.name}: ${words}`));
  }

  /** The unread count beside a room; 0 when there is none. */
  unread(room) {
    return this.page.evaluate((name) => {
      const row = [...document.querySelectorAll('#rooms a')].find((one) => one.querySelector('b').textContent === name);
      return Number(row?.querySelector('.bubble span')?.textContent ?? 0);
    }, room);
  }

  /** Answers the dialog that is open. */
  async answer(fields = {}) {
    for (const [name, value] of Object.entries(fields)) await this.page.fill(`#field-${name}`, value);
    await this.page.click('#dialog-ok');
    await this.page.waitForSelector('#dialog:not([open])', { state: 'attached' }).catch(async () => {
      assert.fail(`${this.name}: the dialog stays open: ${await this.page.innerText('#dialog-trouble')}`);
    });
  }

  /** Opens the panel about the room. */
  async about() {
    if (!(await this.page.isVisible('#details'))) await this.page.click('#about');
    await this.page.waitForSelector('#details .members li');
  }

  /** Frames that carry something of a room, from the `since`th frame on. */
  carrying(room, since) {
    const carriers = ['batch', 'void', 'key', 'watched', 'opened'];
    return this.frames.slice(since).filter((frame) => carriers.some((kind) => (frame[kind]?.room?.room ?? frame[kind]?.room) === room));
  }
}

await mkdir(OUT_DIR, { recursive: true });
const browser = await chromium
  .launch({ executablePath: EXECUTABLE, args: FLAGS })
  .catch((error) => fail(`the browser ${EXECUTABLE} does not start: set CHROMIUM to one that does.\n${error.message}`));
try {
  await walk();
  for (const { name, errors } of people) assert.deepEqual(errors, [], `the page of ${name} had errors`);
  console.log(`walked to the end, ${shots} screenshots`);
} catch (error) {
  for (const { name, page } of people) await page.screenshot({ path: join(OUT_DIR, `failed-${name}.png`) }).catch(() => {});
  const inPages = people.flatMap(({ name, errors }) => errors.map((one) => `in the page of ${name}: ${one}`));
  console.error([`failed while ${step}: ${error.stack ?? error}`, ...inPages].join('\n'));
  process.exitCode = 1;
} finally {
  await browser.close();
  lines.close();
  process.stdin.destroy();
}

async function walk() {
  begin('three people sign in');
  const ada = await Person.enter(browser, 'ada', DESK);
  const bea = await Person.enter(browser, 'bea', { ...DESK, colorScheme: 'dark' });
  const cyd = await Person.enter(browser, 'cyd', PHONE);

  begin('ada begins a channel with bea and cyd');
  const name = 'Autumn exhibition';
  await ada.page.click('#new-channel');
  await ada.page.fill('#field-name', name);
  await ada.page.fill('#field-accounts', 'bea, cyd');
  await ada.shot('new-channel');
  await ada.answer();
  await ada.page.waitForSelector(`#room-name:text-is("${name}")`);
  const room = /[0-9A-Za-z]{17}$/.exec(ada.page.url())?.[0] ?? assert.fail('the address does not say which room');
  await bea.choose(name);
  await ada.page.waitForSelector('li.system:has-text("A new room has been created")');

  begin('they talk');
  const talk = [
    [ada, 'Good evening, both.'],
    [bea, 'Good evening! The crates arrived this morning.'],
    [ada, 'All six of them?'],
    [bea, 'All six. Number 17 has a dent in one corner,\nthe frame is fine.'],
  ];
  for (const [index, [who, text]] of talk.entries()) {
    await who.say(text);
    await (talk[index + 1]?.[0] ?? ada).sees(text);
  }
  for (const who of [ada, bea]) assert.deepEqual(await who.said(), talk.map(([, text]) => text), `${who.name} sees what was said, in order`);
  assert.equal((await ada.message(talk[0][1]).locator('.key').innerText()).replace(/\D/g, ''), '0', 'each message shows its key version');

  begin('cyd counts what it has not read');
  await cyd.until(() => document.querySelector('#rooms a .bubble span')?.textContent === '4', undefined, 'four messages are unread');
  if (!(await cyd.page.isVisible('#side.open'))) await cyd.page.click('#side-open');
  await cyd.shot('phone-rooms');
  await cyd.choose(name);
  await cyd.sees(talk[0][1]);
  await cyd.say('I am here too.');
  for (const who of [ada, bea]) await who.sees('I am here too.');
  await cyd.until(() => !document.querySelector('#rooms a .bubble'), undefined, 'what is on screen is read');
  await cyd.shot('phone-talk');

  begin('bea edits and deletes');
  await bea.say('We hang on Wendesday.');
  await ada.sees('We hang on Wendesday.');
  await bea.page.press('#text', 'ArrowUp');
  await bea.page.waitForSelector('#editing');
  await bea.say('We hang on Wednesday.');
  for (const who of [ada, cyd]) await who.sees('We hang on Wednesday.');
  assert.equal(await ada.message('We hang on Wednesday.').locator('.edited').innerText(), 'edited');
  await bea.say('oops, wrong room');
  await ada.sees('oops, wrong room');
  await bea.message('oops, wrong room').focus();
  await bea.page.keyboard.press('Delete');
  await bea.answer();
  for (const who of [ada, bea, cyd]) await who.page.waitForSelector('li.message.gone');
  assert.ok(!(await ada.said()).includes('oops, wrong room'), 'a deleted message is gone');

  begin('ada removes cyd');
  await ada.about();
  await ada.shot('about');
  const before = await cyd.said();
  await ada.page.click('#details .members li:has(b:text-is("cyd")) button:text-is("Remove")');
  await ada.shot('remove');
  await ada.answer();
  await cyd.page.waitForSelector('#standing:has-text("You were removed from Autumn exhibition")');
  assert.equal(await cyd.page.isVisible('#text'), false, 'a removed member has no composer');
  assert.deepEqual(await cyd.said(), before, 'a removed member keeps what it read');
  assert.ok(cyd.frames.some((frame) => frame.reset?.room === room && frame.reset.why === 'removed'), 'the server closed the room on its socket');
  await cyd.shot('phone-removed');
  const since = cyd.frames.length;

  begin('the talk goes on under the next key');
  await ada.page.click('#about');
  await ada.say('Now it is the two of us.');
  await bea.sees('Now it is the two of us.');
  await bea.say('So it is.');
  await ada.sees('So it is.');
  await ada.page.waitForSelector('li.turn:has-text("Key 1 from here on")');
  assert.equal((await bea.message('So it is.').locator('.key').innerText()).replace(/\D/g, ''), '1');

  begin('cyd cannot open what follows, even when handed the ciphertext');
  const taken = await ada.page.evaluate((id) => window.chamberlain.envelopes(id), room);
  const versions = await cyd.page.evaluate((id) => window.chamberlain.versions(id), room);
  assert.deepEqual(versions, [0], 'cyd holds the key of its time, and no other');
  const open = (who, envelope) => who.page.evaluate((one) => window.chamberlain.tryOpen(one), envelope);
  const after = taken.filter(({ version, kind }) => version === 1 && kind === 'message');
  assert.equal(after.length, 2, 'two messages were said under the next key');
  for (const envelope of after) {
    const tried = await open(cyd, envelope);
    assert.equal(tried.opened, false, `cyd opens revision ${envelope.revision}: ${tried.text}`);
    assert.ok(tried.tried > 0, 'cyd had keys to try');
    assert.equal((await open(bea, envelope)).opened, true, 'bea opens the very same envelope');
  }
  assert.equal((await open(cyd, taken.find(({ version, kind }) => version === 0 && kind === 'message'))).opened, true, 'and cyd what was before');

  begin('the server restarts');
  for (const person of people) person.away = true;
  console.log('RESTART');
  const restarted = new Promise((resolve, reject) => {
    lines.once('line', resolve);
    lines.once('close', () => reject(new Error('standard input ended before the server was restarted')));
  });
  // Some before it stops, some while it is away, some after: each is to be there once.
  const meanwhile = Array.from({ length: 12 }, (_, n) => `Said around the restart, ${n + 1}`);
  const saying = (async () => {
    for (const text of meanwhile) {
      await bea.say(text);
      await bea.page.waitForTimeout(60);
    }
  })();
  await bea.page.waitForSelector('#pill:not([data-state="connected"])').then(() => bea.shot('reconnecting')).catch(() => {});
  await restarted;
  await saying;

  begin('everybody is back, with nothing lost and nothing twice');
  for (const who of people) {
    await who.page.waitForSelector('#pill[data-state="connected"]');
    const states = await who.page.evaluate(() => window.states);
    assert.ok(states.some((state) => state !== 'connected'), `${who.name} was told that the connection was lost`);
    who.away = false;
  }
  await ada.sees(meanwhile.at(-1));
  await bea.until(() => !document.querySelector('li.pending'), undefined, 'nothing is pending any more');
  await ada.say('I have all twelve.');
  await bea.sees('I have all twelve.');
  for (const who of [ada, bea]) {
    const said = await who.said();
    const these = said.filter((text) => text.startsWith('Said around'));
    assert.deepEqual(these, meanwhile, `${who.name} has what was said around the restart once, in order`);
    assert.equal(new Set(said).size, said.length, `${who.name} has nothing twice`);
  }
  assert.deepEqual(await ada.said(), await bea.said(), 'both read the same');
  await ada.shot('after-restart');

  begin('cyd got nothing of it');
  assert.deepEqual(cyd.carrying(room, since), [], 'no frame of the room reached the removed member');
  assert.deepEqual(await cyd.said(), before);
  assert.ok((await cyd.page.innerText('#standing')).startsWith('You were removed'));
  assert.deepEqual(await cyd.page.evaluate((id) => window.chamberlain.versions(id), room), [0]);

  begin('a direct message');
  await bea.page.click('#new-dm');
  await bea.answer({ account: 'ada' });
  await bea.page.waitForSelector('#room-name:text-is("ada")');
  await bea.say('Between us: they want the triptych for the spring.');
  await ada.until(() => [...document.querySelectorAll('#rooms a .bubble span')].some((one) => one.textContent === '1'), undefined, 'one message is unread');
  assert.equal(await ada.unread('bea'), 1);
  assert.match(await ada.page.title(), /^\(1\) /);
  await ada.shot('unread');
  await ada.choose('bea');
  await ada.sees('Between us: they want the triptych for the spring.');
  await ada.say('All three panels?');
  await bea.sees('All three panels?');
  await ada.until(() => !document.querySelector('#rooms a .bubble'), undefined, 'the message is read');
  await bea.shot('dark-dm');

  begin('rename, role, rotation');
  await ada.choose(name);
  await ada.about();
  await ada.page.click('#details button:text-is("Make owner")');
  await ada.page.waitForSelector('li.system:has-text("ada made bea an owner")');
  await ada.page.click('#details button:text-is("Rotate")');
  await ada.answer();
  await ada.page.waitForSelector('li.turn:has-text("Key 2 from here on")');
  await ada.page.click('#details button:text-is("Rename")');
  await ada.answer({ name: 'Spring exhibition' });
  await bea.page.waitForSelector('#rooms b:text-is("Spring exhibition")');

  begin('a long history');
  await ada.page.evaluate(
    async ({ id, many }) => {
      for (let n = 1; n <= many; n += 1) await window.chamberlain.client.send(id, `Item ${n} of the inventory`);
    },
    { id: room, many: MANY },
  );
  await ada.sees(`Item ${MANY} of the inventory`);
  await bea.page.reload();
  await bea.choose('Spring exhibition');
  await bea.sees(`Item ${MANY} of the inventory`);
  assert.equal(await bea.message('Good evening, both.').count(), 0, 'the beginning is not loaded at first');
  for (let turn = 0; turn < 40 && (await bea.message('Good evening, both.').count()) === 0; turn += 1) {
    await bea.page.evaluate(() => (document.getElementById('scroll').scrollTop = 0));
    await bea.page.waitForTimeout(150);
  }
  await bea.sees('Good evening, both.');
  const revisions = await bea.page.$$eval('#timeline li[data-revision]', (rows) => rows.map((row) => Number(row.dataset.revision)));
  assert.ok(revisions.every((revision, at) => at === 0 || revision > revisions[at - 1]), 'revisions stand in order, none twice');
  const items = (await bea.said()).filter((text) => text.startsWith('Item '));
  assert.deepEqual(items, Array.from({ length: MANY }, (_, n) => `Item ${n + 1} of the inventory`));
  assert.ok((await bea.said()).includes('We hang on Wednesday.'), 'what is loaded later is shown as it was edited');
  assert.ok(!(await bea.said()).includes('oops, wrong room'), 'and what was deleted is not');
  await bea.page.evaluate(() => (document.getElementById('scroll').scrollTop = 0));
  await bea.shot('dark-history');
  await bea.page.click('#theme');
  await bea.shot('light-by-choice');

  begin('cyd is added again');
  await ada.about();
  await ada.page.click('#details button:has-text("Add people")');
  await ada.answer({ accounts: 'cyd' });
  await cyd.page.waitForSelector('#composer', { state: 'visible' });
  await cyd.sees('Now it is the two of us.');
  await cyd.say('Back again.');
  await ada.sees('Back again.');
  assert.equal(await cyd.page.isVisible('#standing'), false);
  await cyd.page.click('#about');
  await cyd.page.waitForSelector('#details .members li');
  await cyd.shot('phone-about');
}

function begin(what) {
  step = what;
  console.log(what);
}

/** A pattern of this text and nothing else. */
function exactly(text) {
  return new RegExp(`^${text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);
}

function fail(words) {
  console.error(words);
  process.exit(1);
}
