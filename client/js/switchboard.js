// Switchboard's client: sessions over one socket that heals itself; worker.js adds work for bots and agents.
// The protocol is docs/protocol.md, cited as [SW-n.n].

const baseMS = 500, capMS = 20_000 // of the full-jitter backoff between connections
const helloMS = 10_000 // a connection that is not welcomed by then is given up
const maxPending = 1_024 // unanswered requests; more are refused as overloaded
const maxHeld = 10_000 // entries that wait for a listener
const maxTries = 8 // of one refused request

export const utf8 = new TextEncoder()
export const bytes = text => utf8.encode(text).length
export const uuid = () => crypto.randomUUID?.() ?? crypto.getRandomValues(new Uint32Array(4)).join('-')

function endpoint(url) {
  const u = new URL(url, globalThis.location?.href)
  u.protocol = u.protocol.replace('http', 'ws')
  if (u.pathname === '/') u.pathname = '/v1/connect'
  return u.href
}

// An error of [SW-6.1]: code, slug, message, retry, retry_after_ms, detail.
export class SwitchboardError extends Error {
  constructor(e) {
    super(e.message || e.slug)
    Object.assign(this, e)
    this.name = 'SwitchboardError'
  }
}

export const fault = (code, slug, message) => new SwitchboardError({ code, slug, message, retry: 'never' })

export class Emitter {
  #heard = {}
  // on calls fn for every event of the type, and returns what ends that.
  on(type, fn) {
    (this.#heard[type] ??= new Set()).add(fn)
    return () => this.#heard[type].delete(fn)
  }
  heard(type) { return this.#heard[type]?.size > 0 }
  emit(type, ...args) {
    for (const fn of [...this.#heard[type] ?? []]) {
      try { fn(...args) } catch (err) { queueMicrotask(() => { throw err }) } // a listener cannot harm the connection
    }
  }
}

// A Feed gives the entries of one session, each once, in order. Entries wait for the first listener.
export class Feed extends Emitter {
  seq = 0
  epoch = 0
  ended = null // why nothing more will come
  #held = []
  on(type, fn) {
    const off = super.on(type, fn)
    if (type === 'entry') for (const e of this.#held.splice(0)) this.emit(type, e)
    return off
  }
  give(e) {
    this.seq = e.seq
    this.epoch = Math.max(this.epoch, e.epoch || 0)
    if (this.heard('entry')) this.emit('entry', e)
    else if (this.#held.push(e) > maxHeld) this.#held.shift() // history has it still
  }
  end(why) {
    if (this.ended) return
    this.ended = why
    this.emit('end', why)
  }
  async *[Symbol.asyncIterator]() {
    const line = []
    let wake
    const offs = [this.on('entry', e => { line.push(e); wake?.() }), this.on('end', () => wake?.())]
    try {
      for (;;) {
        if (line.length > maxHeld) throw fault(503, 'overloaded', 'the reader fell behind')
        if (line.length) yield line.shift()
        else if (this.ended) return
        else await new Promise(go => { wake = go })
      }
    } finally { for (const off of offs) off() }
  }
}

// One conversation as its customer (or a supervisor) sees it. Events: entry, state, typing, receipt, stream, lag,
// truncated, reset, error, end.
export class Session extends Feed {
  streams = new Map() // running streams: id → {text, off}
  state = {}
  #loose = false // the next entry sets the position, whatever came before it
  #opening = false
  constructor(client, id) {
    super()
    this.client = client
    this.id = id
  }
  // attached takes open's answer, or a line of hello's resumed [SW-3.2].
  attached(r) {
    this.#opening = false
    this.epoch = Math.max(this.epoch, r.epoch || 0)
    if (r.how === 'truncated') {
      this.seq = r.at || 0
      this.emit('truncated', { at: this.seq })
    } else if (r.how === 'reset') {
      this.start(r.head, 50)
      this.emit('reset')
    }
    // [SW-4.8] a stream that is not named any more has ended without an entry
    const live = r.streams ?? []
    for (const id of [...this.streams.keys()]) if (!live.some(s => s.stream === id)) this.#stream(id)
    for (const s of live) this.push('stream', s)
    if (r.state) this.changed(r)
  }
  push(verb, p) {
    switch (verb) {
      case 'message': return this.#message(p)
      case 'delta': {
        const { text, off } = this.streams.get(p.stream) ?? { text: '', off: 0 }
        return off === p.off && this.#stream(p.stream, text + p.text, off + bytes(p.text))
      }
      case 'stream': return this.#stream(p.stream, p.text, p.off)
      case 'state': return this.changed(p)
      default: this.emit(verb, p) // typing, receipt, lag
    }
  }
  start(head, tail) {
    this.seq = Math.max(0, head - tail)
    this.#loose = this.seq < head
  }
  changed(state) { this.emit('state', this.state = state) }
  #message(m) {
    if (!this.#loose) {
      if (m.seq <= this.seq) return m.epoch > this.epoch ? this.reopen() : undefined
      if (m.prev > this.seq) return this.reopen() // [SW-4.4] a gap
    }
    this.#loose = false
    this.give(m)
  }
  give(e) {
    super.give(e)
    if (e.stream) this.#stream(e.stream)
  }
  // reopen attaches again from the last entry seen.
  reopen() {
    if (this.#opening) return
    this.#opening = true
    this.client.now('open', { session: this.id, from: { epoch: this.epoch, seq: this.seq } }, r => this.attached(r),
      err => this.gone(err))
  }
  gone(err) {
    this.client.sessions.delete(this.id)
    this.emit('error', err)
    this.end(err.slug)
  }
  lost() { this.#opening = false }
  #stream(id, text, off) {
    const done = text === undefined
    if (!done) this.streams.set(id, { text, off })
    else if (!this.streams.delete(id)) return
    this.emit('stream', { session: this.id, stream: id, text: text ?? '', done })
  }
  // wrote puts our own word in its place: the reply stands for the entry [SW-4.4].
  wrote(r, e) {
    if (r.seq <= this.seq) return
    if (r.duplicate || r.seq > this.seq + 1) return this.reopen() // a reply has no prev
    this.#loose = false
    this.give({ session: this.id, ...r, from: this.client.self(), origin: this.client.hello.role, kind: 'message', visibility: 'public', ...e })
  }
  send(type, body, { reply_to, key = uuid() } = {}) {
    return this.client.call('send', { session: this.id, key, type, body, reply_to }, r => {
      this.wrote(r, { type, body, reply_to })
      return r
    })
  }
  // ack tells the others what has been delivered here, and read.
  ack(seq = this.seq, read) { this.client.tell('ack', { session: this.id, seq, read }) }
  typing(on = true) { this.client.tell('typing', { session: this.id, on }) }
  history(range) { return this.client.call('history', { session: this.id, ...range }) }
  close(reason, key = uuid()) { return this.client.call('close', { session: this.id, reason, key }) }
  rate(score, comment, key = uuid()) { return this.client.call('rate', { session: this.id, score, comment, key }) }
  leave() {
    return this.client.call('leave', { session: this.id }, () => {
      this.client.sessions.delete(this.id)
      this.end('left')
    })
  }
  finish(reason) {
    return this.close(reason).catch(err => { if (err.slug !== 'session_closed') throw err }).then(() => this.leave())
  }
}

// One connection that heals itself. Options: token (a string, or what fetches one), client, WebSocket,
// random. Events: status (connecting, online, waiting, closed), error (the end).
export class Client extends Emitter {
  sessions = new Map()
  worker = null
  hello = null // the server's welcome, of the present connection or the last
  status = 'connecting'
  #options
  #url
  #to // where bye sent us, for one attempt
  #ws = null
  #up = false // welcomed
  #hold = false // the worker's lease comes first
  #id = 0
  #helloID = 0
  #pending = new Map() // id → request, in the order made
  #flying = 0
  #refused = false // one in flight was: those behind it come back too, and go again in order [SW-4.2]
  #out = []
  #tries = 0
  #after = 0 // what the server asked us to wait
  #bye = null
  #since = 0
  #seen = 0
  #timers = {}
  #ended = null
  #online = () => this.status === 'waiting' && this.#connect()

  constructor(url, options = {}) {
    super()
    this.#url = endpoint(url)
    this.#options = options
    globalThis.addEventListener?.('online', this.#online)
    this.#connect()
  }

  // open gets or creates a session, or attaches to the one named [SW-4.1].
  open({ from, tail, ...more } = {}) {
    return this.call('open', { key: more.session ? undefined : uuid(), channel: 'web', ...more, from, tail }, r => {
      let s = this.sessions.get(r.session)
      const known = !!s
      if (!known) this.sessions.set(r.session, s = new Session(this, r.session))
      if (!known && from) s.seq = from.seq
      else if (!known) s.start(r.head, tail ?? 0)
      s.attached(r)
      if (known && s.seq < r.head) s.reopen() // from where it was
      return s
    })
  }
  // join begins the worker's part, ahead of requests that may need its lease.
  join() {
    if (!this.#up || !this.worker) return
    this.#hold = true
    this.worker.subscribe()
  }
  // drop is what a lost network does.
  drop() { this.#lost(this.#ws, 0, 'dropped') }
  // close ends the client; what was not answered is refused.
  close(why = fault(499, 'closed', 'the client was closed')) { this.#end(why) }

  // call repeats a request until it is answered. effect runs in the order of frames.
  call(verb, args, effect) {
    if (this.#ended) return Promise.reject(this.#ended)
    if (this.#pending.size >= maxPending) return Promise.reject(fault(503, 'overloaded', 'too many requests are unanswered'))
    return this.#request(verb, args, effect)
  }
  // now makes a request of this connection alone, ahead of the others.
  now(verb, args, effect, failed) { if (this.#up) this.#request(verb, args, effect, true).catch(err => err && failed?.(err)) }
  #request(verb, args, effect, now) {
    return new Promise((resolve, reject) => {
      const id = ++this.#id
      this.#pending.set(id, { verb, now, effect, resolve, reject, tries: 0, sent: false, text: JSON.stringify({ id, [verb]: args }) })
      this.#pump()
    })
  }
  // tell sends what needs no answer, and may be lost.
  tell(verb, args) {
    if (this.#up) this.#write(JSON.stringify({ [verb]: args }))
    return this.#up
  }
  // release lets the other requests follow a subscription.
  release() {
    this.#hold = false
    this.#pump()
  }
  self() { return { role: this.hello.role, id: this.hello.sub } }

  async #connect() {
    this.#timer('retry')
    const ws = this.#ws = {} // holds the place while the token is fetched
    this.#say('connecting')
    try {
      const token = await this.#token()
      if (this.#ws !== ws) return
      const url = this.#to ?? this.#url
      this.#to = undefined
      this.#open(new (this.#options.WebSocket ?? WebSocket)(url, 'switchboard.v1.json'), token)
    } catch (err) { this.#lost(ws, 0, err.message) }
  }
  get #fetches() { return typeof this.#options.token === 'function' }
  #token() { return this.#fetches ? this.#options.token() : this.#options.token }
  #open(ws, token) {
    this.#ws = ws
    this.#bye = null
    this.#helloID = ++this.#id
    this.#seen = Date.now()
    this.#watch(helloMS)
    const most = this.hello?.limits?.frame / 128 // fit in hello; others reopen
    const resume = [...this.sessions.values()].slice(0, most).map(s => ({ session: s.id, epoch: s.epoch, seq: s.seq }))
    ws.onopen = () => ws.send(JSON.stringify({ id: this.#helloID, hello: { token, client: this.#options.client ?? 'js/0.1', features: ['stream'], resume } }))
    ws.onmessage = m => this.#ws === ws && this.#read(ws, m.data)
    ws.onclose = e => this.#lost(ws, e.code, e.reason)
    ws.onerror = () => {} // close follows
  }
  #read(ws, data) {
    this.#seen = Date.now()
    if (data === '') return ws.send('') // [SW-2.6]
    try {
      for (const line of data.split('\n')) if (line && this.#ws === ws) this.#frame(JSON.parse(line))
    } catch (err) { this.#lost(ws, 0, err.message) }
  }
  #frame(f) {
    if (!f.id) {
      for (const verb in f) this.#push(verb, f[verb])
      return
    }
    if (f.id === this.#helloID) return f.error ? this.#refusedHello(new SwitchboardError(f.error)) : this.#welcome(f.hello)
    const r = this.#pending.get(f.id)
    if (!r?.sent) return
    if (!r.now) this.#flying--
    if (f.error && this.#again(r, f.error)) return
    this.#pending.delete(f.id)
    if (f.error) r.reject(new SwitchboardError(f.error))
    else try { r.resolve(r.effect ? r.effect(f[r.verb]) : f[r.verb]) } catch (err) { r.reject(err) }
    this.#pump()
  }
  #welcome(hello) {
    this.hello = hello
    this.#up = true
    this.#after = 0
    this.#since = Date.now()
    this.#watch((hello.ping_ms ?? 25_000) + (hello.pong_ms ?? 8_000))
    if (hello.expires_ms) this.#renew(hello)
    const resumed = new Map(hello.resumed?.map(r => [r.session, r]))
    for (const s of [...this.sessions.values()]) {
      const r = resumed.get(s.id)
      if (r && !r.error) s.attached(r)
      else if (r?.error.retry === 'never') s.gone(new SwitchboardError(r.error))
      else s.reopen()
    }
    this.join()
    this.#say('online', hello)
    this.#pump() // [SW-4.2] what was not answered, in order, under the same keys
  }
  #refusedHello(err) {
    if (err.retry === 'never' || err.retry === 'refresh_token' && !this.#fetches) return this.#end(err)
    this.#after = err.retry_after_ms ?? 0
    this.#lost(this.#ws, 0, err.slug)
  }
  #renew({ expires_ms }) { if (this.#fetches) this.#timer('refresh', () => this.#refresh(), Math.min(expires_ms * 0.8, 2 ** 31 - 1)) }
  async #refresh() {
    try {
      const token = await this.#token()
      this.now('refresh', { token }, r => this.#renew(r))
    } catch { this.#renew({ expires_ms: capMS }) } // the server's 3005 comes at the latest
  }
  #push(verb, p) {
    if (verb === 'bye') this.#bye = p
    this.sessions.get(p.session)?.push(verb, p)
    this.worker?.push(verb, p)
  }
  // again puts a refused request back in its place when that is worth while, and tells whether.
  #again(r, e) {
    const renew = e.retry === 'refresh_token' && this.#fetches
    if (!(renew || e.retry === 'after' || e.retry === 'backoff' || e.slug === 'too_many_inflight') || ++r.tries > maxTries && !r.now) return false
    if (renew) this.#refresh()
    r.sent = false
    this.#refused = true
    if (!this.#timers.pause) this.#timer('pause', () => this.#pump(), (e.retry_after_ms ?? 0) + this.#jitter(r.tries))
    return true
  }
  #pump() {
    if (!this.#up || this.#timers.pause) return
    const { inflight = 8, frame = 65_536 } = this.hello.limits ?? {}
    if (!this.#flying) this.#refused = false
    for (const [id, r] of this.#pending) {
      if (r.sent || !r.now && (this.#hold || this.#refused || this.#flying >= inflight)) continue
      if (r.text.length * 3 > frame && bytes(r.text) > frame) { // [SW-6.3] it would cost us the connection
        this.#pending.delete(id)
        r.reject(fault(413, 'too_large', 'the request is above the limits'))
        continue
      }
      r.sent = true
      if (!r.now) this.#flying++
      this.#write(r.text)
    }
  }
  #write(text) {
    if (this.#out.push(text) === 1) queueMicrotask(() => this.#flush())
  }
  #flush() {
    const out = this.#out.splice(0), { batch = 64, frame = 65_536 } = this.hello.limits ?? {}
    while (this.#up && out.length) {
      let n = 1
      for (let size = out[0].length; n < out.length && n < batch; n++) {
        if ((size += out[n].length + 1) * 3 > frame) break
      }
      this.#ws.send(out.splice(0, n).join('\n')) // [SW-2.5]
    }
  }
  // watch gives the connection up when nothing was heard for ms.
  #watch(ms) {
    const ws = this.#ws, left = this.#seen + ms - Date.now()
    if (left <= 0) return this.#lost(ws, 0, 'silent')
    this.#timer('watch', () => this.#watch(ms), left)
  }
  #timer(name, fn, ms) {
    clearTimeout(this.#timers[name])
    this.#timers[name] = fn && setTimeout(() => {
      this.#timers[name] = undefined
      fn()
    }, ms)
  }
  #jitter(tries) { return (this.#options.random ?? Math.random)() * Math.min(capMS, baseMS * 2 ** tries) }
  #lost(ws, code, reason) {
    if (!ws || ws !== this.#ws) return
    const bye = this.#bye
    this.#let()
    code = bye?.code ?? code
    reason = bye?.reason || reason
    const last = code >= 3500 && code < 4000 || code === 3005 && !this.#fetches // [SW-6.2]
    if (last || bye && !bye.reconnect) return this.#end(fault(code, reason || 'closed', 'the server said goodbye'))
    if (bye?.to && /^wss?:/.test(bye.to)) this.#to = endpoint(bye.to)
    const lasted = this.#since && Date.now() - this.#since > 5_000
    this.#since = 0
    if (lasted) this.#tries = 0
    const wait = (bye?.after_ms ?? 0) + this.#after + this.#jitter(this.#tries++)
    this.#after = 0
    this.#timer('retry', () => this.#connect(), wait)
    this.#say('waiting', { code, reason, wait_ms: wait })
  }
  // let forgets the socket.
  #let() {
    const ws = this.#ws
    this.#ws = this.#bye = null
    this.#up = this.#hold = this.#refused = false
    this.#flying = this.#out.length = 0
    for (const name in this.#timers) this.#timer(name)
    for (const [id, r] of this.#pending) {
      r.sent = false
      if (r.now) {
        this.#pending.delete(id)
        r.reject()
      }
    }
    for (const s of this.sessions.values()) s.lost()
    this.worker?.lost()
    ws?.close?.()
  }
  #end(err) {
    if (this.#ended) return
    this.#ended = err
    this.#let()
    globalThis.removeEventListener?.('online', this.#online)
    for (const r of this.#pending.values()) r.reject(err)
    this.#pending.clear()
    for (const s of this.sessions.values()) s.end(err.slug)
    this.worker?.over(err.slug)
    this.#say('closed', err)
    if (err.code !== 499) this.emit('error', err)
  }
  #say(status, detail) {
    this.status = status
    this.emit('status', status, detail)
  }
}

export const connect = (url, options) => new Client(url, options)
