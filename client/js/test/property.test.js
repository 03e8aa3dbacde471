// The client against a small model of the server, with a network that loses connections at every point, drops pushes
// and repeats them. Whatever the seed: every public entry once, in order; every send applied once, in order.
// SEED=n runs one.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { work } from '../worker.js'
import { clock, Rig, settle, welcome } from './fake.js'

// random is mulberry32: the same seed, the same numbers.
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

// A Model is one session's log [SW-4], and the far end of one connection at a time.
class Model {
  log = [] // public and staff entries
  keys = new Map()
  out = [] // frames on their way to the client
  attached = false
  behind = null // the key of the first send that was refused and has not come again
  faults = { lost: 0, dropped: 0, repeated: 0, holes: 0, duplicates: 0, refused: 0 }

  append(e) {
    const public_ = this.log.filter(x => x.visibility === 'public')
    this.log.push({ session: 's_1', seq: this.log.length + 1, epoch: 1, kind: 'message', type: 'text', prev: public_.at(-1)?.seq ?? 0, ...e })
    return this.log.at(-1)
  }
  say(visibility) {
    const e = this.append({ visibility, from: { role: 'worker', id: 'faq' }, body: { n: this.log.length } })
    if (visibility === 'staff') this.faults.holes++
    else if (this.attached) this.out.push({ message: e })
  }
  attach(from) {
    this.attached = true
    return this.log.filter(e => e.seq > from && e.visibility === 'public').map(message => ({ message }))
  }
  // take answers one frame of the client.
  take(f, busy) {
    if (f.hello) {
      const resumed = f.hello.resume.map(r => ({ session: r.session, how: 'exact', epoch: 1, head: this.log.length }))
      this.out.push({ id: f.id, hello: { ...welcome, resumed } }, ...f.hello.resume.flatMap(r => this.attach(r.seq)))
    } else if (f.open) {
      const from = f.open.from?.seq ?? this.log.length
      this.out = this.out.filter(x => !x.message) // the old attachment has ended
      this.out.push({ id: f.id, open: { session: 's_1', epoch: 1, head: this.log.length, state: 'assigned', how: 'exact' } }, ...this.attach(from))
    } else if (f.send) {
      const first = this.keys.get(f.send.key)
      if (first) {
        this.faults.duplicates++
        this.out.push({ id: f.id, send: { ...first, duplicate: true } })
      } else if (busy || this.behind && this.behind !== f.send.key) {
        this.behind ??= f.send.key // those sent behind it are refused too, until it comes again
        this.faults.refused++
        this.out.push({ id: f.id, error: { code: 503, slug: 'overloaded', message: '', retry: 'after', retry_after_ms: 50 } })
      } else {
        this.behind = null
        const e = this.append({ visibility: 'public', from: { role: 'customer', id: 'alice' }, body: f.send.body })
        const done = { seq: e.seq, epoch: 1, ts: 1 }
        this.keys.set(f.send.key, done)
        this.out.push({ id: f.id, send: { ...done, duplicate: false } })
      }
    }
  }
}

async function run(seed, tick, totals) {
  const rnd = random(seed), pick = n => Math.floor(rnd() * n)
  const rig = new Rig({ random: rnd }), model = new Model()
  const errors = []
  rig.client.on('error', err => errors.push(err))
  const deliver = n => {
    const frames = model.out.splice(0, n)
    if (frames.length && !rig.socket.closed) rig.socket.say(...frames)
  }
  const lose = () => {
    if (rig.socket.closed) return
    if (model.out.length || rig.socket.frames.length) model.faults.lost++
    model.attached = false
    model.behind = null
    model.out = []
    rig.socket.frames = []
    rig.socket.drop()
  }
  let opened = null
  const seen = [], sent = []
  const opening = rig.client.open().then(s => {
    opened = s
    s.on('entry', e => seen.push(e))
  })
  // work lets the model read n frames. Refusing one it refuses those behind it [SW-4.2].
  const work = (n, busy) => { for (const f of rig.socket.frames.splice(0, n)) model.take(f, busy) }
  const dial = async () => {
    await settle()
    if (rig.socket.closed || rig.socket.dialled) return
    rig.socket.dialled = true
    rig.socket.open()
  }
  for (let step = 0; step < 120; step++) {
    await dial()
    switch (pick(10)) {
      case 0: case 1: if (opened) sent.push(opened.send('text', { mine: sent.length })); break
      case 2: case 3: model.say(rnd() < 0.3 ? 'staff' : 'public'); break
      case 4: case 5: work(1 + pick(4), false); break
      case 6: if (rig.socket.frames.every(f => f.send)) work(rig.socket.frames.length, true); break
      case 7: deliver(1 + pick(5)); break
      case 8: {
        const i = model.out.findIndex(f => f.message)
        if (i < 0) break
        if (rnd() < 0.5) { model.out.splice(i, 1); model.faults.dropped++ } else { model.out.splice(i, 0, model.out[i]); model.faults.repeated++ }
        break
      }
      case 9: if (rnd() < 0.5) lose()
    }
    tick(pick(300))
  }
  // The quiet tail: nothing is lost any more, and a last word shows what is missing.
  let last = false
  for (let quiet = 0, spins = 0; quiet < 3; spins++) {
    assert.ok(spins < 500, `seed ${seed}: it does not converge`)
    await dial()
    work(64, false)
    deliver(64)
    await settle()
    tick(1_000)
    if (rig.socket.closed || rig.socket.frames.length || model.out.length || !opened) quiet = 0
    else if (!last) { model.say('public'); last = true } else quiet++
  }
  await Promise.all([opening, ...sent])
  const want = model.log.filter(e => e.visibility === 'public' && e.seq >= (seen[0]?.seq ?? 0))
  assert.deepEqual(seen.map(e => [e.seq, e.body]), want.map(e => [e.seq, e.body]), `seed ${seed}: entries`)
  const mine = model.log.filter(e => e.body.mine !== undefined).map(e => e.body.mine)
  assert.deepEqual(mine, sent.map((_, i) => i), `seed ${seed}: sends`)
  assert.deepEqual(errors, [], `seed ${seed}`)
  rig.client.close()
  for (const k in model.faults) totals[k] = (totals[k] ?? 0) + model.faults[k]
}

test('no network makes it lose, repeat or reorder a word', async t => {
  const tick = clock(t), totals = {}
  const seeds = process.env.SEED ? [Number(process.env.SEED)] : Array.from({ length: 300 }, (_, i) => i + 1)
  for (const seed of seeds) await run(seed, tick, totals)
  t.diagnostic(`faults: ${JSON.stringify(totals)}`)
  if (seeds.length > 1) for (const k in totals) assert.ok(totals[k] > 0, `the fault ${k} never fired`)
})

// An Owner is what a server keeps of one session that is assigned to one worker [SW-5], and the far end of one connection at a time.
class Owner {
  log = []
  keys = new Map()
  failed = new Map() // seq → how often it was given back
  out = [] // frames on their way to the worker
  lease = false
  ae = 0
  cursor = 0 // acknowledged
  shown = 0 // delivered
  faults = { lost: 0, requeued: 0, denied: 0, back: 0, duplicates: 0 }
  constructor(rnd, window) { Object.assign(this, { rnd, window, denied: 0.15 }) }

  append(e) {
    this.log.push({ session: 's_1', seq: this.log.length + 1, epoch: 1, kind: 'message', type: 'text', visibility: 'public', prev: this.log.length, ...e })
    return this.log.at(-1)
  }
  ask() {
    this.append({ origin: 'customer', from: { role: 'customer', id: 'alice' }, body: {} })
    this.pump()
  }
  pump() {
    while (this.lease && this.shown < this.log.length) {
      const e = this.log[this.shown]
      if (e.origin === 'customer') {
        if (this.log.slice(this.cursor, this.shown).filter(x => x.origin === 'customer').length >= this.window) return
        this.out.push({ delivery: { ...e, ae: this.ae, attempt: 1 + (this.failed.get(e.seq) ?? 0) } })
      }
      this.shown++
    }
  }
  take(f) {
    if (f.hello) return this.out.push({ id: f.id, hello: { ...welcome, sub: 'faq', role: 'worker' } })
    if (f.subscribe) {
      const kept = f.subscribe.lease && this.ae && this.rnd() > 0.3
      if (!kept) this.ae++
      this.out.push({ id: f.id, subscribe: { lease: 'l_1', lease_ms: 15_000, kept: kept ? [{ session: 's_1', ae: this.ae }] : [] } })
      if (!kept) {
        if (this.ae > 1) this.faults.requeued++
        this.out.push({ assigned: { session: 's_1', ae: this.ae, queue: 'default', reason: 'route', epoch: 1, cursor: this.cursor, head: this.cursor } })
      }
      this.shown = this.cursor
      this.lease = true
      return this.pump()
    }
    const verb = Object.keys(f).find(k => k !== 'id'), p = f[verb]
    const refuse = slug => this.out.push({ id: f.id, error: { code: 409, slug, message: '', retry: 'never' } })
    if (this.rnd() < this.denied) {
      this.faults.denied++
      return refuse('forbidden')
    }
    const key = p.key ?? (verb === 'reply' && `ack ${p.ack}`), first = key && this.keys.get(key)
    if (first) {
      this.faults.duplicates++
      return this.out.push({ id: f.id, [verb]: { ...first, duplicate: true } })
    }
    if (p.ae !== this.ae) return refuse('stale_assignment')
    const upto = verb === 'nack' ? p.seq : verb === 'ack' ? p.seq : p.ack ?? 0
    if (upto > this.shown || verb === 'nack' && upto <= this.cursor) return refuse('not_delivered')
    let done = { seq: p.seq }
    if (verb === 'nack') {
      this.faults.back++
      this.failed.set(p.seq, (this.failed.get(p.seq) ?? 0) + 1)
      this.shown = p.seq - 1
    } else this.cursor = Math.max(this.cursor, upto)
    if (verb === 'reply') {
      const e = this.append({ origin: 'bot', from: { role: 'worker', id: 'faq' }, body: p.body, reply_to: p.reply_to })
      done = { seq: e.seq, epoch: 1, ts: 1 }
    }
    if (key) this.keys.set(key, done)
    this.out.push({ id: f.id, [verb]: done })
    this.pump()
  }
}

async function serve(seed, tick, totals) {
  const rnd = random(seed), pick = n => Math.floor(rnd() * n)
  const rig = new Rig({ random: rnd }), owner = new Owner(rnd, 1 + seed % 4)
  let calm = false
  work(rig.client, { queues: ['default'], slots: 1, window: owner.window }, async (d, a) => {
    for (let n = pick(3); n > 0; n--) await settle() // it takes its time
    const answer = more => a.reply('text', { to: d.seq }, { reply_to: d.seq, ...more })
    switch (calm ? 9 : pick(8)) {
      case 0: throw new Error('not now')
      case 1: return a.nack(d.seq, { delay_ms: 0 }).catch(() => {})
      case 2: if (d.seq % 3) answer({ ack: d.seq }).catch(() => {}); else throw new Error('later'); return
    }
    // What is answered once is answered in one way: by the seq or by a key of its own, behind which the return acknowledges.
    await answer(d.seq % 3 ? { ack: d.seq } : { key: `answer to ${d.seq}` })
  })
  const deliver = n => {
    const frames = owner.out.splice(0, n)
    if (frames.length && !rig.socket.closed) rig.socket.say(...frames)
  }
  const lose = () => {
    if (rig.socket.closed) return
    if (owner.out.length || rig.socket.frames.length) owner.faults.lost++
    owner.lease = false
    owner.out = []
    rig.socket.frames = []
    rig.socket.drop()
  }
  const hear = n => { for (const f of rig.socket.frames.splice(0, n)) owner.take(f) }
  const dial = async () => {
    await settle()
    if (rig.socket.closed || rig.socket.dialled) return
    rig.socket.dialled = true
    rig.socket.open()
  }
  for (let step = 0; step < 150; step++) {
    await dial()
    switch (pick(8)) {
      case 0: if (owner.log.length < 60) owner.ask(); break
      case 1: case 2: case 3: hear(1 + pick(4)); break
      case 4: case 5: case 6: deliver(1 + pick(5)); break
      case 7: if (rnd() < 0.4) lose()
    }
    tick(pick(300))
  }
  // The quiet tail: nothing is refused or lost any more, and pings keep the connection, so that no subscription heals what stands still.
  calm = true
  owner.denied = 0
  const asked = () => owner.log.filter(e => e.origin === 'customer')
  for (let spins = 0; spins < 200 && !(owner.cursor >= (asked().at(-1)?.seq ?? 0)); spins++) {
    await dial()
    hear(64)
    deliver(64)
    if (!rig.socket.closed && rig.socket.dialled) rig.socket.onmessage({ data: '' })
    await settle()
    tick(1_000)
  }
  const answers = asked().map(e => [e.seq, owner.log.filter(x => x.reply_to === e.seq).length])
  assert.deepEqual(answers, asked().map(e => [e.seq, 1]), `seed ${seed}: answers; acknowledged up to ${owner.cursor}`)
  rig.client.close()
  for (const k in owner.faults) totals[k] = (totals[k] ?? 0) + owner.faults[k]
}

test('no network and no refusal leaves a word with a worker who does not answer it', async t => {
  const tick = clock(t), totals = {}
  const seeds = process.env.SEED ? [Number(process.env.SEED)] : Array.from({ length: 200 }, (_, i) => i + 1)
  for (const seed of seeds) await serve(seed, tick, totals)
  t.diagnostic(`faults: ${JSON.stringify(totals)}`)
  if (seeds.length > 1) for (const k in totals) assert.ok(totals[k] > 0, `the fault ${k} never fired`)
})
