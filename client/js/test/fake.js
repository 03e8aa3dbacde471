// A WebSocket whose other end is the test: it keeps what the client sent and says what the test wants said.

import { mock } from 'node:test'
import { connect } from '../switchboard.js'

export const limits = { frame: 65_536, body: 32_768, batch: 64, sessions: 8, inflight: 8, rate: [10, 20] }
export const welcome = { connection: 'c_1', tenant: 'demo', sub: 'alice', role: 'customer', node: 'n1', server: '0.1.0', ping_ms: 25_000, pong_ms: 8_000, expires_ms: 3_600_000, limits, features: ['stream'] }

// fakeSocket returns a WebSocket class of its own, with the sockets that were made in all.
export function fakeSocket() {
  return class Socket {
    static all = []
    raw = [] // messages as they were sent
    frames = [] // their frames, not yet taken
    closed = false
    constructor(url, protocol) {
      Object.assign(this, { url, protocol })
      Socket.all.push(this)
    }
    send(data) {
      if (this.closed) return
      this.raw.push(data)
      for (const line of data.split('\n')) if (line) this.frames.push(JSON.parse(line))
    }
    close() { this.closed = true }
    open() { this.onopen() }
    say(...frames) { this.onmessage({ data: frames.map(f => JSON.stringify(f)).join('\n') }) }
    drop(code = 1006, reason = '') {
      this.closed = true
      this.onclose({ code, reason })
    }
    // take returns the oldest frame that was not taken.
    take() { return this.frames.shift() }
  }
}

// settle lets everything run that waits for a promise.
export const settle = () => new Promise(go => setImmediate(go))

// clock replaces the timers and the date until the test ends. Full jitter is pinned by Rig's random.
export function clock(t) {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] })
  t.after(() => mock.timers.reset())
  return ms => mock.timers.tick(ms)
}

// A Rig is a client and the far end of its newest socket.
export class Rig {
  constructor(options = {}) {
    this.Socket = fakeSocket()
    this.client = connect('ws://node.test/', { token: 't.o.k', WebSocket: this.Socket, random: () => 0.5, ...options })
  }
  get socket() { return this.Socket.all.at(-1) }
  // welcome opens the newest socket, answers its hello, and returns that.
  async welcome(more = {}, ...pushes) {
    await settle()
    this.socket.open()
    const f = this.socket.take()
    this.socket.say({ id: f.id, hello: { ...welcome, ...more } }, ...pushes)
    await settle()
    return f.hello
  }
  // session opens a session that stands at head.
  async session(reply = {}, options) {
    const opening = this.client.open(options)
    await settle()
    const f = this.socket.take()
    this.socket.say({ id: f.id, open: { session: 's_1', epoch: 1, head: 0, state: 'new', ...reply } })
    return { session: await opening, open: f.open }
  }
}

// entry is a message push of the bot's.
export const entry = (seq, prev = seq - 1, more = {}) => ({
  message: { session: 's_1', seq, prev, epoch: 1, ts: seq, from: { role: 'worker', id: 'faq' }, origin: 'bot', kind: 'message', type: 'text', body: { text: `n${seq}` }, visibility: 'public', channel: 'web', ...more }
})

// seqs collects the numbers of the entries that a session or assignment gives.
export function seqs(feed) {
  const list = []
  feed.on('entry', e => list.push(e.seq))
  return list
}
