// Work for bots and human agents over Switchboard's client: work(client, {queues, slots}, handler) [SW-5].

import { Emitter, Feed, Session, bytes, fault, utf8, uuid } from './switchboard.js'

// merge applies a JSON merge patch (RFC 7396).
function merge(doc, patch) {
  if (patch === null || typeof patch !== 'object' || Array.isArray(patch)) return patch
  const out = doc && typeof doc === 'object' && !Array.isArray(doc) ? { ...doc } : {}
  for (const k in patch) {
    if (patch[k] === null) delete out[k]
    else out[k] = merge(out[k], patch[k])
  }
  return out
}

// told says what was thrown, whatever it was.
function told(err) {
  try { return String(err?.message ?? err).slice(0, 200) } catch { return 'error' }
}

// A stream of a reply that is still being written. Offsets count bytes of UTF-8.
class Writer {
  #sent = 0
  #off = 0
  constructor(assignment, id) {
    this.assignment = assignment
    this.id = id
    this.text = ''
  }
  write(text) {
    this.text += text
    this.flush()
  }
  flush() {
    const a = this.assignment
    let end = this.text.length
    if (/[\ud800-\udbff]$/.test(this.text)) end-- // half a character waits for its other half
    const text = this.text.slice(this.#sent, end)
    if (!text || !a.tell('delta', { stream: this.id, off: this.#off, text })) return
    this.#sent = end
    this.#off += bytes(text)
  }
  // rewind sends again from off, as the server asked [SW-4.8].
  rewind(off) {
    this.#sent = new TextDecoder().decode(utf8.encode(this.text).subarray(0, off)).length
    this.#off = off
    this.flush()
  }
  // end writes the final message.
  end(type = 'text', body = { text: this.text }, more) { return this.assignment.reply(type, body, { ...more, stream: this.id }) }
}

// A session that this worker owns, fenced by ae. Events: entry, typing, receipt, end.
export class Assignment extends Feed {
  cursor = 0 // acknowledged
  delivered = 0 // the customer's newest word that was delivered
  writers = new Map()
  #settled = 0 // acknowledged, or on its way to be, by #settling
  #settling
  #has = 0 // the delivery that the handler has
  #doing = new Map() // deliveries to be acknowledged: seq → delivery
  #nacks = 0 // on their way; meanwhile deliveries are held: of before a nack they must not be mistaken for those after it
  #held = new Map()
  #pause
  #line = Promise.resolve()
  #told = false // somebody listens to the entries; before that they are not kept, the log has them
  #behind = null // entries that wait until what is missing before them was fetched
  #abort = new AbortController()
  constructor(worker, p) {
    super()
    const { session, ...rest } = p
    Object.assign(this, { tail: [], context: { v: 0 }, ...rest })
    this.client = worker.client
    this.worker = worker
    this.id = session
    this.signal = this.#abort.signal
  }
  on(type, fn) {
    const off = super.on(type, fn)
    if (type === 'entry' && !this.#told) {
      this.#told = true
      this.seq = this.tail[0]?.prev ?? this.cursor
      for (const e of this.tail) this.#take(e)
      if (!this.#behind && this.seq < this.head) this.#fill()
    }
    return off
  }
  call(verb, args, effect) {
    return this.ended ? Promise.reject(fault(409, 'stale_assignment', this.ended)) : this.client.call(verb, { session: this.id, ae: this.ae, ...args }, effect)
  }
  tell(verb, args) { return !this.ended && this.client.tell(verb, { session: this.id, ae: this.ae, ...args }) }
  delivery(d) {
    this.#take(d)
    if (d.attempt) this.delivered = Math.max(this.delivered, d.seq)
    if (!d.attempt || d.seq <= this.cursor || this.#doing.get(d.seq)?.attempt >= d.attempt) return
    if (this.#nacks) return this.#held.set(d.seq, d)
    this.#doing.set(d.seq, d)
    this.worker.emit('delivery', d, this)
    if (this.worker.handler) this.#line = this.#line.then(() => this.#work(d))
  }
  async #work(d) {
    const mine = () => !this.ended && this.#doing.get(d.seq) === d
    if (!mine()) return
    try {
      this.#has = d.seq
      await this.worker.handler(d, this)
      if (mine()) await (this.#settled < d.seq ? this.ack(d.seq) : this.#settling)
    } catch (err) {
      this.worker.emit('error', err, this)
      if (mine()) await this.nack(d.seq, { delay_ms: 1_000, reason: told(err) }).catch(() => {})
    } finally { this.#has = 0 }
  }
  #take(e) {
    if (!this.#told) this.head = Math.max(this.head, e.seq)
    else if (this.#behind) this.#behind.push(e)
    else if (e.prev > this.seq) this.#fill(e)
    else if (e.seq > this.seq) this.give(e)
  }
  // fill fetches what lies before e: tail need not hold what follows as a delivery.
  async #fill(...e) {
    this.#behind = e
    const give = list => { for (const x of list) if (x.seq > this.seq) this.give(x) }
    try {
      for (let more = true; more;) {
        const h = await this.history({ after: this.seq, limit: 100 })
        give(h.entries ?? [])
        more = h.more && h.entries?.length > 0
      }
    } catch (err) { this.worker.emit('error', err, this) }
    const behind = this.#behind
    this.#behind = null
    give(behind)
  }
  #acked(seq) {
    this.cursor = Math.max(this.cursor, seq)
    for (const s of this.#doing.keys()) if (s <= seq) this.#doing.delete(s)
  }
  // reply says something; ack settles the deliveries up to that seq in the same step, and is then the key [SW-5.5].
  reply(type, body, { ack, key = ack === undefined ? uuid() : undefined, ...more } = {}) {
    const call = this.call('reply', { ack, key, type, body, ...more }, r => {
      if (ack) this.#acked(ack)
      this.writers.delete(more.stream)
      this.#take({ session: this.id, visibility: 'public', ...r, from: this.client.self(), kind: 'message', type, body, ...more, prev: r.duplicate ? r.seq - 1 : 0 })
      return r
    })
    return ack ? this.#settle(ack, call) : call
  }
  #settle(seq, call) {
    if (seq >= this.#settled) [this.#settled, this.#settling] = [seq, call]
    return call
  }
  // stream begins a reply that is shown while it is written: write(text)…, then end(type, body, {ack}).
  stream(id = uuid()) {
    const w = new Writer(this, id)
    this.writers.set(id, w)
    return w
  }
  ack(seq = this.delivered) { return this.#settle(seq, this.call('ack', { seq }, () => this.#acked(seq))) }
  // nack gives a delivery back; it and what follows come again. What is acknowledged is refused, and nothing comes again. Nor does it after
  // another refusal: the server has delivered it, so it is handled again from here, after the delay.
  nack(seq, { key = uuid(), ...more } = {}) {
    if (seq <= this.cursor) return this.call('nack', { seq, key, ...more })
    this.#nacks++
    this.#settled = Math.min(this.#settled, seq - 1)
    for (const [s, d] of this.#doing) if (s >= seq) { this.#doing.delete(s); this.#held.set(s, d) }
    return this.call('nack', { seq, key, ...more }, r => {
      if (!r.duplicate) for (const s of this.#held.keys()) if (s >= seq) this.#held.delete(s)
      this.#resume()
      return r
    }).catch(err => {
      if (err.slug === 'stale_assignment' && !this.ended) this.worker.end(this, 'stale')
      if (!this.ended) this.#pause = setTimeout(() => this.#resume(), more.delay_ms ?? 1_000)
      throw err
    })
  }
  // resume goes on with what was held, when no nack is on its way any more.
  #resume() {
    if (this.ended || --this.#nacks) return
    const held = [...this.#held.values()].sort((a, b) => a.seq - b.seq)
    this.#held.clear()
    for (const d of held) this.delivery({ ...d }) // the handler of a delivery that was given back has no say about it
  }
  // lost: the connection was. What is not acknowledged follows the next subscription [SW-5.7].
  lost() { this.#held.clear() }
  transfer(to, { key = uuid(), ...more } = {}) {
    return this.call('transfer', { to, key, ...more }, r => {
      if (to.queue) this.worker.end(this, 'transfer') // to a worker it stays ours until he accepts [SW-5.8]
      return r
    })
  }
  // release gives the session up; what the handler has is answered then, unless upto is before it, as where it is not the handler who releases; what the customer
  // said behind it is queued again.
  release(outcome, { key = uuid(), ...more } = {}) {
    if (this.#settled < this.#has && !(more.upto < this.#has)) this.ack(this.#has).catch(() => {}) // the release tells what went wrong
    return this.call('release', { outcome, key, ...more }, r => {
      this.worker.end(this, 'released')
      return r
    })
  }
  close(reason, { key = uuid(), ...more } = {}) {
    return this.call('close', { reason, key, ...more }, r => {
      this.worker.end(this, 'closed')
      return r
    })
  }
  // invite asks another worker to come as a guest: 'assist', 'consult' or 'barge' [SW-5a.1].
  invite(worker, as, { key = uuid(), ...more } = {}) { return this.call('invite', { worker, as, key, ...more }) }
  // patch changes the context document by a merge patch; version_conflict when somebody else was faster.
  patch(patch, key = uuid()) {
    return this.call('context', { if_v: this.context.v, patch, key }, r => {
      this.context = { v: r.v, doc: merge(this.context.doc, patch) }
      return r
    })
  }
  wrapup() { return this.client.call('wrapup', { session: this.id, ae: this.ae, done: true }) }
  typing(on = true) { this.tell('typing', { on }) }
  history(range) { return this.client.call('history', { session: this.id, ...range }) }
  end(why) {
    super.end(why)
    clearTimeout(this.#pause)
    this.#abort.abort(fault(409, 'stale_assignment', why))
  }
}

// A session in which this client is a guest [SW-5a.1], fenced by ge. The seat ends with the connection (event end, 'lost'); whoever was
// invited may join again.
export class Guest extends Session {
  constructor(client, { session, ge }, as) {
    super(client, session)
    this.ge = ge
    this.as = as
    this.start(ge, 0)
  }
  // reply speaks as a guest: to the staff, but a barge's to the customer unless visibility says otherwise.
  reply(type, body, { key = uuid(), ...more } = {}) {
    return this.client.call('reply', { session: this.id, ge: this.ge, key, type, body, ...more }, r => {
      this.wrote(r, { origin: 'assist', visibility: this.as === 'barge' ? 'public' : 'staff', type, body, ...more })
      return r
    })
  }
  lost() {
    super.lost()
    this.client.sessions.delete(this.id)
    this.end('lost')
  }
}

// join makes the client a guest of a session: as 'monitor', 'assist', 'consult' or 'barge' of a supervisor; who was invited needs no as.
export function join(client, session, as) {
  return client.call('join', { session, as, key: uuid() }, r => {
    const g = new Guest(client, { session, ...r }, as)
    client.sessions.set(session, g)
    return g
  })
}

// A worker's subscription. Events: ready, assigned, delivery, offer, offer_ended, classify, invited, revoked, ended, presence, error.
export class Worker extends Emitter {
  assignments = new Map()
  offers = new Map()
  state = 'ready'
  #lease
  #asked = new Set() // sessions about which a question or an invitation is being answered
  constructor(client, { accept, classify, invited, ...options }, handler) {
    super()
    Object.assign(this, { client, accept, classify, invited, options, handler })
  }
  subscribe() {
    this.client.now('subscribe', { ...this.options, lease: this.#lease }, r => {
      this.#lease = r.lease
      const kept = new Map(r.kept?.map(k => [k.session, k.ae]))
      for (const a of [...this.assignments.values()]) {
        if (kept.get(a.id) !== a.ae) this.#revoked({ session: a.id, ae: a.ae, reason: 'lease' })
        else for (const w of a.writers.values()) w.flush()
      }
      // Of these the connection was lost before we heard of them: their words come as deliveries, the rest is in the history.
      for (const [session, ae] of kept) if (!this.assignments.has(session)) this.#assigned({ session, ae, reason: 'kept', cursor: 0, head: 0 })
      if (this.state !== 'ready') this.presence(this.state).catch(() => {})
      this.client.release()
      this.emit('ready', r)
    }, err => {
      this.client.release()
      this.emit('error', err)
    })
  }
  push(verb, p) {
    const a = this.assignments.get(p.session)
    switch (verb) {
      case 'delivery': return a?.ae === p.ae ? a.delivery(p) : undefined
      case 'typing': case 'receipt': return a?.emit(verb, p)
      case 'rewind': return a?.writers.get(p.stream)?.rewind(p.off)
      case 'assigned': return this.#assigned(p)
      case 'revoked': return this.#revoked(p)
      case 'offer': return this.#offer(p)
      case 'classify': return this.#classify(p)
      case 'invited': return this.#invited(p)
      case 'offer_ended': return this.#offerEnded(p)
      case 'presence': if (p.state !== this.state) this.emit('presence', p, this.state = p.state)
    }
  }
  // lost: open offers are rescinded with the connection [SW-5.7].
  lost() {
    for (const offer of this.offers.keys()) this.#offerEnded({ offer, reason: 'rescinded' })
    for (const a of this.assignments.values()) a.lost()
  }
  #assigned(p) {
    const old = this.assignments.get(p.session)
    if (old?.ae >= p.ae) return
    if (old) this.end(old, 'takeover')
    const a = new Assignment(this, p)
    this.assignments.set(a.id, a)
    this.emit('assigned', a)
  }
  // over: the client has ended for good.
  over(why) { for (const a of [...this.assignments.values()]) this.end(a, why) }
  end(a, why) {
    if (this.assignments.get(a.id) === a) this.assignments.delete(a.id)
    a.end(why)
    this.emit('ended', a, why)
  }
  #revoked(r) {
    // All of it is another connection's [SW-5.7]. Were we to come back we would take it from that, and that from us, without end.
    if (!r.session) return this.client.close(fault(409, r.reason, 'another connection has subscribed as this worker'))
    const a = this.assignments.get(r.session)
    if (!a || a.ae > r.ae) return
    this.end(a, r.reason)
    this.emit('revoked', r, a)
  }
  #offer(o) {
    const ended = reason => r => {
      this.#offerEnded({ offer: o.offer, reason })
      return r
    }
    const offer = {
      ...o,
      accept: () => this.client.call('accept', { offer: o.offer }, ended('accepted')),
      decline: reason => this.client.call('decline', { offer: o.offer, reason }, ended('declined'))
    }
    this.offers.set(o.offer, offer)
    this.emit('offer', offer)
    if (this.accept) {
      Promise.resolve(this.accept === true || this.accept(offer)).then(yes => yes ? offer.accept() : offer.decline())
        .catch(err => this.emit('error', err))
    }
  }
  // once lets fn answer what was asked about a session, and leaves repetitions of the question alone meanwhile.
  #once(session, fn) {
    if (this.#asked.has(session)) return
    this.#asked.add(session)
    Promise.resolve().then(fn).catch(err => this.emit('error', err)).finally(() => this.#asked.delete(session))
  }
  #classify(p) {
    const answer = (patch, key = uuid()) => this.client.call('attributes', { session: p.session, if_v: p.attributes_v, patch, key })
    const question = { tail: [], ...p, answer }
    this.emit('classify', question)
    if (!this.classify) return
    this.#once(p.session, async () => {
      const patch = await this.classify(question)
      if (patch) await answer(patch).catch(err => { if (err.slug !== 'stale_assignment') throw err }) // it was routed without us
    })
  }
  #invited(p) {
    const invitation = {
      ...p,
      join: () => join(this.client, p.session),
      decline: () => this.client.call('leave', { session: p.session })
    }
    if (this.client.sessions.get(p.session) instanceof Guest) return // it is shown twice
    this.emit('invited', invitation)
    if (this.invited) this.#once(p.session, async () => { if (!await this.invited(invitation)) await invitation.decline() })
  }
  #offerEnded(e) { if (this.offers.delete(e.offer)) this.emit('offer_ended', e) }
  presence(state, reason) {
    this.state = state
    return this.client.call('presence', { state, reason }, r => (this.state = state, r)) // what came before it was older
  }
  slots(slots) {
    this.options.slots = slots
    return this.client.call('slots', { slots })
  }
}

// work subscribes to queues. handler(delivery, assignment) runs for every word of the customer, one at a time per
// session; when it returns the delivery is acknowledged, when it throws it is given back. Without a handler listen to
// 'delivery' and answer with reply(…, {ack}). accept: true, or a function of the offer, answers offers by itself. classify is a function of
// a question that returns a merge patch of attributes, or nothing; invited one of an invitation that joins and returns true, or declines.
export function work(client, options, handler) {
  const w = client.worker = new Worker(client, options, handler)
  client.join()
  return w
}
