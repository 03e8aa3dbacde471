// Types of switchboard.js. What the protocol sends is described in docs/protocol.md; here are its shapes.

export interface Author { role: string; id: string; name?: string }

export interface Entry {
  session: string; seq: number; epoch?: number; ts?: number; prev?: number
  from?: Author; origin?: string; kind: 'message' | 'event'; type: string; body?: any
  visibility: 'public' | 'staff'; channel?: string; reply_to?: number; stream?: string
}

export interface Written { seq: number; epoch?: number; ts?: number; duplicate?: boolean }
export interface Position { epoch: number; seq: number }
export interface Range { before?: number; after?: number; limit?: number }
export interface State { state?: string; queue?: string; position?: number; eta_ms?: [number, number]; worker?: { id: string; kind: string; name?: string } }

export class SwitchboardError extends Error {
  code: number
  slug: string
  retry: 'never' | 'now' | 'after' | 'backoff' | 'refresh_token'
  retry_after_ms?: number
  detail?: any
}

export class Emitter<E extends Record<string, any[]>> {
  on<T extends keyof E>(type: T, fn: (...args: E[T]) => void): () => void
}

export class Feed<E extends Record<string, any[]>> extends Emitter<E & { entry: [Entry]; end: [string] }> implements AsyncIterable<Entry> {
  readonly seq: number
  readonly epoch: number
  readonly ended: string | null
  [Symbol.asyncIterator](): AsyncIterator<Entry>
}

export type SessionEvents = {
  state: [State]
  typing: [{ session: string; from: Author; on: boolean; ttl_ms: number }]
  receipt: [{ session: string; who: Author; delivered: number; read: number }]
  stream: [{ session: string; stream: string; text: string; done: boolean }]
  lag: [{ session: string; from: number }]
  truncated: [{ at: number }]
  reset: []
  error: [SwitchboardError]
}

export class Session extends Feed<SessionEvents> {
  readonly id: string
  readonly state: State
  readonly streams: Map<string, { text: string; off: number }>
  send(type: string, body: any, more?: { reply_to?: number; key?: string }): Promise<Written>
  ack(seq?: number, read?: number): void
  typing(on?: boolean): void
  history(range?: Range): Promise<{ entries: Entry[]; more: boolean }>
  close(reason?: string, key?: string): Promise<Written>
  rate(score: 1 | 2 | 3 | 4 | 5, comment?: string, key?: string): Promise<Written>
  leave(): Promise<void>
  finish(reason?: string): Promise<void>
}

export interface Options {
  token: string | (() => string | Promise<string>)
  client?: string
  WebSocket?: any
  random?: () => number
}

export interface Opening {
  session?: string; queue?: string; shop?: string; channel?: string; attributes?: Record<string, any>
  from?: Position; tail?: number; key?: string
}

export class Client extends Emitter<{ status: ['connecting' | 'online' | 'waiting' | 'closed', any]; error: [SwitchboardError] }> {
  constructor(url: string | URL, options: Options)
  readonly status: 'connecting' | 'online' | 'waiting' | 'closed'
  readonly hello: any
  readonly sessions: Map<string, Session>
  open(opening?: Opening): Promise<Session>
  call(verb: 'identify', args: { token: string }): Promise<{ customer: string; sessions: string[] }>
  call(verb: string, args: any): Promise<any>
  drop(): void
  close(): void
}

export function connect(url: string | URL, options: Options): Client
export function uuid(): string
