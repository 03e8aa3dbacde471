// A visitor who logs in [SW-3.4]: by the client's call, which has no method of its own for it.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { connect } from '../switchboard.js'
import { clock, entry, Rig, seqs, settle } from './fake.js'
import { Process, skip, until } from './process.js'

test('identify that lost its connection is said again, behind the resume, and the session goes on', async t => {
  const tick = clock(t)
  const rig = new Rig()
  await rig.welcome()
  const { session } = await rig.session()
  const seen = seqs(session)
  rig.socket.say(entry(1))
  const answer = rig.client.call('identify', { token: 'a.l.ice' })
  await settle()
  const said = rig.socket.take()
  assert.deepEqual(said.identify, { token: 'a.l.ice' })
  rig.socket.drop()
  tick(1_000)
  const hello = await rig.welcome({ resumed: [{ session: 's_1', how: 'exact', epoch: 1, head: 2 }] }, entry(2))
  assert.equal(hello.token, 't.o.k', 'the connection keeps its own token')
  assert.deepEqual(rig.socket.take(), said)
  rig.socket.say({ id: said.id, identify: { customer: 'alice', sessions: ['s_1'] } }, entry(3))
  assert.deepEqual(await answer, { customer: 'alice', sessions: ['s_1'] })
  assert.deepEqual(seen, [1, 2, 3])
  // What is refused is refused, and not said again.
  const refused = rig.client.call('identify', { token: 'b.o.b' })
  await settle()
  rig.socket.say({ id: rig.socket.take().id, error: { code: 409, slug: 'identity_taken', message: 'this is another customer already', retry: 'never' } })
  await assert.rejects(refused, { slug: 'identity_taken', code: 409 })
  assert.equal(rig.socket.take(), undefined)
  assert.ok(!session.ended)
})

if (!skip && typeof WebSocket === 'undefined') {
  // Node 20 and 21 have a WebSocket behind a flag: run this file again with it.
  test('with --experimental-websocket', { timeout: 60_000 }, t => {
    const { NODE_TEST_CONTEXT, ...env } = process.env
    const r = spawnSync(process.execPath, ['--experimental-websocket', '--test', fileURLToPath(import.meta.url)], { env, encoding: 'utf8' })
    t.diagnostic(r.stdout)
    assert.equal(r.status, 0, r.stdout + r.stderr)
  })
} else {
  test('a visitor becomes the customer who he was: one session, both ways, over a lost connection', { skip, timeout: 60_000 }, async t => {
    const node = new Process(t, 'serve', '--dev')
    await node.start()
    const client = (role, sub, ...more) => {
      const c = connect(node.url, { token: node.token(role, sub, ...more) })
      t.after(() => c.close())
      return c
    }
    const visitor = client('customer', 'visitor-1'), alice = client('customer', 'alice')
    // Both have a session: the older goes on, the younger ends and says where.
    const old = await alice.open()
    await old.send('text', { text: 'where is it?' })
    const young = await visitor.open()
    const events = []
    young.on('entry', e => events.push(e))
    await young.send('text', { text: 'hello?' })
    visitor.drop()
    assert.deepEqual(await visitor.call('identify', { token: node.token('customer', 'alice') }), { customer: 'alice', sessions: [old.id] })
    await until([[young, 'entry']], () => events.some(e => e.type === 'session.merged'))
    assert.equal(events.find(e => e.type === 'session.merged').body.into, old.id)
    const both = await visitor.open({ tail: 50 })
    assert.equal(both.id, old.id)
    const heard = []
    both.on('entry', e => heard.push(e))
    const sent = await old.send('text', { text: 'it is here' })
    await until([[both, 'entry']], () => heard.some(e => e.seq === sent.seq))
    const own = await both.send('text', { text: 'then it is mine' })
    assert.equal(own.duplicate, false)
    assert.equal((await old.history({ limit: 1 })).entries[0].from.id, 'visitor-1', 'entries keep their author')
    // Again is the same; somebody else he is not.
    assert.deepEqual(await visitor.call('identify', { token: node.token('customer', 'alice') }), { customer: 'alice', sessions: [old.id] })
    await assert.rejects(visitor.call('identify', { token: node.token('customer', 'bob') }), { slug: 'identity_taken' })
    await assert.rejects(visitor.call('identify', { token: node.token('supervisor', 'sue') }), { slug: 'forbidden' })
  })
}
