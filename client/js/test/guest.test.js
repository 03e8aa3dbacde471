import assert from 'node:assert/strict'
import { test } from 'node:test'
import { join, work } from '../worker.js'
import { clock, entry, Rig, seqs, settle } from './fake.js'

const classify = (session, more) => ({ classify: { session, queue: 'default', expires_ms: 3_000, customer: { role: 'customer', id: 'alice' }, attributes: { lang: 'de' }, attributes_v: 7, head: 1, ...more } })
const invited = session => ({ invited: { session, as: 'consult', by: 'bob', note: 'refund?', queue: 'default', expires_ms: 600_000 } })

async function subscribed(options) {
  const rig = new Rig()
  rig.worker = work(rig.client, { queues: ['default'], slots: 2, window: 4, ...options })
  rig.errors = []
  rig.worker.on('error', err => rig.errors.push(err.slug ?? err.message))
  await rig.welcome({ sub: 'faq', role: 'worker' })
  const f = rig.socket.take()
  assert.deepEqual(f.subscribe, { queues: ['default'], slots: 2, window: 4 }, 'what asks us is not told to the server')
  rig.socket.say({ id: f.id, subscribe: { lease: 'l_1', lease_ms: 15_000 } })
  return rig
}

const next = async rig => {
  await settle()
  return rig.socket.take()
}

test('a question is answered by attributes without ae, once; too late is no error', async t => {
  clock(t)
  const asked = []
  const rig = await subscribed({
    classify: async q => {
      asked.push(q.session)
      if (q.session === 's_3') throw new Error('no model')
      return q.session === 's_1' ? { intent: 'order' } : undefined
    }
  })
  rig.socket.say(classify('s_1'), classify('s_1'), classify('s_2'), classify('s_3'))
  const f = await next(rig)
  assert.deepEqual({ ...f.attributes, key: '' }, { session: 's_1', if_v: 7, patch: { intent: 'order' }, key: '' })
  assert.ok(f.attributes.key)
  assert.equal(await next(rig), undefined, 'who cannot tell says nothing')
  rig.socket.say({ id: f.id, error: { code: 409, slug: 'stale_assignment', retry: 'never' } })
  await settle()
  assert.deepEqual(asked, ['s_1', 's_2', 's_3'])
  assert.deepEqual(rig.errors, ['no model'])
})

test('who is invited declines or comes, speaks under ge, and has no seat when the connection is lost', async t => {
  const tick = clock(t)
  let guest
  const rig = await subscribed({ invited: async i => i.session === 's_1' && (guest = await i.join(), true) })
  rig.socket.say(invited('s_2'))
  let f = await next(rig)
  assert.deepEqual(f.leave, { session: 's_2' })
  rig.socket.say({ id: f.id, leave: {} }, invited('s_1'), invited('s_1'))
  f = await next(rig)
  assert.equal(f.join.session, 's_1')
  rig.socket.say({ id: f.id, join: { session: 's_1', ge: 9 } })
  await settle()
  assert.equal(await next(rig), undefined, 'once')
  const seen = seqs(guest)
  let end
  guest.on('end', why => { end = why })
  const said = guest.reply('text', { text: 'pay half' })
  f = await next(rig)
  assert.deepEqual({ ...f.reply, key: '' }, { session: 's_1', ge: 9, key: '', type: 'text', body: { text: 'pay half' } })
  const m = entry(10).message
  rig.socket.say({ message: { ...m, session: 's_1', prev: 9 } }, { id: f.id, reply: { seq: 11, epoch: 1, duplicate: false } })
  assert.equal((await said).seq, 11)
  assert.deepEqual(seen, [10, 11])
  rig.socket.drop?.()
  rig.client.drop()
  tick(20_000)
  await settle()
  assert.equal(end, 'lost')
  assert.equal(rig.client.sessions.size, 0)
})

test('a supervisor joins as what he says', async t => {
  clock(t)
  const rig = new Rig()
  await rig.welcome({ sub: 'sue', role: 'supervisor' })
  const joining = join(rig.client, 's_1', 'barge')
  let f = await next(rig)
  assert.deepEqual({ ...f.join, key: '' }, { session: 's_1', as: 'barge', key: '' })
  rig.socket.say({ id: f.id, join: { session: 's_1', ge: 4 } })
  const g = await joining
  const entries = []
  g.on('entry', e => entries.push(e.visibility))
  g.reply('text', { text: 'I am the boss' })
  f = await next(rig)
  rig.socket.say({ id: f.id, reply: { seq: 5, epoch: 1 } })
  await settle()
  assert.deepEqual(entries, ['public'])
})

test('finish closes and leaves, also what is closed already', async t => {
  clock(t)
  for (const answer of [{ close: {} }, { error: { code: 409, slug: 'session_closed', retry: 'never' } }]) {
    const rig = new Rig()
    await rig.welcome()
    const opening = rig.client.open()
    let f = await next(rig)
    rig.socket.say({ id: f.id, open: { session: 's_1', epoch: 1, head: 3, state: 'assigned', how: 'exact' } })
    const s = await opening
    const finished = s.finish('solved')
    f = await next(rig)
    assert.equal(f.close.reason, 'solved')
    rig.socket.say({ id: f.id, ...answer })
    f = await next(rig)
    assert.deepEqual(f.leave, { session: 's_1' })
    rig.socket.say({ id: f.id, leave: {} })
    await finished
    assert.equal(rig.client.sessions.size, 0)
  }
})
