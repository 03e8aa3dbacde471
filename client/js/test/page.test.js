// The demo page in Chromium, on a real node: SWITCHBOARD_BIN names the binary, CHROMIUM a browser if it is not found,
// and `npm ci` installs playwright-core. What is absent is said.
// PAGE_URL tests a page that is served already, without the restart.

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { test } from 'node:test'
import { bin, Process } from './process.js'

const served = process.env.PAGE_URL
const playwright = await import('playwright-core').then(m => m.default, () => null)
const browserPath = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(p => p && existsSync(p))
const skip = !bin && !served ? 'SWITCHBOARD_BIN does not name the switchboard binary'
  : !playwright ? 'playwright-core is not installed (npm ci in client/js)'
    : !browserPath ? 'no Chromium found; CHROMIUM may name one' : false

test('bot, hand-over, agent, pulled plug, killed node: every word is there', { skip, timeout: 120_000 }, async t => {
  const node = served ? null : new Process(t, 'demo')
  await node?.start()
  const browser = await playwright.chromium.launch({ executablePath: browserPath, args: ['--no-sandbox'] })
  t.after(() => browser.close())
  const page = await browser.newPage({ viewport: { width: 1400, height: 860 } })
  const broken = []
  page.on('pageerror', err => broken.push(err.message))
  page.on('console', m => /Content Security Policy/.test(m.text()) && broken.push(m.text()))
  await page.goto(served ?? `${node.url}/`)

  const alice = page.getByRole('log', { name: 'Conversation, as Alice sees it' })
  const bob = page.getByRole('log', { name: 'Conversation, as Bob sees it' })
  const says = (log, text) => log.locator('li:not(.waiting):not(.running)', { hasText: text }).first().waitFor()
  const say = async text => {
    await page.getByLabel('Message to the shop').fill(text)
    await page.getByRole('button', { name: 'Send', exact: true }).click()
  }
  const reply = async text => {
    await page.getByLabel('Reply to the customer').fill(text)
    await page.getByRole('button', { name: 'Reply', exact: true }).click()
  }
  const shot = name => process.env.SHOTS && page.screenshot({ path: `${process.env.SHOTS}/${name}.png` })

  await page.getByLabel("Alice's connection").getByText('online').waitFor()
  await say('Where is my order?')
  await says(alice, 'Where is my order?')
  await alice.locator('li.bot:not(.running)').first().waitFor()
  await say('human')
  await page.getByRole('button', { name: 'Accept' }).click()
  await says(bob, 'Where is my order?')
  await says(bob, 'human')
  await reply('Bob here, how can I help?')
  await says(alice, 'Bob here, how can I help?')
  await shot('agent')

  await page.getByRole('button', { name: 'Pull Alice’s plug' }).click()
  await say('said without a connection')
  await alice.locator('li.waiting', { hasText: 'said without a connection' }).waitFor()
  await reply('said while she was away')
  await shot('plug')
  await page.getByRole('button', { name: 'Plug Alice in again' }).click()
  await says(alice, 'said while she was away')
  await says(bob, 'said without a connection')
  await page.getByRole('log', { name: 'The connection' }).getByText('resumed').first().waitFor()

  const talk = (who = 'li.customer, li.human') => alice.locator(who).evaluateAll(list => list.map(li => li.lastChild.data))
  const before = await talk()
  assert.equal(new Set(before).size, before.length, 'nothing twice')
  if (node) {
    await node.kill()
    await page.getByLabel("Alice's connection").getByText('offline').waitFor()
    await say('said to a dead node')
    await node.start()
    await says(alice, 'said to a dead node')
    assert.deepEqual(await talk(), [...before, 'said to a dead node'], 'the page goes on')
  }
  const all = 'li:not(.running)', after = await talk(all)
  await page.reload()
  await says(alice, after.at(-1))
  assert.deepEqual((await talk(all)).slice(0, after.length), after, 'the log has it all')
  const seqs = await page.locator('#log tr').evaluateAll(rows => rows.map(r => Number(r.dataset.seq)))
  assert.deepEqual(seqs, [...seqs].sort((a, b) => a - b))
  assert.deepEqual(broken, [])
  await shot('end')
})
