// The client against a real node. SWITCHBOARD_BIN names the binary; without it these tests say that they are skipped.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'
import { connect } from '../switchboard.js'
import { work } from '../worker.js'
import { Process, skip, until } from './process.js'

const timeout = 60_000

if (!skip && typeof WebSocket === 'undefined') {
  // Node 20 and 21 have a WebSocket behind a flag: run this file again with it.
  test('with --experimental-websocket', { timeout }, t => {
    const { NODE_TEST_CONTEXT, ...env } = process.env
    const r = spawnSync(process.execPath, ['--experimental-websocket', '--test', fileURLToPath(import.meta.url)], { env, encoding: 'utf8' })
    t.diagnostic(r.stdout)
    assert.equal(r.status, 0, r.stdout + r.stderr)
  })
} else {
  test('a bot answers in streams while connections break', { skip, timeout }, async t => {
    const node = await started(t)
    const bot = client(t, node, 'worker', 'faq', '--kind', 'bot', '--queues', 'default')
    work(bot, { queues: ['default'], slots: 8, window: 4 }, async (d, a) => {
      const answer = a.stream()
      for (const piece of ['you said ', String(d.body.n), ' 好😀']) {
        answer.write(piece)
        await new Promise(setImmediate)
      }
      await answer.end('text', { text: answer.text, to: d.body.n }, { ack: d.seq })
    })
    const alice = client(t, node, 'customer', 'alice')
    const session = await alice.open()
    const seen = []
    session.on('entry', e => seen.push(e))
    const sent = []
    for (let n = 0; n < 40; n++) {
      sent.push(session.send('text', { n }))
      if (n % 10 === 5) alice.drop()
      if (n % 10 === 7) bot.drop()
      if (n % 10 === 9) await Promise.all(sent)
    }
    await Promise.all(sent)
    const answers = () => seen.filter(e => e.origin === 'bot')
    await until([[session, 'entry']], () => answers().length === 40)
    const mine = seen.filter(e => e.from?.id === 'alice')
    assert.deepEqual(mine.map(e => e.body.n), [...Array(40).keys()])
    assert.deepEqual(answers().map(e => e.body.to), [...Array(40).keys()])
    assert.ok(answers().every(e => e.body.text === `you said ${e.body.to} 好😀`))
    const { entries } = await session.history({ after: 0, limit: 100 })
    assert.deepEqual(seen.map(e => e.seq), entries.map(e => e.seq).filter(seq => seq >= seen[0].seq), 'the same as the log')
  })

  test('a human gets what the bot hands over, accepts, answers and releases', { skip, timeout }, async t => {
    const node = await started(t)
    work(client(t, node, 'worker', 'faq', '--kind', 'bot', '--queues', 'default'), { queues: ['default'], slots: 4, window: 4 }, async (d, a) => {
      if (d.body.text === 'human') await a.transfer({ queue: 'default' }, { note: 'wants a person', context: { topic: 'parcel' } })
      else await a.reply('text', { text: 'I am a bot' }, { ack: d.seq })
    })
    const desk = work(client(t, node, 'worker', 'bob', '--name', 'Bob', '--kind', 'human', '--queues', 'default'), { queues: ['default'], slots: 2, window: 8 })
    const offered = until([[desk, 'offer']], () => [...desk.offers.values()][0])
    const alice = client(t, node, 'customer', 'alice')
    const session = await alice.open()
    const seen = []
    session.on('entry', e => seen.push(e))
    await session.send('text', { text: 'hello' })
    await until([[session, 'entry']], () => seen.some(e => e.body?.text === 'I am a bot'))
    await session.send('text', { text: 'human' })
    const offer = await offered
    assert.equal(offer.session, session.id)
    const done = until([[desk, 'assigned']], () => desk.assignments.get(session.id))
    const { ae } = await offer.accept()
    const a = await done
    assert.equal(a.ae, ae)
    assert.equal(a.context.doc.topic, 'parcel')
    const transcript = []
    a.on('entry', e => transcript.push(e))
    await until([[a, 'entry']], () => transcript.some(e => e.body?.text === 'human'))
    const typing = until([[session, 'typing']], (() => { let on; session.on('typing', p => { on = p.on }); return () => on })())
    a.typing()
    await typing
    await a.reply('text', { text: 'Bob here' }, { ack: a.delivered })
    await until([[session, 'entry']], () => seen.some(e => e.body?.text === 'Bob here' && e.origin === 'human'))
    await a.release('solved', { summary: 'said hello' })
    assert.equal(desk.assignments.size, 0)
    assert.ok(transcript.every((e, i) => !i || e.seq > transcript[i - 1].seq))
    await session.close('done')
    await until([[session, 'state']], () => session.state.state === 'closed')
  })

  test('a node that is killed loses no word that was answered', { skip, timeout }, async t => {
    const node = await started(t)
    const alice = client(t, node, 'customer', 'alice')
    const session = await alice.open()
    const seen = [], sent = []
    session.on('entry', e => seen.push(e))
    for (let round = 0; round < 3; round++) {
      for (let n = 0; n < 10; n++) sent.push(session.send('text', { n: sent.length }))
      if (round) await sent.at(-10)
      const killed = node.kill()
      await killed
      await node.start()
      await Promise.all(sent)
    }
    assert.deepEqual(seen.filter(e => e.from?.id === 'alice').map(e => e.body.n), [...Array(30).keys()])
    const { entries } = await session.history({ after: 0, limit: 100 })
    assert.deepEqual(entries.filter(e => e.from?.id === 'alice').map(e => e.body.n), [...Array(30).keys()])
    assert.deepEqual((await node.stop()), { code: 0, signal: null })
  })

  test('an expired token ends the client; one that is fetched again does not', { skip, timeout }, async t => {
    const node = await started(t)
    const expired = node.token('customer', 'alice', '--ttl', '-1h')
    const ended = connect(node.url, { token: expired })
    t.after(() => ended.close())
    let why
    ended.on('error', err => { why = err })
    await until([[ended, 'error']], () => why)
    assert.equal(ended.status, 'closed')
    let asked = 0
    const fresh = connect(node.url, { token: () => asked++ ? node.token('customer', 'alice') : expired })
    t.after(() => fresh.close())
    await until([[fresh, 'status', 'error']], () => fresh.status === 'online' || fresh.status === 'closed')
    t.diagnostic(`expired: ${why.slug}; fetched again: ${fresh.status}`)
    assert.equal(fresh.status, 'online')
    assert.equal(asked, 2)
  })
}

async function started(t) {
  const node = new Process(t, 'serve', '--dev')
  await node.start()
  return node
}

function client(t, node, role, sub, ...more) {
  const c = connect(node.url, { token: node.token(role, sub, ...more) })
  t.after(() => c.close())
  return c
}
