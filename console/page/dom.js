// The little that the panes share: elements, words for entries, and lists that follow their end.

export const $ = id => document.getElementById(id)

// el makes an element. Text is always text: nothing that anybody says becomes markup.
export function el(tag, props = {}, ...children) {
  const e = Object.assign(document.createElement(tag), props)
  e.append(...children)
  return e
}

// follow runs change, and keeps the list at its end when it was there.
export function follow(list, change) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40
  change()
  if (atEnd) list.scrollTop = list.scrollHeight
}

const events = {
  'session.opened': () => 'The conversation begins',
  'session.queued': b => `Waiting in the queue “${b.queue ?? ''}”`,
  'session.assigned': b => `${b.name || (b.kind === 'bot' ? 'The bot' : 'An agent')} is here`,
  'session.transferred': b => `${b.from || 'The owner'} hands over to ${b.worker ? b.worker : `the queue “${b.queue ?? ''}”`}${b.note ? `: ${b.note}` : ''}`,
  'session.transfer_failed': b => `The transfer failed${b.reason ? `: ${b.reason}` : ''}`,
  'session.released': b => `Released${b.outcome ? `: ${b.outcome}` : ''}`,
  'session.dead_lettered': b => `Not answered after ${b.attempts ?? 'several'} tries; sent on`,
  'session.closed': b => `Closed by the ${b.by ?? 'shop'}`,
  'session.reopened': () => 'Open again',
  'session.rated': b => `Rated ${b.score} of 5`,
  'worker.lost': b => `${b.worker || 'The owner'} is gone; somebody else will answer`
}

// words tells an entry in words.
export function words(e) {
  const body = e.body ?? {}
  if (e.kind === 'event') return events[e.type]?.(body) ?? e.type
  return typeof body === 'string' ? body : body.text ?? JSON.stringify(body)
}

// originOf tells who spoke; what a worker wrote himself comes back without its origin.
export const originOf = (e, own) => e.origin ?? own

export function showStatus(output, status) {
  output.value = { online: 'online', connecting: 'connecting…', waiting: 'offline', closed: 'ended' }[status]
  output.dataset.is = status
}

const names = { customer: 'Customer', bot: 'Bot', human: 'Agent', assist: 'Assistant', system: 'Switchboard' }

// A Talk is a conversation as bubbles, for one who sees it as me ('customer' or 'human') and is called name.
export class Talk {
  #rows = new Map() // seq → row
  #running = new Map() // stream → row
  constructor(list, me, name) {
    Object.assign(this, { list, me, name })
  }
  clear(above = 0) {
    for (const [seq, row] of this.#rows) if (seq > above) { row.remove(); this.#rows.delete(seq) }
  }
  empty() {
    this.#rows.clear()
    this.#running.clear()
    this.list.replaceChildren()
  }
  add(e) {
    if (this.#rows.has(e.seq)) return
    const row = this.#row(originOf(e, this.me), words(e), e)
    row.dataset.seq = e.seq
    this.#rows.set(e.seq, row)
    follow(this.list, () => this.list.insertBefore(row, this.list.querySelector('.running, .waiting')))
  }
  #row(origin, text, e = {}) {
    const row = el('li', { className: e.kind === 'event' ? 'event' : origin })
    if (e.visibility === 'staff') row.classList.add('staff')
    if (e.kind !== 'event') {
      const mine = origin === this.me
      row.classList.toggle('mine', mine)
      const who = e.from?.name || (mine ? this.name : names[origin] || origin)
      row.append(el('span', { className: 'who', textContent: `${who}${e.visibility === 'staff' ? ', for staff only' : ''}${e.type === 'interrupted' ? ', interrupted' : ''}` }))
    }
    row.append(text)
    return row
  }
  // running shows an answer while it is written.
  running({ stream, text, done }) {
    const old = this.#running.get(stream)
    if (done) {
      old?.remove()
      this.#running.delete(stream)
      return
    }
    if (old) return follow(this.list, () => { old.lastChild.data = text })
    const row = this.#row('bot', text)
    row.classList.add('running')
    this.#running.set(stream, row)
    follow(this.list, () => this.list.append(row))
  }
  // waiting shows words that are not durable yet, until promise settles.
  waiting(text, promise) {
    const row = this.#row(this.me, text)
    row.classList.add('waiting')
    row.title = 'on its way'
    follow(this.list, () => this.list.append(row))
    promise.then(() => row.remove(), err => {
      row.className = 'event'
      row.replaceChildren(`Not sent: ${err.message}`)
    })
  }
}

// Typing shows who types until the server's time limit, and tells when we do, at most every three seconds.
export class Typing {
  #timer
  #told = 0
  constructor(line) { this.line = line }
  show({ from, on, ttl_ms = 6000 }) {
    clearTimeout(this.#timer)
    this.line.textContent = on ? `${from?.name || from?.id || 'Somebody'} is typing…` : ''
    if (on) this.#timer = setTimeout(() => { this.line.textContent = '' }, ttl_ms)
  }
  clear() { this.show({ on: false }) }
  tell(to) {
    if (!to || Date.now() - this.#told < 3000) return
    this.#told = Date.now()
    to.typing(true)
  }
  done(to) {
    this.#told = 0
    to?.typing(false)
  }
}
