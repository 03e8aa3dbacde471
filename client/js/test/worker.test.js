import assert from 'node:assert/strict'
import { test } from 'node:test'
import { work } from '../worker.js'
import { clock, entry, Rig, seqs, settle } from './fake.js'

const role = { sub: 'faq', role: 'worker' }
const customer = { role: 'customer', id: 'alice' }
const delivery = (seq, more = {}) => ({ delivery: { ...entry(seq).message, from: customer, origin: 'customer', ae: 8, attempt: 1, ...more } })
const assigned = (more = {}) => ({
  assigned: { session: 's_1', ae: 8, queue: 'default', reason: 'route', epoch: 1, cursor: 0, head: 2, customer, attributes: {}, context: { v: 4, doc: { a: 1 } }, tail: [1, 2].map(n => entry(n).message), ...more }
})

// subscribed returns a rig whose worker has its lease, and what it was asked for.
async function subscribed(options, handler) {
  const rig = new Rig()
  rig.worker = work(rig.client, { queues: ['default'], slots: 2, window: 4, ...options }, handler)
  await rig.welcome(role)
  const f = rig.socket.take()
  rig.socket.say({ id: f.id, subscribe: { lease: 'l_1', lease_ms: 15_000 } })
  return { rig, subscribe: f.subscribe }
}

// again reconnects and answers the subscription with what was kept.
async function again(rig, tick, kept, ...pushes) {
  tick(20_000)
  await rig.welcome(role)
  const f = rig.socket.take()
  rig.socket.say({ id: f.id, subscribe: { lease: 'l_1', lease_ms: 15_000, kept } }, ...pushes)
  await settle()
  return f.subscribe
}

const next = async rig => {
  await settle()
  return rig.socket.take()
}

test('a bot answers, once per word, one at a time', async t => {
  clock(t)
  const log = []
  const { rig, subscribe } = await subscribed({}, async (d, a) => {
    log.push(`begin ${d.seq}`)
    await a.reply('text', { text: 'yes' }, { ack: d.seq })
    log.push(`end ${d.seq}`)
  })
  assert.deepEqual(subscribe, { queues: ['default'], slots: 2, window: 4 })
  let a, seen
  rig.worker.on('assigned', x => {
    a = x
    seen = seqs(a)
  })
  rig.socket.say(assigned(), delivery(3), delivery(4), delivery(3))
  const first = await next(rig)
  assert.deepEqual(first.reply, { session: 's_1', ae: 8, ack: 3, type: 'text', body: { text: 'yes' } })
  assert.equal(await next(rig), undefined, 'the second waits for the first')
  rig.socket.say({ id: first.id, reply: { seq: 5, epoch: 1, duplicate: false } }, delivery(6, { origin: 'system', kind: 'event', attempt: undefined, from: undefined }))
  const second = await next(rig)
  assert.equal(second.reply.ack, 4)
  rig.socket.say({ id: second.id, reply: { seq: 7, epoch: 1, duplicate: false } })
  assert.equal(await next(rig), undefined, 'the ack travelled with the reply')
  assert.deepEqual(log, ['begin 3', 'end 3', 'begin 4', 'end 4'])
  assert.deepEqual(seen, [1, 2, 3, 4, 5, 6, 7])
  assert.equal(a.cursor, 4)
})

test('a handler that only returns acknowledges, one that throws gives back, and is asked again', async t => {
  clock(t)
  let fail = true
  const { rig } = await subscribed({}, async () => { if (fail) throw new Error('no model') })
  const errors = []
  rig.worker.on('error', err => errors.push(err.message))
  rig.socket.say(assigned(), delivery(3), delivery(4))
  const nack = await next(rig)
  assert.deepEqual({ ...nack.nack, key: '' }, { session: 's_1', ae: 8, seq: 3, key: '', delay_ms: 1_000, reason: 'no model' })
  rig.socket.say({ id: nack.id, nack: {} })
  assert.equal(await next(rig), undefined, 'what follows a nack waits for its redelivery')
  fail = false
  rig.socket.say(delivery(3, { attempt: 2 }), delivery(4))
  const ack = await next(rig)
  assert.deepEqual(ack.ack, { session: 's_1', ae: 8, seq: 3 })
  rig.socket.say({ id: ack.id, ack: {} })
  assert.equal((await next(rig)).ack.seq, 4)
  assert.deepEqual(errors, ['no model'])
})

test('a handler that releases has dealt with its delivery: it would come back at once, and be answered for ever', async t => {
  clock(t)
  const { rig } = await subscribed({}, async (d, a) => { await a.reply('text', { text: 'yes' }); await a.release('solved') })
  rig.socket.say(assigned(), delivery(3), delivery(4))
  const reply = await next(rig)
  assert.equal(reply.reply.ack, undefined)
  rig.socket.say({ id: reply.id, reply: { seq: 5, epoch: 1 } })
  const ack = await next(rig)
  assert.deepEqual(ack.ack, { session: 's_1', ae: 8, seq: 3 }, 'and what follows is queued again')
  const release = await next(rig)
  assert.equal(release.release.outcome, 'solved')
  rig.socket.say({ id: ack.id, ack: {} }, { id: release.id, release: { seq: 6 } })
  assert.equal(await next(rig), undefined)
})

test('who releases behind a silence does not acknowledge what the handler has by now', async t => {
  clock(t)
  let silent
  const { rig } = await subscribed({}, async (d, a) => { if (d.seq === 4) await a.release('silent', { upto: 3 }).catch(err => { silent = err.slug }) })
  rig.socket.say(assigned(), delivery(3), delivery(4))
  const first = await next(rig)
  assert.equal(first.ack.seq, 3)
  rig.socket.say({ id: first.id, ack: {} })
  const release = await next(rig)
  assert.equal(release.release?.upto, 3, 'and nothing before it')
  rig.socket.say({ id: release.id, error: { code: 409, slug: 'unanswered', detail: { seq: 4 } } })
  assert.equal((await next(rig)).ack.seq, 4)
  assert.equal(silent, 'unanswered')
})

test('a nack of what is acknowledged loses nothing that waits', async t => {
  clock(t)
  const said = []
  const { rig } = await subscribed({}, async (d, a) => {
    if (d.seq > 3) return
    await a.ack(d.seq)
    await a.nack(d.seq).catch(e => said.push(e.slug))
  })
  rig.socket.say(assigned(), delivery(3), delivery(4))
  const ack = await next(rig)
  rig.socket.say({ id: ack.id, ack: {} })
  const nack = await next(rig)
  assert.equal(nack.nack.seq, 3)
  rig.socket.say({ id: nack.id, error: { slug: 'not_delivered', code: 409 } })
  assert.deepEqual((await next(rig)).ack, { session: 's_1', ae: 8, seq: 4 })
  assert.deepEqual(said, ['not_delivered'])
})

test('a nack that is refused loses nothing: the server has delivered it, and will not again', async t => {
  const tick = clock(t)
  const seen = []
  const { rig } = await subscribed({}, async d => { if (seen.push(d.seq) === 1) throw Object.create(null) })
  rig.worker.on('ended', () => assert.fail('it has ended, and the server knows nothing of that'))
  rig.socket.say(assigned(), delivery(3), delivery(4))
  const nack = await next(rig)
  assert.equal(nack.nack.reason, 'error', 'whatever was thrown')
  rig.socket.say({ id: nack.id, error: { slug: 'not_delivered', code: 409 } }, delivery(5))
  assert.equal(await next(rig), undefined, 'it rests')
  tick(1_000)
  for (const seq of [3, 4, 5]) {
    const ack = await next(rig)
    assert.equal(ack?.ack?.seq, seq)
    rig.socket.say({ id: ack.id, ack: {} })
  }
  assert.deepEqual(seen, [3, 3, 4, 5])
})

test('what came before a nack is not taken for what comes after it', async t => {
  clock(t)
  const seen = []
  const { rig } = await subscribed({}, async d => { if (seen.push(d.seq) === 1) throw new Error('not now') })
  rig.socket.say(assigned(), delivery(3), delivery(4))
  const nack = await next(rig)
  rig.socket.say(delivery(5), { id: nack.id, nack: {} }, delivery(3, { attempt: 2 }), delivery(4), delivery(5))
  for (const seq of [3, 4, 5]) {
    const ack = await next(rig)
    assert.equal(ack?.ack?.seq, seq, 'an ack of a later one would acknowledge it unanswered')
    rig.socket.say({ id: ack.id, ack: {} })
  }
  assert.deepEqual(seen, [3, 3, 4, 5])
})

test('a nack whose answer was lost: what the next subscription delivered is handled, once', async t => {
  const tick = clock(t)
  const seen = []
  const { rig } = await subscribed({}, async d => { if (seen.push([d.seq, d.attempt]) === 1) throw new Error('not now') })
  rig.socket.say(assigned(), delivery(3), delivery(4))
  const first = await next(rig)
  rig.socket.drop()
  await again(rig, tick, [{ session: 's_1', ae: 8 }], delivery(3, { attempt: 2 }), delivery(4))
  const nack = await next(rig)
  assert.equal(nack.nack.key, first.nack.key)
  rig.socket.say({ id: nack.id, nack: { duplicate: true } })
  for (const seq of [3, 4]) {
    const ack = await next(rig)
    assert.equal(ack?.ack?.seq, seq)
    rig.socket.say({ id: ack.id, ack: {} })
  }
  assert.deepEqual(seen, [[3, 1], [3, 2], [4, 1]])
})

test('a reply that should have acknowledged and was refused has not: its delivery is given back', async t => {
  clock(t)
  const { rig } = await subscribed({}, async (d, a) => { if (d.attempt === 1) await a.reply('text', {}, { ack: d.seq }).catch(() => {}) })
  rig.socket.say(assigned(), delivery(3))
  const reply = await next(rig)
  rig.socket.say({ id: reply.id, error: { slug: 'invalid_body', code: 400 } })
  const nack = await next(rig)
  assert.equal(nack?.nack?.seq, 3, 'otherwise it is nobody\'s: neither acknowledged nor given back')
  rig.socket.say({ id: nack.id, nack: {} }, delivery(3, { attempt: 2 }))
  assert.equal((await next(rig))?.ack?.seq, 3, 'and the refused reply is forgotten')
})

test('a kept lease goes on: requests are repeated, running work is not begun twice', async t => {
  const tick = clock(t)
  const begun = []
  let finish
  const { rig } = await subscribed({}, async (d, a) => {
    begun.push(d.seq)
    await new Promise(go => { finish = go })
    await a.reply('text', {}, { ack: d.seq })
  })
  rig.socket.say(assigned(), delivery(3))
  await settle()
  rig.socket.drop()
  finish() // it answers while the connection is away
  await settle()
  const subscribe = await again(rig, tick, [{ session: 's_1', ae: 8 }], delivery(3))
  assert.equal(subscribe.lease, 'l_1')
  const f = await next(rig)
  assert.equal(f.reply.ack, 3)
  rig.socket.drop()
  await again(rig, tick, [{ session: 's_1', ae: 8 }])
  assert.deepEqual(await next(rig), f, 'the same id, payload and implicit key')
  rig.socket.say({ id: f.id, reply: { seq: 4, epoch: 1, duplicate: true } })
  assert.deepEqual(begun, [3])
})

test('what the lease did not keep is revoked here, and its work is told to stop', async t => {
  const tick = clock(t)
  const { rig } = await subscribed({}, (d, a) => new Promise((_, no) => a.signal.addEventListener('abort', () => no(a.signal.reason))))
  const told = []
  for (const type of ['revoked', 'ended', 'error']) rig.worker.on(type, (x, y) => told.push(`${type} ${typeof y === 'string' ? y : x.reason ?? x.slug}`))
  rig.socket.say(assigned(), delivery(3))
  const [a] = rig.worker.assignments.values()
  rig.socket.drop()
  await again(rig, tick, [])
  assert.deepEqual(told, ['ended lease', 'revoked lease', 'error stale_assignment'])
  assert.equal(await next(rig), undefined, 'no ack and no nack under a dead ae')
  await assert.rejects(a.reply('text', {}), { slug: 'stale_assignment' })
})

test('a push revokes; one about an older ae does not', async t => {
  clock(t)
  const { rig } = await subscribed()
  rig.socket.say(assigned(), { revoked: { session: 's_1', ae: 7, reason: 'lease' } })
  assert.equal(rig.worker.assignments.size, 1)
  rig.socket.say(delivery(3, { ae: 7 }))
  const [a] = rig.worker.assignments.values()
  assert.equal(a.delivered, 0, 'a delivery of another ae is not ours')
  rig.socket.say({ revoked: { session: 's_1', ae: 8, reason: 'takeover' } })
  assert.equal(a.ended, 'takeover')
})

test('whoever is taken over by another connection is told, and does not come back [SW-5.7]', async t => {
  const tick = clock(t)
  const { rig } = await subscribed()
  const told = []
  rig.worker.on('ended', (a, why) => told.push(`ended ${a.id} ${why}`))
  rig.client.on('status', (status, detail) => told.push(`${status} ${detail?.slug}`))
  rig.client.on('error', err => told.push(`error ${err.code} ${err.slug}`))
  rig.socket.say(assigned())
  const [a] = rig.worker.assignments.values()
  const connections = rig.Socket.all.length
  rig.socket.say({ revoked: { reason: 'takeover' } })
  tick(60_000)
  await settle()
  assert.deepEqual(told, ['ended s_1 takeover', 'closed takeover', 'error 409 takeover'])
  assert.equal(rig.Socket.all.length, connections, 'it does not take the work back')
  await assert.rejects(a.reply('text', {}), { slug: 'stale_assignment' })
})

test('what was assigned while the connection broke is ours all the same', async t => {
  const tick = clock(t)
  const { rig } = await subscribed()
  const told = []
  rig.worker.on('assigned', a => told.push(`${a.id} ${a.ae} ${a.reason}`))
  rig.worker.on('delivery', d => told.push(d.seq))
  rig.socket.drop()
  await again(rig, tick, [{ session: 's_1', ae: 8 }], delivery(3))
  assert.deepEqual(told, ['s_1 8 kept', 3])
  const [a] = rig.worker.assignments.values()
  const seen = seqs(a)
  const f = await next(rig)
  assert.deepEqual(f.history, { session: 's_1', after: 0, limit: 100 })
  rig.socket.say({ id: f.id, history: { entries: [1, 2, 3].map(n => entry(n).message), more: false } })
  await settle()
  assert.deepEqual(seen, [1, 2, 3])
})

test('streams count bytes, keep characters whole, and go back when asked', async t => {
  const tick = clock(t)
  const { rig } = await subscribed()
  rig.socket.say(assigned(), delivery(3))
  const [a] = rig.worker.assignments.values()
  const w = a.stream('m1')
  w.write('für ')
  w.write('\ud83d') // half an emoji
  w.write('\ude00 dich')
  await settle()
  const deltas = () => rig.socket.frames.splice(0).map(f => [f.delta.off, f.delta.text])
  assert.deepEqual(deltas(), [[0, 'für '], [5, '😀 dich']])
  rig.socket.say({ rewind: { session: 's_1', stream: 'm1', off: 5 } })
  await settle()
  assert.deepEqual(deltas(), [[5, '😀 dich']])
  rig.socket.drop()
  w.write('!')
  await again(rig, tick, [{ session: 's_1', ae: 8 }])
  assert.deepEqual(deltas(), [[14, '!']], 'what was written while away follows')
  w.end(undefined, undefined, { ack: 3 })
  const f = await next(rig)
  assert.deepEqual(f.reply, { session: 's_1', ae: 8, ack: 3, type: 'text', body: { text: 'für 😀 dich!' }, stream: 'm1' })
  rig.socket.say({ id: f.id, reply: { seq: 4, epoch: 1, duplicate: false } })
  assert.equal(a.writers.size, 0)
})

test('offers are accepted by hand, by rule, or end', async t => {
  const tick = clock(t)
  const { rig } = await subscribed()
  const ended = [], offers = []
  rig.worker.on('offer', o => offers.push(o))
  rig.worker.on('offer_ended', e => ended.push(`${e.offer} ${e.reason}`))
  const offer = id => ({ offer: { offer: id, session: 's_1', queue: 'default', expires_ms: 20_000, summary: { text: 'hi' } } })
  rig.socket.say(offer('o_1'), offer('o_2'), offer('o_3'), offer('o_4'), { offer_ended: { offer: 'o_1', reason: 'taken' } })
  const accepted = offers[1].accept()
  const f = await next(rig)
  assert.deepEqual(f.accept, { offer: 'o_2' })
  rig.socket.say({ id: f.id, accept: { session: 's_1', ae: 8 } }, assigned())
  assert.deepEqual(await accepted, { session: 's_1', ae: 8 })
  offers[2].decline('busy')
  const d = await next(rig)
  assert.deepEqual(d.decline, { offer: 'o_3', reason: 'busy' })
  rig.socket.say({ id: d.id, decline: {} })
  rig.socket.drop()
  assert.deepEqual(ended, ['o_1 taken', 'o_2 accepted', 'o_3 declined', 'o_4 rescinded'])
  rig.client.close()

  const ruled = await subscribed({ accept: o => o.queue === 'default' })
  ruled.rig.socket.say(offer('o_5'), { offer: { ...offer('o_6').offer, queue: 'vip' } })
  assert.deepEqual((await next(ruled.rig)).accept, { offer: 'o_5' })
  assert.equal((await next(ruled.rig)).decline.offer, 'o_6')
  tick(0)
})

test('a listener gets the tail, and from history what follows it as deliveries', async t => {
  clock(t)
  const { rig } = await subscribed()
  rig.socket.say(assigned({ head: 5, cursor: 1, tail: [2, 4].map(n => entry(n).message) }), delivery(3), delivery(5))
  const [a] = rig.worker.assignments.values()
  assert.equal(await next(rig), undefined, 'nobody listens, nothing is fetched')
  const seen = seqs(a)
  const f = await next(rig)
  assert.deepEqual(f.history, { session: 's_1', after: 2, limit: 100 })
  rig.socket.say({ id: f.id, history: { entries: [3, 4, 5].map(n => entry(n).message), more: false } }, delivery(6))
  await settle()
  assert.deepEqual(seen, [2, 3, 4, 5, 6])
  a.ack()
  assert.equal((await next(rig)).ack.seq, 6)
})

test('a gap in the transcript is filled from history, and own words keep their place', async t => {
  clock(t)
  const { rig } = await subscribed()
  rig.socket.say(assigned())
  const [a] = rig.worker.assignments.values()
  const seen = seqs(a)
  rig.socket.say(delivery(6), delivery(7))
  const f = await next(rig)
  assert.deepEqual(f.history, { session: 's_1', after: 2, limit: 100 })
  const said = a.reply('text', {}, { key: 'k' })
  const r = await next(rig)
  rig.socket.say({ id: r.id, reply: { seq: 8, epoch: 1, duplicate: false } })
  rig.socket.say({ id: f.id, history: { entries: [3, 5].map(n => entry(n).message), more: false } })
  await said
  await settle()
  assert.deepEqual(seen, [1, 2, 3, 5, 6, 7, 8])
})

test('transfer, release, close, context, presence, slots and wrap-up say what the protocol has', async t => {
  clock(t)
  const { rig } = await subscribed()
  const f = async (made, want, reply = {}) => {
    const { id, ...frame } = await next(rig)
    const verb = Object.keys(frame)[0]
    assert.deepEqual(frame, want)
    rig.socket.say({ id, [verb]: reply })
    return made
  }
  const take = ae => {
    rig.socket.say(assigned({ ae }))
    return rig.worker.assignments.get('s_1')
  }
  let a = take(8)
  await f(a.patch({ a: null, b: { c: 1 } }, 'k'), { context: { session: 's_1', ae: 8, if_v: 4, patch: { a: null, b: { c: 1 } }, key: 'k' } }, { v: 5 })
  assert.deepEqual(a.context, { v: 5, doc: { b: { c: 1 } } })
  await f(a.transfer({ worker: 'bob' }, { key: 'k', note: 'angry' }), { transfer: { session: 's_1', ae: 8, to: { worker: 'bob' }, key: 'k', note: 'angry' } })
  assert.equal(a.ended, null, 'ours until bob accepts')
  await f(a.transfer({ queue: 'refunds' }, { key: 'l', context: { order: 7 } }), { transfer: { session: 's_1', ae: 8, to: { queue: 'refunds' }, key: 'l', context: { order: 7 } } })
  assert.equal(a.ended, 'transfer')
  a = take(9)
  await f(a.release('solved', { key: 'k', summary: 'done', tags: ['a'], upto: 9 }), { release: { session: 's_1', ae: 9, outcome: 'solved', key: 'k', summary: 'done', tags: ['a'], upto: 9 } })
  assert.equal(a.ended, 'released')
  await f(a.wrapup(), { wrapup: { session: 's_1', ae: 9, done: true } })
  a = take(10)
  await f(a.close('solved', { key: 'k' }), { close: { session: 's_1', ae: 10, reason: 'solved', key: 'k' } })
  assert.equal(rig.worker.assignments.size, 0)
  await f(rig.worker.presence('away', 'lunch'), { presence: { state: 'away', reason: 'lunch' } })
  await f(rig.worker.slots(40), { slots: { slots: 40 } })
  await f(rig.worker.presence('ready'), { presence: { state: 'ready' } })
  rig.socket.say({ presence: { state: 'away', reason: 'missed' } })
  assert.equal(rig.worker.state, 'away')
})

test('a presence that is known is no news, and an older one does not stay', async t => {
  clock(t)
  const { rig } = await subscribed(), told = []
  rig.worker.on('presence', p => told.push(p.reason))
  const away = reason => rig.socket.say({ presence: { state: 'away', reason } })
  away('missed')
  away('missed')
  const said = rig.worker.presence('ready')
  away('late')
  rig.socket.say({ id: (await next(rig)).id, presence: {} })
  await said
  assert.equal(rig.worker.state, 'ready')
  assert.deepEqual(told, ['missed', 'late'])
})

test('who is not ready says so again behind a subscription', async t => {
  const tick = clock(t)
  const { rig } = await subscribed()
  rig.socket.say({ presence: { state: 'away', reason: 'missed' } })
  await again(rig, tick)
  const { id, ...frame } = await next(rig)
  assert.deepEqual(frame, { presence: { state: 'away' } })
  rig.socket.say({ id, presence: {} })
})

test('a refused subscription is told, and other requests go on', async t => {
  clock(t)
  const rig = new Rig(), errors = []
  rig.worker = work(rig.client, { queues: ['nope'], slots: 1 })
  rig.worker.on('error', err => errors.push(err.slug))
  const opening = rig.client.open({ session: 's_9' })
  await rig.welcome(role)
  const f = rig.socket.take()
  assert.equal(rig.socket.take(), undefined, 'the subscription goes first')
  rig.socket.say({ id: f.id, error: { code: 404, slug: 'no_queue', message: '', retry: 'never' } })
  const o = await next(rig)
  rig.socket.say({ id: o.id, open: { session: 's_9', epoch: 1, head: 0 } })
  await opening
  assert.deepEqual(errors, ['no_queue'])
})
