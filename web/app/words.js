// Times and refusals in words.

import { Refused } from '../client.js';

/** @param {number} time */
export function clock(time) {
  return new Date(time).toLocaleTimeString(undefined, { hour: 'numeric', minute: '2-digit' });
}

/** The time where there is room for little: without the half of the day. @param {number} time */
export function hours(time) {
  return clock(time).replace(/\s*[ap]\.?m\.?$/iu, '');
}

/** @param {number} time */
export function moment(time) {
  return new Date(time).toLocaleString(undefined, { dateStyle: 'full', timeStyle: 'medium' });
}

/** The day, as people say it. @param {number} time @param {number} [now] */
export function day(time, now = Date.now()) {
  const days = Math.round((midnight(now) - midnight(time)) / 86_400_000);
  if (days === 0) return 'Today';
  if (days === 1) return 'Yesterday';
  const date = new Date(time);
  if (days > 1 && days < 7) return date.toLocaleDateString(undefined, { weekday: 'long' });
  const year = date.getFullYear() === new Date(now).getFullYear() ? undefined : 'numeric';
  return date.toLocaleDateString(undefined, { weekday: 'short', day: 'numeric', month: 'long', year });
}

/** When, in the little room that a list has. @param {number} time @param {number} [now] */
export function when(time, now = Date.now()) {
  const days = Math.round((midnight(now) - midnight(time)) / 86_400_000);
  if (days <= 0) return clock(time);
  if (days === 1) return 'Yesterday';
  if (days < 7) return new Date(time).toLocaleDateString(undefined, { weekday: 'short' });
  return new Date(time).toLocaleDateString(undefined, { day: 'numeric', month: 'short' });
}

/** @param {number} time */
export function midnight(time) {
  return new Date(time).setHours(0, 0, 0, 0);
}

/** @param {number} count @param {string} one @param {string} many */
export function count(count, one, many) {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}

/** Refusals that the server's own words explain less well than the page can. @type {Record<string, string>} */
const REASONS = {
  unknown_account: 'There is no such account. Check the spelling; accounts are written in small letters.',
  not_owner: 'Only owners of this channel may do that.',
  last_owner: 'A channel needs an owner. Make somebody else an owner first.',
  room_full: 'The channel has as many members as it may have.',
  not_a_member: 'You are not a member of this room.',
  restricted_to_owners: 'In a room this large only its owners write.',
  archived: 'This channel is archived.',
  too_large: 'This message is too long to send.',
  already_that_role: 'Nothing to change: that is the role already.',
  rate_limited: 'That was a lot at once. Try again in a moment.',
  deadline: 'The server took too long. It may have happened all the same.',
  stale_edit: 'This message was edited elsewhere in the meantime. Look again and edit what it says now.',
};

/** Why something did not happen, for a person. @param {unknown} error */
export function why(error) {
  if (error instanceof Refused) return REASONS[error.reason] ?? sentence(error.message);
  return sentence(error instanceof Error ? error.message : String(error));
}

/** @param {string} text */
export function sentence(text) {
  const trimmed = text.trim();
  const begun = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…]$/u.test(begun) || begun === '' ? begun : `${begun}.`;
}
