// The demo page: Alice and Bob on two connections of their own to this node, and the log between them.

import { connect } from './switchboard.js'
import { agent } from './agent.js'
import { customer } from './customer.js'
import { $ } from './dom.js'
import { Log, watch } from './log.js'

// A plug that can be pulled: while it is out, no token is had and so no connection made.
const plug = {
  out: false,
  in: Promise.resolve(),
  pull(client) {
    this.out = true
    this.in = new Promise(go => { this.push = go })
    client.drop()
  },
  insert() {
    this.out = false
    this.push()
  }
}

const token = role => async () => {
  if (role === 'customer') await plug.in
  const r = await fetch('demo/tokens.json', { cache: 'no-store' })
  if (!r.ok) throw new Error(`no tokens: ${r.status}`)
  return (await r.json())[role]
}

const url = new URL('v1/connect', location.href)
const log = new Log()
const alice = connect(url, { token: token('customer'), client: 'demo-customer/0.1' })
const bob = connect(url, { token: token('agent'), client: 'demo-agent/0.1' })

watch(alice, log)
agent(bob, log)
customer(alice, log).catch(err => { $('customer-state').textContent = err.message })

$('plug').addEventListener('click', () => {
  if (plug.out) {
    plug.insert()
    log.wire('plug', 'is in again')
  } else {
    log.wire('plug', 'is out; what Alice says waits')
    plug.pull(alice)
  }
  $('plug').setAttribute('aria-pressed', plug.out)
  $('plug').textContent = plug.out ? 'Plug Alice in again' : 'Pull Alice’s plug'
})
