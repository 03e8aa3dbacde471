// The third pane: what the log holds, where the session stands, and what happens to Alice's connection.

import { $, el, follow, originOf, words } from './dom.js'

// A Log shows one session: Alice's. What only staff sees comes from Bob's transcript and is tinted.
export class Log {
  #rows = new Map() // seq → row
  #session = null
  #state = {}
  #early = [] // Bob's entries from before Alice's session is known

  // state notes where the session stands; without s it stands as before, at another head.
  state(session, s = this.#state) {
    this.#session = session.id
    this.#state = s
    $('log-state').textContent = `${session.id}, ${s.state}${s.position ? `, place ${s.position} in “${s.queue}”` : ''}, epoch ${session.epoch}, head ${session.seq}`
    for (const e of this.#early.splice(0)) this.add(e)
  }
  add(e) {
    if (!this.#session && this.#early.push(e) <= 1000) return
    if (e.session !== this.#session || this.#rows.has(e.seq)) return
    const origin = originOf(e, 'human')
    const row = el('tr', { className: e.visibility === 'staff' ? 'staff' : '' },
      el('td', { textContent: e.seq }), el('td', { textContent: origin }),
      el('td', {}, el('span', { className: 'type', textContent: `${e.kind} ${e.type}${e.visibility === 'staff' ? ', staff' : ''} ` }), words(e)))
    row.dataset.origin = origin
    row.dataset.seq = e.seq
    this.#rows.set(e.seq, row)
    const next = [...this.#rows.keys()].filter(seq => seq > e.seq).sort((a, b) => a - b)[0]
    const body = $('log')
    follow(body.closest('.scroll'), () => body.insertBefore(row, next ? this.#rows.get(next) : null))
  }
  clear(above = 0) {
    for (const [seq, row] of this.#rows) if (seq > above) { row.remove(); this.#rows.delete(seq) }
  }
  // wire notes what happened to the connection.
  wire(what, detail) {
    const list = $('wire')
    follow(list, () => list.append(el('li', {}, `${new Date().toLocaleTimeString()} `, el('b', { textContent: what }), ` ${detail ?? ''}`)))
    if (list.childElementCount > 200) list.firstChild.remove()
  }
}

// watch notes the life of client's connection in log.
export function watch(client, log) {
  let lost = 0
  client.on('status', (status, d) => {
    if (status === 'waiting') {
      lost ||= performance.now()
      log.wire('lost', `${d.reason || d.code || ''}; again in ${Math.round(d.wait_ms)} ms`)
    } else if (status === 'online') {
      log.wire('online', `${d.connection} on ${d.node}${lost ? `, after ${((performance.now() - lost) / 1000).toFixed(1)} s` : ''}`)
      for (const r of d.resumed ?? []) {
        const s = client.sessions.get(r.session)
        log.wire('resumed', r.error ? r.error.slug : `${r.how}; had ${s?.seq}, the head is ${r.head}`)
      }
      lost = 0
    } else if (status === 'closed') log.wire('ended', d.message)
  })
}
