// What goes over the socket as JSON, as core/src/wire has it: a frame is an object with one key, its name.

export interface Envelope {
  version: number;
  encapsulation: string;
  counter: number;
  ciphertext: string;
}

export interface CurrentKey {
  version: number;
  public: string;
}

export type RoomKind = 'channel' | 'dm' | 'bot_dm';
export type Role = 'owner' | 'member';

export interface RoomView {
  room: string;
  kind: RoomKind;
  name: string;
  counterpart: string | null;
  role: Role;
  archived: boolean;
  members: number;
  head: number;
  time: number;
  messages: number;
  unread: number;
  read: number;
  key: CurrentKey;
  /** The room's origin site, where the server says it. */
  site?: string;
}

export interface MemberView {
  account: string;
  name: string;
  role: Role;
  bot: boolean;
  since: number;
  read: number;
}

export type RoomEvent =
  | { created: { kind: RoomKind; site: string; name: string | null; owner: string | null } }
  | { members_added: { accounts: string[]; history: 'all' | 'none' } }
  | { members_removed: { accounts: string[] } }
  | { role_set: { account: string; role: Role } }
  | { renamed: { name: string } }
  | 'archived'
  | { key_rotated: CurrentKey }
  | { message: { message: string; kind: 'message' | 'system'; version: number; ordinal: number } }
  | { edited: { revision: number; edit: number; version: number } }
  | { deleted: { revision: number } }
  | 'unchanged'
  | { continued: { ended: number; known: number; version: number } };

export interface Item {
  revision: number;
  time: number;
  account: string;
  event: RoomEvent;
  body: Envelope | null;
}

export interface Welcome {
  account: string;
  name: string;
  admin: boolean;
  site: string;
  node: string;
  time: number;
  account_revision: number;
  expires: number | null;
  limits: Record<string, number>;
}

export type Outcome =
  | { created: { room: string; kind: RoomKind; exists: boolean } }
  | { done: { revision: number } }
  | { sent: Sent }
  | { marked: { revision: number } }
  | { disabled: { rooms: number } };

export interface Sent {
  revision: number;
  time: number;
  version: number;
}

export interface HistoryPage {
  room: string;
  items: Item[];
  from: number;
  to: number;
  more: boolean;
}

export interface MembersPage {
  room: string;
  members: MemberView[];
  total: number;
  read_floor: number;
  more: boolean;
}

export interface KeyFrame {
  room: string;
  version: number;
  public: string;
  secret: string;
}

export type Answer =
  | { outcome: Outcome }
  | { history: HistoryPage }
  | { members: MembersPage }
  | { rooms: { rooms: RoomView[]; account_revision: number } }
  | { key: KeyFrame };

export interface ErrorFrame {
  id: string | null;
  room: string | null;
  code: string;
  reason: string;
  message: string;
  current: CurrentKey | null;
}

export interface Batch {
  room: string;
  from: number;
  to: number;
  items: Item[];
  position: string;
  own: { revision: number; request: string }[];
}

export interface VoidFrame {
  room: string;
  from: number;
  to: number;
  why: 'filtered' | 'not_entitled' | 'expired';
  position: string;
}

export type AccountChange =
  | { joined: { room: string; at: number; kind: RoomKind; name: string | null; counterpart: string | null } }
  | { left: { room: string; at: number } };

export interface ServerFrame {
  welcome?: Welcome;
  opened?: { room: RoomView; after: number; head: number };
  batch?: Batch;
  void?: VoidFrame;
  key?: KeyFrame;
  account?: { revision: number; event: AccountChange };
  watched?: { room: string; item: Item };
  watch_lagged?: { missed: number };
  ok?: { id: string; answer: Answer };
  error?: ErrorFrame;
  reset?: { room: string; why: 'removed' | 'unknown_position' | 'quarantined' };
  bye?: { code: number; reason: string; retry_after_ms: number | null };
}

/** What the Client needs of a WebSocket: the browser's, Node's, or that of the package `ws`. */
export interface Socket {
  readyState: number;
  send(text: string): void;
  close(code?: number, reason?: string): void;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
}

export type SocketClass = new (url: string, protocols: string[]) => Socket;
