import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { SwitchboardError } from '../switchboard.js'
import { clock, entry, limits, Rig, seqs, settle, welcome } from './fake.js'

test('each module fits its budget', () => {
  for (const file of ['switchboard.js', 'worker.js']) {
    const size = gzipSync(readFileSync(new URL(`../${file}`, import.meta.url)), { level: 9 }).length
    assert.ok(size <= 6 * 1024, `${file} is ${size} bytes gzipped`)
  }
})

test('hello carries the token and the URL is completed', async t => {
  clock(t)
  const rig = new Rig({ token: async () => 'fresh', client: 'web/1.0' })
  const hello = await rig.welcome()
  assert.equal(rig.socket.url, 'ws://node.test/v1/connect')
  assert.equal(rig.socket.protocol, 'switchboard.v1.json')
  assert.deepEqual(hello, { token: 'fresh', client: 'web/1.0', features: ['stream'], resume: [] })
  assert.equal(rig.client.status, 'online')
})

test('entries come in order, once, own ones in their place', async t => {
  clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session } = await rig.session()
  const seen = seqs(session)
  const sent = session.send('text', { text: 'hi' })
  await settle()
  const f = rig.socket.take()
  assert.match(f.send.key, /^[0-9a-f-]{36}$/)
  rig.socket.say(entry(1), { id: f.id, send: { seq: 2, epoch: 1, ts: 5, duplicate: false } }, entry(3), entry(3), entry(1))
  assert.deepEqual(await sent, { seq: 2, epoch: 1, ts: 5, duplicate: false })
  assert.deepEqual(seen, [1, 2, 3])
})

test('what arrives before anybody listens waits', async t => {
  clock(t)
  const rig = new Rig()
  await rig.welcome()
  const opening = rig.client.open({ tail: 2 })
  await settle()
  rig.socket.say({ id: rig.socket.take().id, open: { session: 's_1', epoch: 1, head: 9, state: 'queued' } }, entry(8, 6), entry(9))
  const session = await opening
  const read = []
  for await (const e of session) if (read.push(e.seq) === 2) break
  assert.deepEqual(read, [8, 9])
})

test('a gap is repaired from the last entry seen', async t => {
  clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session } = await rig.session()
  const seen = seqs(session)
  rig.socket.say(entry(1), entry(4), entry(5))
  await settle()
  const f = rig.socket.take()
  assert.deepEqual(f.open, { session: 's_1', from: { epoch: 1, seq: 1 } })
  assert.equal(rig.socket.take(), undefined, 'one repair at a time')
  rig.socket.say({ id: f.id, open: { session: 's_1', epoch: 1, head: 5, how: 'exact', state: 'assigned' } }, entry(3, 1), entry(4), entry(5))
  assert.deepEqual(seen, [1, 3, 4, 5], 'a hole whose prev fits is no gap')
})

test('a gap behind an own entry is repaired too', async t => {
  clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session } = await rig.session()
  const seen = seqs(session)
  session.send('text', {})
  await settle()
  rig.socket.say({ id: rig.socket.take().id, send: { seq: 3, epoch: 1, duplicate: false } })
  await settle()
  const f = rig.socket.take()
  assert.deepEqual(f.open.from, { epoch: 1, seq: 0 })
  rig.socket.say({ id: f.id, open: { session: 's_1', epoch: 1, head: 3, how: 'exact' } }, entry(1), entry(2), entry(3))
  assert.deepEqual(seen, [1, 2, 3])
})

test('a lost connection resumes and repeats what was not answered, in order, with its keys', async t => {
  const tick = clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session } = await rig.session()
  const seen = seqs(session)
  rig.socket.say(entry(1))
  const sent = [session.send('text', { text: 'a' }), session.send('text', { text: 'b' })]
  await settle()
  const before = [rig.socket.take(), rig.socket.take()]
  rig.socket.drop()
  assert.equal(rig.client.status, 'waiting')
  sent.push(session.send('text', { text: 'c' })) // said while away
  tick(249)
  assert.equal(rig.Socket.all.length, 1, 'full jitter: half of 500 ms')
  tick(1)
  const hello = await rig.welcome({ resumed: [{ session: 's_1', how: 'exact', epoch: 1, head: 2 }] }, entry(2, 1, { from: { role: 'customer', id: 'alice' } }))
  assert.deepEqual(hello.resume, [{ session: 's_1', epoch: 1, seq: 1 }])
  const again = [rig.socket.take(), rig.socket.take(), rig.socket.take()]
  assert.deepEqual(again.slice(0, 2), before)
  assert.equal(again[2].send.body.text, 'c')
  again.forEach((f, i) => rig.socket.say({ id: f.id, send: { seq: 2 + i, epoch: 1, duplicate: i === 0 } }))
  assert.deepEqual((await Promise.all(sent)).map(r => r.seq), [2, 3, 4])
  assert.deepEqual(seen, [1, 2, 3, 4])
})

test('pauses grow to their cap and shrink after a connection that lasted', async t => {
  const tick = clock(t)
  const rig = new Rig()
  const waits = []
  rig.client.on('status', (s, d) => s === 'waiting' && waits.push(d.wait_ms))
  for (let i = 0; i < 8; i++) {
    await settle()
    rig.socket.drop()
    tick(20_000)
  }
  assert.deepEqual(waits, [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000])
  await rig.welcome()
  tick(6_000)
  rig.socket.drop()
  assert.equal(waits.at(-1), 250)
})

test('pauses that nobody has pinned are spread from nothing to the whole backoff', async t => {
  const tick = clock(t)
  const rig = new Rig({ random: undefined })
  const waits = []
  rig.client.on('status', (s, d) => s === 'waiting' && waits.push(d.wait_ms))
  for (let i = 0; i < 500; i++) {
    await settle()
    rig.socket.drop()
    tick(20_000)
  }
  const capped = waits.slice(6) // 20 s each by now
  assert.equal(capped.length, 494)
  assert.ok(capped.every(ms => ms >= 0 && ms < 20_000), 'beyond the cap')
  for (let i = 0; i < 10; i++) assert.ok(capped.some(ms => Math.floor(ms / 2_000) === i), `no pause in tenth ${i}`) // fails once in 10^22
})

test('truncated and reset say so and go on', async t => {
  const tick = clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session } = await rig.session({ head: 7 })
  const seen = seqs(session), told = []
  session.on('truncated', p => told.push(['truncated', p.at]))
  session.on('reset', () => told.push(['reset']))
  rig.socket.say(entry(8))
  rig.socket.drop()
  tick(1_000)
  await rig.welcome({ resumed: [{ session: 's_1', how: 'truncated', epoch: 2, head: 6, at: 5 }] }, entry(6, 5, { epoch: 2 }))
  rig.socket.drop()
  tick(1_000)
  const hello = await rig.welcome({ resumed: [{ session: 's_1', how: 'reset', epoch: 2, head: 90 }] }, entry(88, 87, { epoch: 2 }), entry(90, 88))
  assert.deepEqual(hello.resume, [{ session: 's_1', epoch: 2, seq: 6 }])
  assert.deepEqual(seen, [8, 6, 88, 90])
  assert.deepEqual(told, [['truncated', 5], ['reset']])
})

test('a session that is refused at resume ends, one that cannot be resumed now is opened again', async t => {
  const tick = clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session } = await rig.session()
  rig.socket.drop()
  tick(1_000)
  await rig.welcome({ resumed: [{ session: 's_1', error: { code: 503, slug: 'unavailable', message: '', retry: 'backoff' } }] })
  assert.equal(rig.socket.take().open.session, 's_1')
  rig.socket.drop()
  tick(1_000)
  await rig.welcome({ resumed: [{ session: 's_1', error: { code: 404, slug: 'no_session', message: '', retry: 'never' } }] })
  assert.equal(session.ended, 'no_session')
  assert.equal(rig.client.sessions.size, 0)
})

test('sessions for which hello has no room are opened again behind it', async t => {
  const tick = clock(t)
  const rig = new Rig()
  await rig.welcome({ limits: { ...limits, frame: 1_024 } })
  const ids = Array.from({ length: 20 }, (_, i) => `s_${i}`)
  for (const session of ids) await rig.session({ session, head: 7 })
  rig.socket.drop()
  tick(1_000)
  await settle()
  rig.socket.open()
  assert.ok(rig.socket.raw[0].length <= 1_024, `hello has ${rig.socket.raw[0].length} bytes`)
  const { id, hello } = rig.socket.take()
  rig.socket.say({ id, hello: { ...welcome, resumed: hello.resume.map(r => ({ session: r.session, how: 'exact', epoch: 1, head: 7 })) } })
  await settle()
  const opened = rig.socket.frames.map(f => f.open)
  for (const o of opened) assert.deepEqual(o.from, { epoch: 1, seq: 7 })
  assert.ok(hello.resume.length > 0 && opened.length > 0)
  assert.deepEqual([...hello.resume, ...opened].map(o => o.session), ids)
})

test('bye names the pause and the next address, for one attempt', async t => {
  const tick = clock(t)
  const rig = new Rig()
  await rig.welcome()
  rig.socket.say({ bye: { code: 3001, reason: 'drain', reconnect: true, after_ms: 4_200, to: 'wss://b.test' } })
  rig.socket.drop(3001)
  tick(4_449)
  assert.equal(rig.Socket.all.length, 1)
  tick(1)
  await settle()
  assert.equal(rig.socket.url, 'wss://b.test/v1/connect')
  rig.socket.drop()
  tick(10_000)
  await settle()
  assert.equal(rig.socket.url, 'ws://node.test/v1/connect')
})

test('terminal ends are final: a close code, a bye, a refused hello', async t => {
  const tick = clock(t)
  const f = async (slug, end) => {
    const rig = new Rig(), errors = []
    rig.client.on('error', err => errors.push(err))
    await rig.welcome()
    const { session } = await rig.session()
    const sent = session.send('text', {})
    await settle()
    await end(rig)
    await assert.rejects(sent, err => err instanceof SwitchboardError && err.slug === slug)
    tick(60_000)
    assert.equal(rig.client.status, 'closed')
    assert.equal(errors.length, 1)
    assert.equal(session.ended, slug)
    await assert.rejects(session.send('text', {}), { slug })
    assert.equal(rig.Socket.all.length, rig.attempts ?? 1)
  }
  await f('kicked', rig => rig.socket.drop(3503, 'kicked'))
  await f('tenant_suspended', rig => {
    rig.socket.say({ bye: { code: 3510, reason: 'tenant_suspended', reconnect: false, after_ms: 0 } })
    rig.socket.drop(1006)
  })
  await f('unauthenticated', async rig => {
    rig.attempts = 2
    rig.socket.drop()
    tick(1_000)
    await settle()
    rig.socket.open()
    rig.socket.say({ id: rig.socket.take().id, error: { code: 401, slug: 'unauthenticated', message: 'no', retry: 'never' } })
  })
})

test('an expired token is fetched again, and refreshed before it expires', async t => {
  const tick = clock(t)
  let n = 0
  const rig = new Rig({ token: () => `t${++n}` })
  await settle()
  rig.socket.open()
  rig.socket.say({ id: rig.socket.take().id, error: { code: 401, slug: 'token_expired', message: '', retry: 'refresh_token' } })
  tick(1_000)
  assert.equal((await rig.welcome({ expires_ms: 20_000 })).token, 't2')
  tick(15_999)
  await settle()
  assert.equal(rig.socket.take(), undefined)
  tick(1)
  await settle()
  const f = rig.socket.take()
  assert.deepEqual(f.refresh, { token: 't3' })
  rig.socket.say({ id: f.id, refresh: { expires_ms: 10_000 } })
  tick(8_000)
  await settle()
  assert.deepEqual(rig.socket.take().refresh, { token: 't4' })
})

test('a fixed token that has expired ends the client', async t => {
  clock(t)
  const rig = new Rig()
  await settle()
  rig.socket.open()
  rig.socket.say({ id: rig.socket.take().id, error: { code: 401, slug: 'token_expired', message: '', retry: 'refresh_token' } })
  assert.equal(rig.client.status, 'closed')
})

test('an empty message is answered with one, and silence is death', async t => {
  const tick = clock(t)
  const rig = new Rig()
  await rig.welcome()
  const first = rig.socket
  tick(25_000)
  first.onmessage({ data: '' })
  assert.equal(first.raw.at(-1), '')
  tick(32_999)
  assert.equal(rig.client.status, 'online')
  tick(1)
  assert.equal(rig.client.status, 'waiting')
  assert.ok(first.closed)
})

test('a frame that is no JSON costs the connection, not the client', async t => {
  clock(t)
  const rig = new Rig()
  await rig.welcome()
  rig.socket.onmessage({ data: '{"message"' })
  assert.equal(rig.client.status, 'waiting')
})

test('frames of one moment travel together, within the limits', async t => {
  clock(t)
  const rig = new Rig()
  await rig.welcome({ limits: { ...limits, batch: 3, inflight: 4 } })
  const { session } = await rig.session()
  rig.socket.raw.length = 0
  for (let i = 0; i < 6; i++) session.send('text', { i })
  await settle()
  assert.deepEqual(rig.socket.raw.map(m => m.split('\n').length), [3, 1], 'four in flight, three a message')
  rig.socket.say({ id: rig.socket.take().id, send: { seq: 1, epoch: 1, duplicate: false } })
  await settle()
  assert.equal(rig.socket.raw.length, 3, 'an answer lets the next one go')
})

test('a request above the limits is refused here: over there it would cost the connection', async t => {
  clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session } = await rig.session()
  await assert.rejects(session.send('text', { text: '好'.repeat(22_000) }), { slug: 'too_large' })
  assert.equal(rig.socket.take(), undefined)
})

test('refusals that pass are repeated in order after their pause; others are told', async t => {
  const tick = clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session } = await rig.session()
  const sent = [session.send('text', { n: 1 }), session.send('text', { n: 2 })]
  await settle()
  const frames = [rig.socket.take(), rig.socket.take()]
  for (const f of frames) rig.socket.say({ id: f.id, error: { code: 503, slug: 'overloaded', message: '', retry: 'after', retry_after_ms: 800 } })
  tick(1_299)
  await settle()
  assert.equal(rig.socket.take(), undefined)
  tick(1)
  await settle()
  assert.deepEqual([rig.socket.take(), rig.socket.take()], frames)
  frames.forEach((f, i) => rig.socket.say({ id: f.id, send: { seq: i + 1, epoch: 1, duplicate: false } }))
  await Promise.all(sent)
  const closed = session.send('text', {})
  await settle()
  rig.socket.say({ id: rig.socket.take().id, error: { code: 409, slug: 'session_closed', message: 'closed', retry: 'never', detail: { session: 's_2' } } })
  await assert.rejects(closed, { slug: 'session_closed', code: 409, detail: { session: 's_2' } })
})

test('streams grow, are replaced, end with their entry, and are dropped when nobody names them', async t => {
  const tick = clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session } = await rig.session({ head: 4, streams: [{ stream: 'm1', off: 4, text: 'für' }] })
  const told = []
  session.on('stream', s => told.push(`${s.stream} ${s.done ? 'done' : s.text}`))
  const delta = (stream, off, text) => ({ delta: { session: 's_1', stream, off, text } })
  rig.socket.say(delta('m1', 4, ' dich'), delta('m1', 99, 'lost'), { stream: { session: 's_1', stream: 'm1', off: 2, text: 'so' } }, delta('m1', 2, ' far'))
  rig.socket.say(entry(5, 4, { stream: 'm1' }), delta('m2', 0, 'a'))
  rig.socket.drop()
  tick(1_000)
  await rig.welcome({ resumed: [{ session: 's_1', how: 'exact', epoch: 1, head: 5 }] })
  assert.deepEqual(told, ['m1 für dich', 'm1 so', 'm1 so far', 'm1 done', 'm2 a', 'm2 done'])
  assert.equal(session.streams.size, 0)
})

test('the small verbs say what the protocol has', async t => {
  clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session, open } = await rig.session({}, { queue: 'vip', shop: 's17', attributes: { vip: true } })
  assert.deepEqual({ ...open, key: '' }, { key: '', channel: 'web', queue: 'vip', shop: 's17', attributes: { vip: true } })
  rig.socket.say(entry(1))
  const events = []
  for (const type of ['typing', 'receipt', 'state', 'lag']) session.on(type, p => events.push([type, p.session]))
  session.ack()
  session.typing()
  const calls = [session.history({ before: 9, limit: 5 }), session.close('solved', 'k1'), session.rate(5, 'thanks', 'k2'), session.leave()]
  await settle()
  assert.deepEqual(rig.socket.frames.map(({ id, ...f }) => f), [
    { ack: { session: 's_1', seq: 1 } }, { typing: { session: 's_1', on: true } },
    { history: { session: 's_1', before: 9, limit: 5 } }, { close: { session: 's_1', reason: 'solved', key: 'k1' } },
    { rate: { session: 's_1', score: 5, comment: 'thanks', key: 'k2' } }, { leave: { session: 's_1' } }
  ])
  rig.socket.say(...events.concat([['typing'], ['receipt'], ['state'], ['lag']]).map(([type]) => ({ [type]: { session: 's_1' } })))
  for (const f of rig.socket.frames) if (f.id) rig.socket.say({ id: f.id, [Object.keys(f)[1]]: { seq: 2, epoch: 1, entries: [] } })
  await Promise.all(calls)
  assert.deepEqual(events.map(e => e[0]), ['typing', 'receipt', 'state', 'lag'])
  assert.equal(session.ended, 'left')
})

test('opening a known session again goes on from where it was', async t => {
  clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session } = await rig.session()
  rig.socket.say(entry(1))
  const again = await rig.session({ head: 3 })
  assert.equal(again.session, session)
  await settle()
  assert.deepEqual(rig.socket.take().open.from, { epoch: 1, seq: 1 })
})

test('close refuses what waits and leaves no timer', async t => {
  const tick = clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session } = await rig.session()
  const sent = session.send('text', {})
  rig.client.close()
  await assert.rejects(sent, { slug: 'closed' })
  assert.ok(rig.socket.closed)
  tick(120_000)
  assert.equal(rig.Socket.all.length, 1)
})
